// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/thread_core.hpp"

#include <algorithm>
#include <exception>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/fork.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

ThreadCore::ThreadCore(ThreadManagerOptions options, MakeThread thread_maker)
    : options_(std::move(options)),
      make_(thread_maker),
      clock_(*options_.clock),
      process_(fork_generation()),
      life_(Context(clock_).with_cancel()),
      events_(options_.event_capacity),
      slots_(options_.max_threads),
      history_(options_.history_size) {}

bool ThreadCore::is_forked() const noexcept { return process_ != fork_generation(); }

absl::Status ThreadCore::start() {
  try {
    if (!clock_.is_machine_time()) clock_.start_timers();
    if (options_.on_stuck) watcher_ = world::Thread([this] { watch(); });
  } catch (const std::exception& caught) {
    return absl::ResourceExhaustedError(fmt::format(
        "thread manager '{}': cannot start the thread that watches, or the clock's: {}", options_.name, caught.what()));
  }
  return absl::OkStatus();
}

ThreadShutdownReport ThreadCore::shutdown(const Context& ctx) {
  // What could throw in the midst of it.
  if (ctx.deadline() != TimePoint::max() && !ctx.clock().is_machine_time()) ctx.clock().start_timers();
  ManagedThread& current = ManagedThread::current();
  const bool is_own = current.core == this;
  const bool is_inside = is_own && current.phase == ManagedThread::Phase::kInFunction;
  const bool may_wait = !is_own || current.phase != ManagedThread::Phase::kBetween;
  // What the end of the contexts calls may call this again: the thread is in here once.
  const bool counts = is_inside && !std::exchange(current.is_shutting_down, true);
  std::uint64_t finished_before = 0;
  {
    WakeList wake;
    {
      MutexLock lock(mutex_);
      closed_ = true;
      finished_before = counts_.finished;
      inside_ += counts ? 1 : 0;
      for (CrewThread* thread = idle_top_; thread != nullptr; thread = thread->below) claim(*thread, wake);
      claim_closers(wake);  // what the others wait for may be true with us in here
    }
    wake.wake_all();
  }
  try {
    life_.source.cancel(absl::CancelledError(fmt::format("thread manager '{}': shutting down", options_.name)));
  } catch (...) {  // no memory for the text: the bare cause will do
    life_.source.cancel();
  }

  ThreadShutdownReport report;
  bool quiet = false;
  while (!quiet && report.in_time) {
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      MutexLock lock(mutex_);
      quiet = active_ <= (is_inside ? inside_ : 0);
      if (!quiet && may_wait) closers_.push(node);
    }
    if (quiet) break;
    if (!may_wait) {
      report.in_time = false;
    } else if (waiter.wait() < Waiter::kServed) {
      MutexLock lock(mutex_);
      closers_.remove(node);
      report.in_time = false;
    }
  }
  if (counts) current.is_shutting_down = false;
  {
    MutexLock lock(mutex_);
    inside_ -= counts ? 1 : 0;
    report.finished = counts_.finished - finished_before;
  }
  try {
    report.left = list(is_own ? current.record : nullptr);
  } catch (const std::bad_alloc&) {
    report.in_time = false;  // unknown who is left: the shutdown itself matters more
  }
  if (quiet && !is_inside) events_.close();
  return report;
}

void ThreadCore::stop() noexcept {
  // Waits for the functions, then for their threads, as their last user.
  for (bool done = false; !done;) {
    CrewThread* retired = nullptr;
    {
      MutexLock lock(mutex_);
      while (retired_ == nullptr && counts_.live + counts_.ending != 0) {
        if (room_.wait(mutex_) != OpStatus::kOk) break;
      }
      retired = std::exchange(retired_, nullptr);
      done = retired == nullptr && counts_.live + counts_.ending == 0;
    }
    if (retired != nullptr) bury(retired, false);
  }
  WakeList wake;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    watching_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
  if (watcher_.joinable()) watcher_.join();
}

void ThreadCore::claim_closers(WakeList& wake) noexcept {
  if (active_ <= inside_) closers_.claim_all(Waiter::kServed, wake);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
