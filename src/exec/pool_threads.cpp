// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// The system keeps 15 bytes of a thread's name: the pool's name is cut, not what tells its threads apart.
void name_thread(std::string_view pool, std::string_view suffix) {
  constexpr std::size_t kKept = 15;
  const std::size_t room = kKept - std::min(kKept, suffix.size() + 1);
  world::set_thread_name(fmt::format("{}/{}", pool.substr(0, room), suffix));
}

}  // namespace

absl::Status PoolCore::start() {
  std::string failure;
  try {
    if (!clock_.is_machine_time()) clock_.start_timers();
    threads_.reserve(options_.workers + 1);
    for (std::size_t id = 0; id < options_.workers; ++id) threads_.emplace_back([this, id] { work(id); });
    threads_.emplace_back([this] { watch(); });
  } catch (const std::exception& caught) {
    failure = caught.what();
    if (failure.empty()) failure = "unknown reason";
  }
  absl::Status status;
  {
    MutexLock lock(mutex_);
    const std::size_t workers = std::min(threads_.size(), options_.workers);
    while (reported_ < workers) {
      if (all_reported_.wait(mutex_) != OpStatus::kOk) break;
    }
    status = start_failure_;
  }
  if (!failure.empty()) {
    status =
        absl::ResourceExhaustedError(fmt::format("worker pool '{}': cannot start thread {} of {}: {}", options_.name,
                                                 threads_.size() + 1, options_.workers + 1, failure));
  }
  if (!status.ok()) stop();
  return status;
}

void PoolCore::stop() noexcept {
  WakeList wake;
  {
    MutexLock lock(mutex_);
    closed_ = stopping_ = true;
    idle_.claim_all(Waiter::kServed, wake);
    watching_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
  for (world::Thread& thread : threads_) thread.join();
  threads_.clear();
  // What was posted after the last worker had gone: nothing posted is ever lost.
  for (;;) {
    Work* work = nullptr;
    {
      MutexLock lock(mutex_);
      work = posted_.pop();
    }
    if (work == nullptr) return;
    work->run(*work);
  }
}

// --- workers ---

absl::Status PoolCore::run_start_hook(std::size_t id) noexcept {
  absl::Status status;
  try {
    name_thread(options_.name, fmt::format_int(id).str());
    if (!options_.on_worker_start) return status;
    std::exception_ptr escaped;
    try {
      status = options_.on_worker_start(id);
    } catch (...) {
      escaped = std::current_exception();
    }
    if (escaped) {
      return absl::InternalError(
          fmt::format("worker pool '{}': on_worker_start({}) threw {}", options_.name, id, exception_text(escaped)));
    }
    if (status.ok()) return status;
    return absl::Status(status.code(), fmt::format("worker pool '{}': worker {} did not start: {}", options_.name, id,
                                                   fmt::string_view(status.message().data(), status.message().size())));
  } catch (...) {
    return absl::ResourceExhaustedError({});  // no memory for the text
  }
}

void PoolCore::work(std::size_t id) noexcept {
  Activation here(*this, true, 0);
  absl::Status started = run_start_hook(id);
  {
    MutexLock lock(mutex_);
    if (start_failure_.ok()) std::swap(start_failure_, started);
    ++reported_;
  }
  all_reported_.notify_one();

  bool busy = false;
  for (Task task; next(here, busy, task); task = {}) {
    if (task.work != nullptr) {
      task.work->run(*task.work);
    } else {
      here.weight = 1;
      here.job = task.job;
      run(*task.job, id);
    }
  }
}

/// Ends what the worker did before, and finds it something to do. Returns false when the pool stops.
bool PoolCore::next(Activation& here, bool& busy, Task& task) noexcept {
  for (;;) {
    Waiter waiter(Context::background());
    WaitNode node(waiter, nullptr);
    EndedJobs expired;
    WakeList wake;
    bool idle = false;
    {
      MutexLock lock(mutex_);
      executing_ -= std::exchange(here.weight, 0);
      here.job = nullptr;
      if (std::exchange(busy, false)) --busy_;
      if (queue_.front() != nullptr) {
        const TimePoint now = clock_.now();
        // Answered before the next job starts, whose time would be running already.
        while (queue_.front() != nullptr && queue_.front()->expires_at_ <= now) {
          end_queued(*queue_.front(), Ending::kQueueExpired, now, expired);
        }
        if (expired.size() == 0 && job_is_next()) {
          posted_in_a_row_ = 0;
          task.job = queue_.front();
          queue_.remove(*task.job);
          start_job(*task.job, now, wake);
        }
      }
      if (expired.size() == 0 && task.job == nullptr && !is_promised()) {
        task.work = posted_.pop();
        if (task.work != nullptr) ++posted_in_a_row_;
      }
      if (expired.size() != 0 || task.job != nullptr || task.work != nullptr) {
        busy = true;
        ++busy_;
      } else if (!stopping_) {
        idle_.push(node);
        idle = true;
      }
      grant_places(wake);
      claim_closers(wake);
    }
    wake.wake_all();
    if (expired.size() != 0) {
      settle(expired);
    } else if (busy) {
      return true;
    } else if (!idle) {
      return false;
    } else {
      waiter.wait();
    }
  }
}

void PoolCore::start_job(JobState& job, TimePoint now, WakeList& wake) noexcept {
  job.phase_ = JobState::Phase::kRunning;
  job.started_at_ = now;
  job.expires_at_ = std::min(job.context_.deadline(), saturated_add(now, job.processing_timeout_));
  executing_jobs_.push(job);
  ++executing_;
  ++counts_.started;
  ++counts_.running;
  counts_.queue_wait.record(now - job.enqueued_at_);
  watch_from(job.expires_at_, wake);
}

void PoolCore::run(JobState& job, std::size_t worker_id) noexcept {
  const Context ctx = job.context_.with_deadline(job.expires_at_);
  absl::Status status;
  std::exception_ptr escaped;
  try {
    status = job.invoke(JobContext{ctx, job.id_, worker_id, job.started_at_ - job.enqueued_at_});
  } catch (...) {
    escaped = std::current_exception();
  }
  try {
    job.destroy_function();
  } catch (...) {
    if (!escaped) escaped = std::current_exception();
  }
  const bool threw = escaped != nullptr;
  if (threw) {
    report(escaped, &job);
    try {
      status = absl::InternalError(
          fmt::format("worker pool '{}': job {} threw {}", options_.name, job.id_, exception_text(escaped)));
    } catch (...) {
      status = absl::InternalError({});  // no memory for the text
    }
    escaped = nullptr;  // the caller's exception is gone before the caller is answered
  }
  const bool stopped = absl::IsCancelled(status) && ctx.status() == OpStatus::kCancelled;
  const bool in_time = finish(job, status, threw, stopped);
  job.unhook();
  if (in_time) {
    if (threw) job.discard_value();
    job.publish(std::move(status));
  } else {
    job.discard_value();
  }
  job.release();
}

/// Decides and counts a job whose function has ended. Returns false if its caller has been answered already.
bool PoolCore::finish(JobState& job, const absl::Status& status, bool threw, bool stopped) noexcept {
  const TimePoint now = clock_.now();
  MutexLock lock(mutex_);
  counts_.run.record(now - job.started_at_);
  executing_jobs_.remove(job);
  if (job.phase_ != JobState::Phase::kRunning) {
    ++counts_.late_results;
    --counts_.overdue;
    return false;
  }
  job.phase_ = JobState::Phase::kDecided;
  --counts_.running;
  if (threw) {
    ++counts_.panicked;
  } else if (status.ok()) {
    ++counts_.succeeded;
  } else if (stopped) {
    ++counts_.cancelled;
  } else {
    ++counts_.failed;
  }
  return true;
}

// --- the watching thread ---

void PoolCore::watch() noexcept {
  try {
    name_thread(options_.name, "w");
  } catch (...) {  // no memory for a name: it goes without
  }
  for (;;) {
    EndedJobs expired;
    WakeList wake;
    TimePoint until;
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      until = watched_until_ = expire(clock_.now(), expired);
      grant_places(wake);
    }
    wake.wake_all();
    if (expired.size() != 0) {
      settle(expired);
      continue;
    }
    const Context ctx = Context(clock_).with_deadline(until);
    Waiter waiter(ctx);
    WaitNode node(waiter, nullptr);
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
      if (watched_until_ < until) continue;  // there is an earlier one meanwhile
      watching_.push(node);
    }
    if (waiter.wait() < Waiter::kServed) {
      MutexLock lock(mutex_);
      watching_.remove(node);
    }
  }
}

// --- as an executor ---

void PoolCore::post(Work& work) noexcept {
  WakeList wake;
  {
    MutexLock lock(mutex_);
    posted_.push(work);
    claim_idle(wake);
  }
  wake.wake_all();
}

// The worker that was woken for it, if there is one, finds nothing and goes back to sleep.
bool PoolCore::revoke(Work& work) noexcept {
  work.wait_until_posted();
  MutexLock lock(mutex_);
  return posted_.remove(work);
}

void PoolCore::report(const std::exception_ptr& exception, const JobState* job) noexcept {
  {
    MutexLock lock(mutex_);
    ++counts_.exceptions;
  }
  if (!options_.on_exception) return;
  try {
    const std::string text = exception_text(exception);
    options_.on_exception(CaughtException{options_.name, job == nullptr ? 0 : job->id_,
                                          job == nullptr ? std::string_view() : std::string_view(job->tag_), text,
                                          exception});
  } catch (...) {
    // The hook is the last one to tell: there is nobody left to hear about its own failure.
    MutexLock lock(mutex_);
    ++counts_.exceptions;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
