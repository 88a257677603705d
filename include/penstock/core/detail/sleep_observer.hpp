// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who wants to know when the calling thread sleeps in a wait of the library's, and when it runs again.

#include <utility>

#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What a thread sets for itself. The functions are called by that thread, without a lock, and not while one of them
/// runs: what they wait for themselves is nobody's news.
struct SleepObserver {
  void (*falls_asleep)() noexcept;
  void (*wakes_up)() noexcept;
};

struct SleepObserverTag {};

/// The calling thread's; null if nobody wants to know.
inline const SleepObserver*& sleep_observer() noexcept {
  return world::thread_local_value<SleepObserverTag, const SleepObserver*>();
}

/// The calling thread sleeps until the scope ends: put around the sleep itself, so that a wait that need not come to
/// that costs nothing more. Cost: on a thread without an observer less than a nanosecond.
class Asleep {
 public:
  Asleep() noexcept : observer_(sleep_observer()) {
    if (observer_ != nullptr) tell(observer_->falls_asleep);
  }
  Asleep(const Asleep&) = delete;
  Asleep& operator=(const Asleep&) = delete;
  ~Asleep() {
    if (observer_ != nullptr) tell(observer_->wakes_up);
  }

 private:
  static void tell(void (*what)() noexcept) noexcept {
    const SleepObserver* const observer = std::exchange(sleep_observer(), nullptr);
    what();
    sleep_observer() = observer;
  }

  const SleepObserver* const observer_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
