# What including a header costs the compiler, in processor time, the median of several runs, against its budget: so much
# of what a handful of standard headers costs, since machines differ, and one may be three times slower than an hour ago.
# They cost about half of their budgets, which leaves room for what changes from one second to the next.
#
#   cmake -DCXX=<compiler> -DFLAGS=<;-list> -DWORK_DIR=<scratch folder> -P cmake/CompileBudget.cmake
cmake_minimum_required(VERSION 3.22)
get_filename_component(root ${CMAKE_CURRENT_LIST_DIR} DIRECTORY)

set(yardstick algorithm chrono filesystem functional iostream map memory mutex regex string thread unordered_map variant
  vector)
set(headers penstock/channel/channel.hpp penstock/penstock.hpp)
set(budgets_percent 180 600)
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

# Into `<name>.cpp`, what includes all of the headers.
function(write_source name)
  set(text "")
  foreach(header IN LISTS ARGN)
    string(APPEND text "#include <${header}>\n")
  endforeach()
  file(WRITE ${WORK_DIR}/${name}.cpp "${text}")
endfunction()

write_source(yardstick ${yardstick})
foreach(header IN LISTS headers)
  if(NOT EXISTS ${root}/include/${header})
    message(FATAL_ERROR "no such header: ${header}")
  endif()
  get_filename_component(name ${header} NAME_WE)
  write_source(${name} ${header})
  list(APPEND names ${name})
endforeach()

# In turn, so that all of them see the same machine; the median, since its speed may change in between.
foreach(run RANGE 1 ${runs})
  measure(yardstick_ms ${CXX} -std=c++20 ${FLAGS} -fsyntax-only ${WORK_DIR}/yardstick.cpp)
  foreach(name IN LISTS names)
    measure(time_ms ${CXX} -std=c++20 ${FLAGS} -I${root}/include -fsyntax-only ${WORK_DIR}/${name}.cpp)
    math(EXPR percent "100 * ${time_ms} / ${yardstick_ms}")
    list(APPEND percents_${name} ${percent})
    message(STATUS "${name}: ${time_ms} ms, ${percent} % of ${yardstick_ms} ms")
  endforeach()
endforeach()

set(failures "")
math(EXPR middle "${runs} / 2")
foreach(header name budget IN ZIP_LISTS headers names budgets_percent)
  list(SORT percents_${name} COMPARE NATURAL)
  list(GET percents_${name} ${middle} percent)
  set(result "<${header}> costs ${percent} % of what the standard headers cost; the budget is ${budget} %")
  message(STATUS "${result}")
  if(percent GREATER budget)
    string(APPEND failures "  ${result}\n")
  endif()
endforeach()
if(failures)
  message(FATAL_ERROR "over the compile budget:\n${failures}")
endif()
