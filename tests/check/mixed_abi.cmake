# Code that was compiled against another layout of our types does not link, instead of misbehaving.
#
#   cmake -DSOURCE_DIR=<project> -DWORK_DIR=<scratch folder> -DCXX=<compiler> -DLIBRARY=<libpenstock>
#         -P mixed_abi.cmake
cmake_minimum_required(VERSION 3.22)

file(REMOVE_RECURSE ${WORK_DIR})
file(WRITE ${WORK_DIR}/main.cpp "#include \"penstock/core/op_status.hpp\"
int main() { return penstock::to_string(penstock::OpStatus::kOk).empty() ? 1 : 0; }
")

function(build include_dir result_variable output_variable)
  execute_process(
    COMMAND ${CXX} -std=c++20 -I${include_dir} ${WORK_DIR}/main.cpp ${LIBRARY} -lfmt -labsl_status -pthread
            -o ${WORK_DIR}/main
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  set(${result_variable} ${result} PARENT_SCOPE)
  set(${output_variable} "${output}" PARENT_SCOPE)
endfunction()

build(${SOURCE_DIR}/include result output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the same headers do not link:\n${output}")
endif()

file(COPY ${SOURCE_DIR}/include/penstock DESTINATION ${WORK_DIR}/other)
file(READ ${WORK_DIR}/other/penstock/version.hpp version)
string(REGEX REPLACE "#define PENSTOCK_ABI v[0-9]+" "#define PENSTOCK_ABI v99" other "${version}")
if(other STREQUAL version)
  message(FATAL_ERROR "no '#define PENSTOCK_ABI v<number>' in penstock/version.hpp")
endif()
file(WRITE ${WORK_DIR}/other/penstock/version.hpp "${other}")
build(${WORK_DIR}/other result output)
if(result EQUAL 0)
  message(FATAL_ERROR "headers of another inline namespace link with this library")
endif()
if(NOT output MATCHES "undefined reference to [^\n]*penstock::v99::to_string")
  message(FATAL_ERROR "expected an undefined reference to penstock::v99::to_string, got:\n${output}")
endif()
