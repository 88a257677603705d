# Checks the rules of the house over include/penstock and src, and reports every breach at once.
#
#   cmake [-DROOT=<project folder>] -P cmake/CheckFloors.cmake
#
#   floor 0 core; 1 metrics; 2 channel, sync, state; 3 exec; 4 route, swap
#
# - A room includes its own files and those of lower floors, never a sibling's and never upward; another room's detail/
#   only if that room is core.
# - Packages: in include/ the listed headers of Abseil and no fmt; in src/ also fmt.
# - Atomics, locks, threads and the time are reached through core/detail/world.hpp only (the seam).
# - Constructs that do not work on the compilers we support, that ThreadSanitizer misjudges, or that hide unfinished work
#   do not occur. A file has at most 400 lines.
cmake_minimum_required(VERSION 3.22)

if(NOT DEFINED ROOT)
  get_filename_component(ROOT ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)
endif()

set(floor_core 0)
set(floor_metrics 1)
set(floor_channel 2)
set(floor_sync 2)
set(floor_state 2)
set(floor_exec 3)
set(floor_route 4)
set(floor_swap 4)

set(abseil_headers
  absl/base/config.h absl/base/thread_annotations.h absl/functional/any_invocable.h absl/status/status.h absl/status/statusor.h)

# What may not occur in code, and why: two lists in step.
set(ban_patterns
  "<semaphore>" "atomic_thread_fence" "(recursive_|shared_)?timed_mutex" "atomic< *std::shared_ptr" "absl::(Mutex|CondVar|Notification)"
  "system_clock|high_resolution_clock" "(\\.|->)detach\\( *\\)" "source_location" "<format>" "<execution>" "<ranges>|std::views|ranges::views"
  "sleep_for|sleep_until|usleep|nanosleep")
set(ban_reasons
  "its semaphores can lose a wake-up" "ThreadSanitizer cannot see it" "ThreadSanitizer misjudges it" "ThreadSanitizer misjudges it" "use penstock/core/mutex.hpp"
  "time is the steady clock" "no thread outlives its owner" "clang 14 lacks it" "g++ 12 lacks it" "forces users to link TBB" "clang 14 rejects libstdc++'s views"
  "only the parker waits")
set(header_ban_patterns "flat_hash_(map|set)")
set(header_ban_reasons "crashes users who sanitize their own code only")
set(seam_pattern
  "std::(atomic|atomic_ref|atomic_flag|mutex|recursive_mutex|shared_mutex|condition_variable|condition_variable_any|thread|jthread|this_thread|call_once|once_flag|latch|barrier)[^_a-zA-Z0-9]|steady_clock::now")

set(violations "")
function(violation file position text)
  # `content` is the caller's.
  string(SUBSTRING "${content}" 0 ${position} before)
  string(REGEX MATCHALL "\n" newlines "${before}")
  list(LENGTH newlines line)
  math(EXPR line "${line} + 1")
  set(violations "${violations}  ${file}:${line}: ${text}\n" PARENT_SCOPE)
endfunction()

function(check_pattern pattern text)
  string(REGEX MATCH "${pattern}" found "${content}")
  if(found)
    string(FIND "${content}" "${found}" position)
    string(STRIP "${found}" found)
    violation(${file} ${position} "'${found}': ${text}")
    set(violations "${violations}" PARENT_SCOPE)
  endif()
endfunction()

function(check_include include)
  string(FIND "${content}" "${include}" position)
  string(REGEX REPLACE "^.*[<\"]([^>\"]*)[>\"]$" "\\1" path "${include}")
  if(path MATCHES "^penstock/([^/]*)/(.*)$")
    set(to_room "${CMAKE_MATCH_1}")
    set(to_rest "${CMAKE_MATCH_2}")
    if(NOT DEFINED floor_${to_room})
      violation(${file} ${position} "'${path}': there is no room '${to_room}'")
    elseif(NOT room)
      # The umbrella header includes every room.
    elseif(NOT room STREQUAL to_room AND floor_${to_room} EQUAL floor_${room})
      violation(${file} ${position} "'${path}': ${room} and ${to_room} are siblings on floor ${floor_${room}}")
    elseif(floor_${to_room} GREATER floor_${room})
      violation(${file} ${position} "'${path}': ${room} on floor ${floor_${room}} includes upward, ${to_room} is on floor ${floor_${to_room}}")
    endif()
    if(to_rest MATCHES "^detail/" AND NOT room STREQUAL to_room AND NOT to_room STREQUAL "core")
      violation(${file} ${position} "'${path}': detail/ belongs to ${to_room}")
    endif()
  elseif(path STREQUAL "penstock/version.hpp")
  elseif(path MATCHES "^penstock/")
    violation(${file} ${position} "'${path}': the library does not include its umbrella")
  elseif(path MATCHES "^absl/")
    if(NOT path IN_LIST abseil_headers)
      violation(${file} ${position} "'${path}': this header of Abseil is not among the allowed ones")
    endif()
  elseif(path MATCHES "^fmt/")
    if(is_header)
      violation(${file} ${position} "'${path}': fmt is for .cpp files")
    endif()
  elseif(include MATCHES "\"")
    get_filename_component(folder ${ROOT}/${file} DIRECTORY)
    if(is_seam AND path STREQUAL "model/world.hpp")
    elseif(NOT is_header AND NOT path MATCHES "/" AND EXISTS ${folder}/${path})
      # A header that belongs to one folder of src alone.
    else()
      violation(${file} ${position} "'${path}': neither ours nor an allowed package")
    endif()
  elseif(is_header AND path MATCHES "[./]")
    violation(${file} ${position} "<${path}>: public headers include the standard library only")
  endif()
  set(violations "${violations}" PARENT_SCOPE)
endfunction()

file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/include/penstock/* ${ROOT}/src/*.hpp ${ROOT}/src/*.cpp)
list(FILTER files EXCLUDE REGEX "^src/tools/")  # programs that use the library, like anybody
list(LENGTH files file_count)
if(file_count EQUAL 0)
  message(FATAL_ERROR "no files below ${ROOT}")
endif()

foreach(file IN LISTS files)
  file(READ ${ROOT}/${file} content)
  set(is_header FALSE)
  if(file MATCHES "^include/")
    set(is_header TRUE)
  endif()
  set(is_seam FALSE)
  if(file MATCHES "^(include/penstock|src)/core/(detail/)?world\\.[ch]pp$")
    set(is_seam TRUE)
  endif()
  set(room "")
  if(file MATCHES "^(include/penstock|src)/([^/]*)/")
    set(room "${CMAKE_MATCH_2}")
    if(NOT DEFINED floor_${room})
      violation(${file} 0 "there is no room '${room}'")
      continue()
    endif()
  elseif(NOT file MATCHES "^include/penstock/(penstock|version)\\.hpp$")
    violation(${file} 0 "this file is in no room")
    continue()
  endif()

  string(REGEX MATCHALL "\n" newlines "${content}")
  list(LENGTH newlines lines)
  if(lines GREATER 400)
    violation(${file} 0 "${lines} lines, at most 400 are allowed")
  endif()
  check_pattern("TODO|FIXME|XXX" "finish it")

  # Comments may say what code may not do. Their newlines stay, for the line numbers.
  string(REGEX REPLACE "//[^\n]*" "" content "${content}")
  string(REGEX MATCHALL "#[ \t]*include[ \t]*[<\"][^>\"\n]*[>\"]" includes "${content}")
  foreach(include IN LISTS includes)
    check_include("${include}")
  endforeach()
  foreach(pattern reason IN ZIP_LISTS ban_patterns ban_reasons)
    check_pattern("${pattern}" "${reason}")
  endforeach()
  if(is_header)
    foreach(pattern reason IN ZIP_LISTS header_ban_patterns header_ban_reasons)
      check_pattern("${pattern}" "${reason}")
    endforeach()
  endif()
  if(NOT is_seam)
    check_pattern("${seam_pattern}" "reach it through penstock/core/detail/world.hpp")
  endif()
endforeach()

# Tests wait for conditions or move a ManualClock; a sleep is a guess. And ctest has to be able to name each of them.
file(GLOB_RECURSE test_files RELATIVE ${ROOT} ${ROOT}/tests/*.hpp ${ROOT}/tests/*.cpp)
foreach(file IN LISTS test_files)
  file(READ ${ROOT}/${file} content)
  string(REGEX REPLACE "//[^\n]*" "" content "${content}")
  check_pattern("sleep_for|sleep_until|usleep|nanosleep" "no test sleeps")
  check_pattern("TEST_CASE\\( *\"[^\"\n]*(\\[|\\]|;)" "the name of a test holds no semicolon or bracket, ctest drops the test")
endforeach()

if(violations)
  message(FATAL_ERROR "rules of the house are broken:\n${violations}")
endif()
message(STATUS "${file_count} files keep the rules of the house")
