// SPDX-License-Identifier: MIT
#include "penstock/core/run_loop.hpp"

#include <utility>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/sleep_observer.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

struct CurrentTag {};

/// The loop that the calling thread runs, the innermost one. Its address stands for the thread.
RunLoop*& current() noexcept { return detail::world::thread_local_value<CurrentTag, RunLoop*>(); }

}  // namespace

/// While it lives the calling thread runs the loop. A thread may do so again inside, or run another loop there.
class RunLoop::Turn {
 public:
  explicit Turn(RunLoop& loop) noexcept : loop_(loop), outer_(std::exchange(current(), &loop)) {
    {
      MutexLock lock(loop_.mutex_);
      before_ = std::exchange(loop_.runner_, &current());
    }
    PENSTOCK_CHECK(before_ == nullptr || before_ == &current(), "a run loop was run by two threads at once");
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    {
      MutexLock lock(loop_.mutex_);
      loop_.runner_ = before_;
    }
    current() = outer_;
  }

 private:
  RunLoop& loop_;
  RunLoop* const outer_;
  const void* before_ = nullptr;
};

void RunLoop::post(Work& work) noexcept {
  if (current() == this) {
    if (has_mail_.load(std::memory_order_relaxed)) take_mail();  // it may have been posted before
    queue_.push(work);
    return;
  }
  detail::Parker* sleeper = nullptr;
  {
    MutexLock lock(mutex_);
    mail_.push(work);
    has_mail_.store(true, std::memory_order_relaxed);
    sleeper = std::exchange(sleeper_, nullptr);
  }
  if (sleeper != nullptr) sleeper->unpark();
}

bool RunLoop::revoke(Work& work) noexcept {
  work.wait_until_posted();
  MutexLock lock(mutex_);
  if (mail_.remove(work)) return true;
  // The queue belongs to the thread that runs the loop. For another one the work is as good as running.
  return (runner_ == nullptr || runner_ == &current()) && queue_.remove(work);
}

void RunLoop::take_mail() noexcept {
  MutexLock lock(mutex_);
  queue_.take(mail_);
  has_mail_.store(false, std::memory_order_relaxed);
}

/// Sleeps until there is mail, or returns false if the loop is to stop.
bool RunLoop::wait_for_mail() noexcept {
  detail::Parker parker;
  {
    MutexLock lock(mutex_);
    if (!mail_.empty()) return true;
    if (std::exchange(stopping_, false)) return false;
    sleeper_ = &parker;
  }
  const detail::Asleep asleep;
  parker.park();
  return true;
}

Work* RunLoop::take() noexcept {
  if (has_mail_.load(std::memory_order_relaxed)) take_mail();
  return queue_.pop();
}

void RunLoop::run() {
  const Turn turn(*this);
  do {
    while (Work* const work = take()) work->run(*work);
  } while (wait_for_mail());
}

std::size_t RunLoop::run_ready() {
  const Turn turn(*this);
  std::size_t count = 0;
  for (; Work* const work = take(); ++count) work->run(*work);
  return count;
}

void RunLoop::stop() noexcept {
  detail::Parker* sleeper = nullptr;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    sleeper = std::exchange(sleeper_, nullptr);
  }
  if (sleeper != nullptr) sleeper->unpark();
}

}  // namespace penstock::inline PENSTOCK_ABI
