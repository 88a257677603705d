# What including a header costs the compiler, in seconds of processor time, best of several runs, against its budget.
#
#   cmake -DCXX=<compiler> -DFLAGS=<;-list> -DWORK_DIR=<scratch folder> -DFACTOR=<n> -P cmake/CompileBudget.cmake
#
# FACTOR stretches the budgets by so many percent, for machines that are slow or busy (100 leaves them as they are).
cmake_minimum_required(VERSION 3.22)
get_filename_component(root ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)

set(headers penstock/channel/channel.hpp penstock/penstock.hpp)
set(budgets_ms 600 1500)
set(runs 5)

# Measures the processor time of a command in milliseconds. Other programs disturb it less than the time of day.
function(measure result_variable)
  execute_process(COMMAND bash -c "TIMEFORMAT='%3U %3S'; time \"$@\" >/dev/null" bash ${ARGN}
    RESULT_VARIABLE result ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${output}")
  endif()
  string(REGEX MATCH "([0-9]+)[.,]([0-9]+) ([0-9]+)[.,]([0-9]+)\n$" _ "${output}")
  set(total 0)
  foreach(part IN ITEMS ${CMAKE_MATCH_1}${CMAKE_MATCH_2} ${CMAKE_MATCH_3}${CMAKE_MATCH_4})
    string(REGEX REPLACE "^0+([0-9])" "\\1" part ${part})  # no octal numbers
    math(EXPR total "${total} + ${part}")
  endforeach()
  set(${result_variable} ${total} PARENT_SCOPE)
endfunction()

set(failures "")
foreach(header budget IN ZIP_LISTS headers budgets_ms)
  if(NOT EXISTS ${root}/include/${header})
    message(FATAL_ERROR "no such header: ${header}")
  endif()
  file(WRITE ${WORK_DIR}/budget.cpp "#include \"${header}\"\n")
  set(best "")
  foreach(run RANGE 1 ${runs})
    measure(time_ms ${CXX} -std=c++20 ${FLAGS} -I${root}/include -fsyntax-only ${WORK_DIR}/budget.cpp)
    if(best STREQUAL "" OR time_ms LESS best)
      set(best ${time_ms})
    endif()
  endforeach()
  message(STATUS "#include <${header}>: ${best} ms (budget ${budget} ms)")
  math(EXPR limit "${budget} * ${FACTOR} / 100")
  if(best GREATER limit)
    string(APPEND failures "  <${header}> takes ${best} ms to compile, allowed are ${budget} ms (times ${FACTOR} %)\n")
  endif()
endforeach()
if(failures)
  message(FATAL_ERROR "over the compile budget:\n${failures}")
endif()
