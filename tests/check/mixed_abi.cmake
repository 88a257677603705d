# Code that was compiled against another layout of our types does not link, instead of misbehaving.
#
#   cmake -DSOURCE_DIR=<project> -DWORK_DIR=<scratch folder> -DCXX=<compiler> -DLIBRARY=<libpenstock>
#         -DFLAGS=<;-list> -P mixed_abi.cmake
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE ${WORK_DIR})
file(WRITE ${WORK_DIR}/main.cpp "#include \"penstock/core/op_status.hpp\"
int main() { return penstock::to_string(penstock::OpStatus::kOk).empty() ? 1 : 0; }
")

# What of penstock's the linker does not find; other libraries are left out, and their absence is only a warning.
function(unresolved include_dir result_variable)
  execute_process(
    COMMAND ${CXX} -std=c++20 ${FLAGS} -I${include_dir} ${WORK_DIR}/main.cpp ${LIBRARY} -pthread -o ${WORK_DIR}/main
            -Wl,--warn-unresolved-symbols
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${output}")
  endif()
  string(REGEX MATCHALL "undefined reference to [^\n]*penstock::[^\n]*" found "${output}")
  set(${result_variable} "${found}" PARENT_SCOPE)
endfunction()

unresolved(${SOURCE_DIR}/include found)
if(found)
  message(FATAL_ERROR "the same headers do not link: ${found}")
endif()

file(COPY ${SOURCE_DIR}/include/penstock DESTINATION ${WORK_DIR}/other)
file(READ ${WORK_DIR}/other/penstock/version.hpp version)
string(REGEX REPLACE "#define PENSTOCK_ABI v[0-9]+" "#define PENSTOCK_ABI v99" other "${version}")
if(other STREQUAL version)
  message(FATAL_ERROR "no '#define PENSTOCK_ABI v<number>' in penstock/version.hpp")
endif()
file(WRITE ${WORK_DIR}/other/penstock/version.hpp "${other}")
unresolved(${WORK_DIR}/other found)
if(NOT found MATCHES "penstock::v99::to_string")
  message(FATAL_ERROR "headers of another inline namespace link with this library: '${found}'")
endif()
