# PENSTOCK_SANITIZE instruments our own targets. Linked PRIVATE and only inside the build tree, like penstock_strict.
add_library(penstock_sanitizers INTERFACE)
if(PENSTOCK_SANITIZE)
  list(JOIN PENSTOCK_SANITIZE "," penstock_sanitize_list)
  target_compile_options(penstock_sanitizers INTERFACE
    -fsanitize=${penstock_sanitize_list} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if("undefined" IN_LIST PENSTOCK_SANITIZE)
    # With "function", which g++ does not have, clang 14 cannot compile coroutines. "vptr" of either opens a pipe for
    # what it reads, and reports an error where a test has left the process no descriptor.
    target_compile_options(penstock_sanitizers INTERFACE
      $<$<CXX_COMPILER_ID:Clang,AppleClang>:-fno-sanitize=function> -fno-sanitize=vptr)
  endif()
  target_compile_definitions(penstock_sanitizers INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(penstock_sanitizers INTERFACE -fsanitize=${penstock_sanitize_list})
endif()
