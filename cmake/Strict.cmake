# The warnings of our own targets. Linked PRIVATE and only inside the build tree, so that no user inherits them.
# g++ 12 finds overlapping copies inside std::string where there are none (GCC PR 105651), and under its sanitizers
# uninitialized members where an optional was just filled: its manual says that they mislead this warning. With -O3 it
# finds writes beyond the end inside std::string and fmt where there are none (GCC PR 105329).
add_library(penstock_strict INTERFACE)
target_compile_options(penstock_strict INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<CONFIG:Release>>:-Wno-stringop-overflow>
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${PENSTOCK_SANITIZE}>>:-Wno-maybe-uninitialized>
  $<$<CXX_COMPILER_ID:Clang,AppleClang>:-Wthread-safety -Wthread-safety-beta -Werror=thread-safety>
  $<$<BOOL:${PENSTOCK_STRICT}>:-Werror>)
