// SPDX-License-Identifier: MIT

// How an elastic pool begins and ends.

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/elastic_core.hpp"
#include "shutdown_cause.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool ElasticCore::is_inside() const noexcept {
  for (const Inside* at = Inside::innermost(); at != nullptr; at = at->outer) {
    if (at->home == this) return true;
  }
  return false;
}

bool ElasticCore::on_worker_thread() const noexcept { return Inside::worker_of(*this) != Inside::kNoWorker; }

std::size_t ElasticCore::own_weight() const noexcept {
  std::size_t weight = 0;
  for (const Inside* at = Inside::innermost(); at != nullptr; at = at->outer) {
    if (at->home == this) weight += at->weight;
  }
  return weight;
}

void ElasticCore::start() {
  clock_.start_timers();
  keeper_thread_ = world::Thread([this] { keep(); });
  {
    MutexLock lock(mutex_);
    if (options_.size.index() != 0) size_due_ = saturated_add(clock_.now(), options_.size_interval);
  }
  begin_trim();
  while (hire_for(Need::kLeast, 0)) {
  }
  MutexLock lock(mutex_);
  if (live_ < least_) {
    throw std::system_error(
        std::make_error_code(std::errc::resource_unavailable_try_again),
        fmt::format("elastic pool '{}': only {} of {} workers could be made", options_.name, live_, least_));
  }
}

void ElasticCore::close() noexcept {
  if (is_forked()) return;
  Errand errand;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    closed_ = true;
    dismiss(idle_, errand);
    claim_closers(wake);
  }
  wake.wake_all();
  run_errand(errand);
}

bool ElasticCore::is_quiet(std::size_t weight) const noexcept {
  const std::size_t inside = weight == 0 ? 0 : inside_;
  if (live_ + leaving_ + settling_ + reserved_ + errands_ > inside) return false;
  // Where all workers that there may be are in shutdown() themselves, nobody can run what waits.
  return (queued_ == 0 && posted_queued_ == 0) || (live_ != 0 && live_ >= most_);
}

void ElasticCore::claim_closers(WakeList& wake) noexcept {
  if (closed_ && is_quiet(inside_)) closers_.claim_all(Waiter::kServed, wake);
}

ElasticShutdownReport ElasticCore::shutdown(const Context& ctx, ElasticEnd end) {
  ElasticShutdownReport report;
  if (is_forked()) return report;
  const TimePoint start = clock_.now();
  const std::size_t weight = own_weight();
  const bool is_task = on_worker_thread();
  ElasticPoolStats before;
  {
    MutexLock lock(mutex_);
    before = counts_;
  }
  close();
  if (end == ElasticEnd::kCancel) call_off();
  bool is_over = false;
  const auto wait = [&] {
    for (;;) {
      Waiter waiter(ctx);  // throws if the clock of `ctx` needs a thread for timers, and there is none
      WaitNode node(waiter, nullptr);
      {
        MutexLock lock(mutex_);
        if (is_quiet(weight)) return;
        closers_.push(node);
      }
      if (waiter.wait() >= Waiter::kServed) continue;  // those who are inside may be done, but not this one
      MutexLock lock(mutex_);
      closers_.remove(node);
      return;
    }
  };
  WakeList others;
  {
    MutexLock lock(mutex_);
    inside_ += weight;
    claim_closers(others);  // some of them may have waited for this thread
  }
  others.wake_all();
  try {
    wait();
  } catch (...) {  // there is no way to wait for so long: as if the time were up
  }
  {
    MutexLock lock(mutex_);
    is_over = is_quiet(weight);
  }
  if (!is_over) call_off();
  ElasticWorker* last = nullptr;
  {
    MutexLock lock(mutex_);
    is_over = is_over || is_quiet(weight);
    inside_ -= weight;
    report.in_time = is_over;
    report.ran = counts_.succeeded + counts_.failed + counts_.threw - before.succeeded - before.failed - before.threw;
    report.dropped = counts_.dropped - before.dropped;
    const std::size_t busy = live_ - idle_ - starting_;
    report.running = busy - std::min(busy, std::size_t{is_task ? 1U : 0U});
    report.waiting = queued_ + reserved_ + posted_queued_;
    if (is_over) last = std::exchange(leaver_, nullptr);
  }
  join(last);
  report.took = clock_.now() - start;
  return report;
}

void ElasticCore::call_off() noexcept {
  constexpr std::size_t kMostAtOnce = 64;  // the lock is not held for long
  EndedJobs ended;
  for (bool is_more = true; is_more;) {
    MutexLock lock(mutex_);
    called_off_ = true;  // so that what is being submitted ends, too
    for (std::size_t i = 0; i != kMostAtOnce && is_more; ++i) {
      JobState* const job = queue_.pop();
      is_more = job != nullptr;
      if (!is_more) break;
      --queued_;
      decide(*job, Ending::kAbandoned, ended);
    }
  }
  const absl::Status cause = shutdown_cause("elastic pool", options_.name);
  while (AnsweredJob* const job = next_to_stop()) {
    job->ask_to_stop(cause);
    job->release();
  }
  if (ended.size() != 0) settle(ended);
}

/// A running job that has not been asked to stop, and is now; retained for that.
AnsweredJob* ElasticCore::next_to_stop() noexcept {
  MutexLock lock(mutex_);
  for (ElasticWorker* worker = crew_; worker != nullptr; worker = worker->next) {
    if (worker->runs == nullptr || std::exchange(worker->runs->stop_asked_, true)) continue;
    auto* const job = static_cast<AnsweredJob*>(worker->runs);
    job->retain();
    return job;
  }
  return nullptr;
}

void ElasticCore::stop() noexcept {
  close();
  clock_.disarm(tick_timer_);
  if (keeper_thread_.joinable()) {
    {
      MutexLock lock(mutex_);
      keeper_stops_ = true;
    }
    keeper_.unpark();
    keeper_thread_.join();
  }
  ElasticWorker* last = nullptr;
  {
    MutexLock lock(mutex_);
    last = std::exchange(leaver_, nullptr);
  }
  join(last);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
