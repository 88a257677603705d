// SPDX-License-Identifier: MIT

// How a task comes into an elastic pool, and how it is taken back.

#include "penstock/exec/detail/elastic_core.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void DeleteElasticCore::operator()(ElasticCore* core) const noexcept { delete core; }

ElasticAdmission::ElasticAdmission(ElasticCore& core, const Context* ctx, absl::Status* refusal)
    : core_(core), status_(core.admit(ctx, refusal, place_)) {}

JobHome& ElasticAdmission::home() const noexcept { return core_; }

void ElasticAdmission::enter(JobState& job) noexcept {
  entered_ = true;
  core_.enter(job, place_);
}

void ElasticAdmission::give_back() noexcept { core_.give_back(place_); }

ElasticCore::ElasticCore(ElasticPoolOptions options)
    : options_(std::move(options)),
      clock_(*options_.clock),
      process_(fork_generation()),
      least_(options_.min_workers),
      most_(options_.max_workers),
      growth_(options_.growth, std::max(1U, world::Thread::hardware_concurrency())),
      trim_(options_.trim, clock_.now()) {}

// --- submissions ---

bool ElasticCore::is_full() const noexcept {
  // A worker that has not begun, or may still be made, is a place too.
  const std::size_t begun = live_ - starting_;
  const std::size_t to_come = most_ - std::min(most_, begun);
  const std::size_t places =
      options_.queue_capacity > kUnlimited - to_come ? kUnlimited : options_.queue_capacity + to_come;
  return queued_ + reserved_ + seeking_ >= places;
}

OpStatus ElasticCore::admit(const Context* ctx, absl::Status* refusal, ElasticPlace& place) {
  const auto refuse = [&](OpStatus status, Refusal why) {
    if (refusal != nullptr) *refusal = describe(why, ctx);
    return status;
  };
  if (is_forked()) return refuse(OpStatus::kClosed, Refusal::kForked);
  const OpStatus ended = ctx == nullptr ? OpStatus::kOk : ctx->status();
  OpStatus status = OpStatus::kOk;
  Refusal why = Refusal::kClosed;
  bool hires = false;
  {
    MutexLock lock(mutex_);
    if (closed_) {
      ++counts_.refused_closed;
      status = OpStatus::kClosed;
    } else if (ended != OpStatus::kOk) {
      ++counts_.refused_ended;
      status = ended;
      why = Refusal::kEnded;
    } else if ((place.worker = claim_idle()) != nullptr) {
      ++running_;
      place.id = ++counts_.accepted;
    } else if (is_full()) {
      ++counts_.refused_full;
      status = OpStatus::kFull;
      why = Refusal::kFull;
    } else {
      // From here on the last worker stays.
      hires = live_ == 0;
      if (hires) {
        ++seeking_;
        reserve_worker();
      } else {
        ++reserved_;
        place.id = ++counts_.accepted;
      }
    }
  }
  if (hires) {
    const bool hired = hire();
    WakeList wake;
    {
      MutexLock lock(mutex_);
      --errands_;
      --seeking_;
      if (hired || live_ != 0) {
        ++reserved_;
        place.id = ++counts_.accepted;
      } else {
        ++counts_.refused_no_worker;
        status = OpStatus::kFull;
        why = Refusal::kNoWorker;
        claim_closers(wake);
      }
    }
    wake.wake_all();
  }
  return status == OpStatus::kOk ? status : refuse(status, why);
}

void ElasticCore::give_back(const ElasticPlace& place) noexcept {
  Errand errand;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    ++counts_.unmade;
    if (place.worker == nullptr) {
      --reserved_;
    } else {
      --running_;
      unclaim(*place.worker, errand);
    }
    claim_closers(wake);
  }
  wake.wake_all();
  run_errand(errand);
}

void ElasticCore::enter(JobState& job, const ElasticPlace& place) noexcept {
  job.id_ = place.id;
  if (job.plain_ && place.worker != nullptr) {
    job.state_.store(JobState::State::kRunning, std::memory_order_relaxed);
    place.worker->order = ElasticOrder{&job};
    woken_.fetch_add(1, std::memory_order_relaxed);
    place.worker->parker.unpark();  // the pool may be gone from here on
    return;
  }
  bool cancelled = false;
  if (!job.plain_) {
    cancelled = !static_cast<AnsweredJob&>(job).hook();
    job.enqueued_at_ = clock_.now();
  }
  Errand errand;
  EndedJobs ended;
  {
    MutexLock lock(mutex_);
    if (place.worker == nullptr) --reserved_;
    if (cancelled || job.stop_asked_ || called_off_) {
      const bool is_dropped = !cancelled && !job.stop_asked_;
      decide(job, is_dropped ? Ending::kAbandoned : Ending::kCancelled, ended);
      if (place.worker != nullptr) {
        --running_;
        unclaim(*place.worker, errand);
      }
    } else if (place.worker != nullptr) {
      job.state_.store(JobState::State::kRunning, std::memory_order_relaxed);
      place.worker->runs = &job;
      place.worker->order = ElasticOrder{&job};
      woken_.fetch_add(1, std::memory_order_relaxed);
      errand.woken = place.worker;
    } else {
      job.state_.store(JobState::State::kQueued, std::memory_order_relaxed);
      queue_.push(job);
      ++queued_;
      dispatch(errand);
    }
  }
  run_errand(errand);
  if (ended.size() != 0) settle(ended);
}

void ElasticCore::dispatch(Errand& errand) noexcept {
  if (ElasticWorker* const worker = claim_idle()) {
    worker->order = take();
    worker->runs = worker->order.job != nullptr && !worker->order.job->plain_ ? worker->order.job : nullptr;
    woken_.fetch_add(1, std::memory_order_relaxed);
    errand.woken = worker;
    return;
  }
  counts_.deepest = std::max(counts_.deepest, queued_ + posted_queued_);
  if (growth_.queued(growth_sample(TimePoint{}))) {
    reserve_worker();
    errand.hires = true;
  } else if (keeper_sleeps_ && live_ < most_) {
    keeper_sleeps_ = false;
    errand.wakes_keeper = true;
    ++errands_;
  }
}

void ElasticCore::run_errand(const Errand& errand) noexcept {
  if (errand.woken != nullptr) errand.woken->parker.unpark();
  if (errand.leavers != nullptr) errand.leavers->parker.unpark();
  if (!errand.is_counted()) return;  // the pool may be gone
  if (errand.hires) hire();
  if (errand.wakes_keeper) keeper_.unpark();
  WakeList wake;
  {
    MutexLock lock(mutex_);
    errands_ -= static_cast<std::size_t>(errand.hires) + static_cast<std::size_t>(errand.wakes_keeper);
    claim_closers(wake);
  }
  wake.wake_all();
}

// --- posted work ---

void ElasticCore::post(Work& work) noexcept {
  if (is_forked()) return;
  Errand errand;
  {
    MutexLock lock(mutex_);
    posted_.push(work);
    ++posted_queued_;
    dispatch(errand);
  }
  run_errand(errand);
}

bool ElasticCore::revoke(Work& work) noexcept {
  if (is_forked()) return true;
  work.wait_until_posted();
  WakeList wake;
  {
    MutexLock lock(mutex_);
    if (!posted_.remove(work)) return false;
    --posted_queued_;
    claim_closers(wake);
  }
  wake.wake_all();
  return true;
}

// --- jobs that end without being run ---

AnsweredJob::Stop ElasticCore::take_back(AnsweredJob& job, EndedJobs& ended, WakeList& /*wake*/) noexcept {
  if (is_forked()) return AnsweredJob::Stop::kDone;
  MutexLock lock(mutex_);
  switch (job.state_.load(std::memory_order_relaxed)) {
    case JobState::State::kQueued:
      queue_.remove(job);
      --queued_;
      decide(job, Ending::kCancelled, ended);
      return AnsweredJob::Stop::kEnded;
    case JobState::State::kOverdue:
    case JobState::State::kDecided:
      return AnsweredJob::Stop::kDone;
    case JobState::State::kNew:
    case JobState::State::kRunning:
      break;
  }
  return std::exchange(job.stop_asked_, true) ? AnsweredJob::Stop::kAskedBefore : AnsweredJob::Stop::kAsked;
}

void ElasticCore::settle_taken(EndedJobs& ended, WakeList& /*wake*/) noexcept { settle(ended); }

bool ElasticCore::may_wait_inside(AnsweredJob& job) noexcept {
  if (is_forked()) return true;
  MutexLock lock(mutex_);
  // One that runs comes to its end by itself. One that waits gets a worker of its own, unless there may be no more.
  return most_ == kUnlimited || job.state_.load(std::memory_order_relaxed) != JobState::State::kQueued;
}

void ElasticCore::decide(JobState& job, Ending ending, EndedJobs& ended) noexcept {
  job.state_.store(JobState::State::kDecided, std::memory_order_relaxed);
  job.ending_ = ending;
  ++(ending == Ending::kAbandoned ? counts_.dropped : counts_.cancelled);
  ++settling_;
  ended.push(job);
}

void ElasticCore::settle(EndedJobs& ended) noexcept {
  const std::size_t count = ended.size();
  const Inside here(*this, count, Inside::kNoWorker);
  while (JobState* const job = ended.pop()) {
    auto* const answered = job->plain_ ? nullptr : static_cast<AnsweredJob*>(job);
    if (answered != nullptr) answered->unhook();
    try {
      job->destroy_function();
    } catch (...) {
      report(std::current_exception(), job);
    }
    if (answered != nullptr) answered->publish(describe_ending(*job));
    job->release();
  }
  WakeList wake;
  {
    MutexLock lock(mutex_);
    settling_ -= count;
    claim_closers(wake);
  }
  wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
