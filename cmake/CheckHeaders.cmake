# Every public header compiles alone, and a second time, without a warning: one test for each header.
#
# Needs `penstock_check_flags`, a list: where the headers of the dependencies are.
function(penstock_check_headers)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/headers)
  # The test must see every header, also one that nobody listed.
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/include
    ${PROJECT_SOURCE_DIR}/include/penstock/*.hpp)
  set(warnings $<TARGET_PROPERTY:penstock_strict,INTERFACE_COMPILE_OPTIONS>)
  foreach(header IN LISTS headers)
    string(REGEX REPLACE "^penstock/(.*)\\.hpp$" "\\1" name ${header})
    file(CONFIGURE OUTPUT ${folder}/${name}.cpp CONTENT "#include \"@header@\"\n#include \"@header@\"\n" @ONLY)
    add_test(NAME "header: ${name}"
      COMMAND ${CMAKE_CXX_COMPILER} -std=c++20 -fsyntax-only "${warnings}" -Werror "${penstock_check_flags}"
              -I${PROJECT_SOURCE_DIR}/include ${folder}/${name}.cpp
      COMMAND_EXPAND_LISTS)
    set_tests_properties("header: ${name}" PROPERTIES LABELS check TIMEOUT 60)
  endforeach()
endfunction()
