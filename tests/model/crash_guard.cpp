// SPDX-License-Identifier: MIT
#include "model/crash_guard.hpp"

#include <sys/time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "model/execution.hpp"
#include "model/trace.hpp"
#include "model/violation.hpp"

namespace penstock::checker {
namespace {

constexpr int kPatience = 60;  // seconds without a step; a loaded machine is no reason

std::uint64_t last_seen = 0;
int idle_seconds = 0;

void on_signal(int number, siginfo_t* info, void*) {
  if (!execution.running()) {
    std::signal(number, SIG_DFL);
    std::raise(number);
    return;
  }
  observing = false;
  std::string text = thread_label(execution.me().id) + ": " + strsignal(number);
  if (number == SIGABRT) text = thread_label(execution.me().id) + " calls abort";
  if (number == SIGSEGV || number == SIGBUS) {
    const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
    text += " at " + describe_address(address);
    if (Region::contains(address)) text += " (stack overflow)";
  }
  // Leaves the handler for good: the fiber is abandoned with its frame. SA_NODEFER keeps the signal deliverable.
  fail(Violation::Kind::kCrash, std::move(text));
}

void on_alarm(int) {
  const std::uint64_t seen = execution.progress();
  idle_seconds = execution.running() && seen == last_seen ? idle_seconds + 1 : 0;
  last_seen = seen;
  if (idle_seconds < kPatience) return;
  // Somebody may hold a lock of the C library, so there is no way back into the search.
  std::fprintf(stderr, "model checker: %s took no step for %d s, at schedule '%s%s'\n",
               thread_label(execution.me().id).c_str(), kPatience, execution.schedule_prefix().c_str(),
               execution.trail().schedule().c_str());
  _exit(3);
}

[[noreturn]] void on_terminate() {
  if (!execution.running()) std::abort();
  observing = false;
  std::string text = thread_label(execution.me().id) + " calls std::terminate";
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::exception& exception) {
      text += std::string(", with an exception: ") + exception.what();
    } catch (...) {
      text += ", with an exception";
    }
  }
  fail(Violation::Kind::kCrash, std::move(text));
}

alignas(16) char signal_stack[64 << 10];

}  // namespace

CrashGuard::CrashGuard() {
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof(signal_stack);
  sigaltstack(&stack, &stack_before_);
  for (int i = 0; i != kCount; ++i) {
    struct sigaction action {};
    sigemptyset(&action.sa_mask);
    if (kSignals[i] == SIGALRM) {
      action.sa_handler = on_alarm;
      action.sa_flags = SA_RESTART | SA_ONSTACK;
    } else {
      action.sa_sigaction = on_signal;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    }
    sigaction(kSignals[i], &action, &before_[i]);
  }
  terminate_before_ = std::set_terminate(on_terminate);
  idle_seconds = 0;
  const itimerval every_second = {{1, 0}, {1, 0}};
  setitimer(ITIMER_REAL, &every_second, nullptr);
}

CrashGuard::~CrashGuard() {
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  std::set_terminate(terminate_before_);
  for (int i = 0; i != kCount; ++i) sigaction(kSignals[i], &before_[i], nullptr);
  sigaltstack(&stack_before_, nullptr);
}

}  // namespace penstock::checker
