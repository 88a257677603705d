// SPDX-License-Identifier: MIT
#include "penstock/core/clock.hpp"

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/detail/timer_queue.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// The queue and the thread that fires from it. The thread sleeps until the earliest deadline, or for ever.
class SteadyClock::TimerThread {
 public:
  ~TimerThread() {
    if (!thread_.joinable()) return;
    stopping_.store(true, std::memory_order_release);  // S1 release
    wake_.unpark();
    thread_.join();
  }

  void start() {
    if (started_.load(std::memory_order_acquire)) return;  // S2 acquire
    std::lock_guard lock(start_mutex_);
    if (thread_.joinable()) return;
    thread_ = detail::world::Thread([this] { run(); });
    started_.store(true, std::memory_order_release);  // S2 release
  }

  void add(Timer& timer, TimePoint when) noexcept {
    if (queue_.add(timer, when) == detail::TimerQueue::Added::kFirst) wake_.unpark();
  }

  void remove(Timer& timer) noexcept { queue_.remove(timer); }

 private:
  void run() noexcept {
    detail::world::set_thread_name("penstock/timer");
    while (!stopping_.load(std::memory_order_acquire)) {  // S1 acquire
      while (queue_.fire_one(detail::world::now())) {
      }
      // A timer that comes to be the first from here on leaves a token, and the parker returns at once.
      wake_.park_until(queue_.next());
    }
  }

  detail::TimerQueue queue_;
  detail::Parker wake_;
  // S1  the destructor's wish, seen by the thread at its next turn; the parker's token makes that turn come.
  // S2  the thread exists: a reader that sees true need not lock to start it.
  detail::world::Atomic<bool> stopping_{false};
  detail::world::Atomic<bool> started_{false};
  detail::world::Mutex start_mutex_;
  detail::world::Thread thread_;
};

Clock& Clock::steady() noexcept {
  // Never destroyed: objects of static lifetime may wait on it until the very end, and its thread with it.
  static SteadyClock* const clock = new SteadyClock;
  return *clock;
}

SteadyClock::SteadyClock() : timers_(std::make_unique<TimerThread>()) {}
SteadyClock::~SteadyClock() = default;

void SteadyClock::start_timers() { timers_->start(); }

bool SteadyClock::arm(Timer& timer, TimePoint when) noexcept {
  if (when <= now()) return false;
  timers_->add(timer, when);
  return true;
}

void SteadyClock::disarm(Timer& timer) noexcept { timers_->remove(timer); }

}  // namespace penstock::inline PENSTOCK_ABI
