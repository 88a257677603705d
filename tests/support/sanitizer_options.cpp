// SPDX-License-Identifier: MIT

// How the sanitizers of a test program behave, also when it is started by hand. The runtimes look for these functions;
// the *SAN_OPTIONS of the environment come on top.

extern "C" {

const char* __asan_default_options();
const char* __lsan_default_suppressions();
const char* __tsan_default_options();
const char* __ubsan_default_options();

const char* __asan_default_options() { return "detect_stack_use_after_return=1:strict_init_order=1"; }

// The steady clock's timer thread never ends, and clang's runtime does not find what only libstdc++ has of it.
const char* __lsan_default_suppressions() { return "leak:SteadyClock::TimerThread::start\n"; }

const char* __tsan_default_options() {
  return "suppressions=" PENSTOCK_TSAN_SUPPRESSIONS ":halt_on_error=1:exitcode=66:second_deadlock_stack=1";
}

const char* __ubsan_default_options() { return "print_stacktrace=1"; }

}  // extern "C"
