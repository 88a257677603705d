// SPDX-License-Identifier: MIT

// What a worker of an elastic pool does from its first step to its last.

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/thread_name.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/elastic_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/job.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// Posted work goes first, but after so many pieces in a row a job does.
constexpr std::size_t kMaxPostedInARow = 16;

}  // namespace

void ElasticCore::serve(ElasticWorker& me) noexcept {
  name_thread(options_.name, '/', me.id);
  {
    const Inside here(*this, 1, static_cast<std::size_t>(me.id));
    for (ElasticOrder order = begin(me);;) {
      if (!order) order = await(me);
      if (order.leaves) break;
      const bool is_plain = order.job != nullptr && order.job->plain_;
      Outcome outcome = Outcome::kSucceeded;
      if (order.work != nullptr) {
        order.work->run(*order.work);
      } else {
        outcome = run(me, *order.job);
        order.job->release();
      }
      MutexLock lock(mutex_);
      if (is_plain) count(outcome);
      if (!me.is_new) ++counts_.reused;
      me.is_new = false;
      order = look(me);
    }
  }
  leave(me);
}

ElasticOrder ElasticCore::begin(ElasticWorker& me) noexcept {
  ElasticOrder order;
  bool sets_timer = false;
  {
    MutexLock lock(mutex_);
    --starting_;
    me.next = crew_;
    if (crew_ != nullptr) crew_->previous = &me;
    crew_ = &me;
    // Counted here, so that who sees what a worker has done sees that it was made, too; and so is the timer set before
    // its first task runs.
    ++counts_.created;
    trim_.created(clock_.now());
    sets_timer = trim_timer_ == TrimTimer::kOff && !closed_;
    order = look(me);
  }
  if (sets_timer) begin_trim();
  return order;
}

ElasticOrder ElasticCore::await(ElasticWorker& me) noexcept {
  // It looks for about as long as a wake-up takes, and never gives its processor away meanwhile: as one of many that
  // want to run it would get its task late, while one that sleeps and is woken goes before those.
  bool has_order = me.parker.try_park();
  for (std::uint32_t left = world::spin_limit(); !has_order && left != 0; --left) {
    world::pause();
    has_order = me.parker.try_park();
  }
  if (!has_order) me.parker.park();
  if (!me.order.leaves) awake_.fetch_add(1, std::memory_order_relaxed);
  return std::exchange(me.order, {});
}

ElasticOrder ElasticCore::look(ElasticWorker& me) noexcept {
  me.runs = nullptr;
  if (live_ > most_) {
    --live_;
    ++leaving_;
    ++counts_.trimmed;
    return {nullptr, nullptr, true};
  }
  if (!queue_.empty() || !posted_.empty()) {
    if (!me.is_new) ++progress_;
    const ElasticOrder order = take();
    if (order.job != nullptr && !order.job->plain_) me.runs = order.job;
    return order;
  }
  if (closed_) {
    --live_;
    ++leaving_;
    return {nullptr, nullptr, true};
  }
  push_idle(me);
  return {};
}

/// There is something to take.
ElasticOrder ElasticCore::take() noexcept {
  if (!posted_.empty() && (queue_.empty() || posted_in_a_row_ < kMaxPostedInARow)) {
    ++posted_in_a_row_;
    --posted_queued_;
    ++counts_.posted;
    return {nullptr, posted_.pop()};
  }
  posted_in_a_row_ = 0;
  ++running_;
  --queued_;
  JobState* const job = queue_.pop();
  job->state_.store(JobState::State::kRunning, std::memory_order_relaxed);
  return {job};
}

// --- a job ---

ElasticCore::Outcome ElasticCore::run(ElasticWorker& me, JobState& job) noexcept {
  absl::Status status;
  std::exception_ptr escaped;
  bool is_called = true;
  try {
    status = call(me, job, is_called);
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
          fmt::format("elastic pool '{}': job {} threw {}", options_.name, job.id_, exception_text(escaped)));
    } catch (...) {
      status = absl::InternalError({});  // no memory for the text
    }
    escaped = nullptr;  // the caller's exception is gone before the caller is answered
  }
  const Outcome outcome = threw         ? Outcome::kThrew
                          : !is_called  ? Outcome::kCancelled
                          : status.ok() ? Outcome::kSucceeded
                                        : Outcome::kFailed;
  if (job.plain_) return outcome;
  {
    MutexLock lock(mutex_);
    job.state_.store(JobState::State::kDecided, std::memory_order_relaxed);
    me.runs = nullptr;
    count(outcome);
  }
  auto& answered = static_cast<AnsweredJob&>(job);
  answered.unhook();
  if (threw) answered.discard_value();
  answered.publish(std::move(status));
  return outcome;
}

absl::Status ElasticCore::call(ElasticWorker& me, JobState& job, bool& is_called) {
  JobTerms* const terms = job.terms();
  if (terms == nullptr) return job.invoke(nullptr);
  const Context& ctx = terms->context;
  if (const OpStatus ended = ctx.status(); ended != OpStatus::kOk) {
    is_called = false;
    return with_failure_stage(
        to_status(ended, fmt::format("elastic pool '{}': job {} before it started", options_.name, job.id_)), "queue");
  }
  if (!terms->source) return job.invoke(nullptr);
  const Duration waited = std::max(clock_.now() - job.enqueued_at_, Duration::zero());
  const JobContext context{ctx, job.id_, static_cast<std::size_t>(me.id), waited, terms->attempt, job.id_};
  return job.invoke(&context);
}

/// A task that was called, or was not any more, is over.
void ElasticCore::count(Outcome outcome) noexcept {
  --running_;
  switch (outcome) {
    case Outcome::kSucceeded:
      ++counts_.succeeded;
      break;
    case Outcome::kFailed:
      ++counts_.failed;
      break;
    case Outcome::kThrew:
      ++counts_.threw;
      break;
    case Outcome::kCancelled:
      ++counts_.cancelled;
      break;
  }
}

// --- the stack of the idle ---

void ElasticCore::push_idle(ElasticWorker& worker) noexcept {
  worker.idle_since = clock_.now();
  worker.above = nullptr;
  worker.below = top_;
  (top_ == nullptr ? bottom_ : top_->above) = &worker;
  top_ = &worker;
  ++idle_;
}

void ElasticCore::take_idle(ElasticWorker& worker) noexcept {
  (worker.above == nullptr ? top_ : worker.above->below) = worker.below;
  (worker.below == nullptr ? bottom_ : worker.below->above) = worker.above;
  --idle_;
  low_water_ = std::min(low_water_, idle_);
}

ElasticWorker* ElasticCore::claim_idle() noexcept {
  ElasticWorker* const worker = top_;
  if (worker == nullptr) return nullptr;
  take_idle(*worker);
  return worker;
}

void ElasticCore::unclaim(ElasticWorker& worker, Errand& errand) noexcept {
  // As if it came back from a task: something may have been queued while it was held.
  worker.order = look(worker);
  if (!worker.order) return;
  errand.woken = &worker;
  if (!worker.order.leaves) woken_.fetch_add(1, std::memory_order_relaxed);
}

void ElasticCore::dismiss(std::size_t count, Errand& errand) noexcept {
  for (; count != 0 && bottom_ != nullptr; --count) {
    ElasticWorker* const worker = bottom_;
    take_idle(*worker);
    --live_;
    ++leaving_;
    worker->order = {nullptr, nullptr, true};
    worker->next_to_leave = std::exchange(errand.leavers, worker);
  }
}

// --- the end of a worker ---

void ElasticCore::leave(ElasticWorker& me) noexcept {
  if (me.next_to_leave != nullptr) me.next_to_leave->parker.unpark();
  ElasticWorker* predecessor = nullptr;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    (me.previous == nullptr ? crew_ : me.previous->next) = me.next;
    if (me.next != nullptr) me.next->previous = me.previous;
    predecessor = std::exchange(leaver_, &me);
    --leaving_;
    claim_closers(wake);
  }
  wake.wake_all();
  // Whoever comes next, or the end of the pool, joins this thread, and only then frees it, and the pool.
  join(predecessor);
}

void ElasticCore::join(ElasticWorker* leaver) noexcept {
  if (leaver == nullptr) return;
  world::Thread thread;
  {
    MutexLock lock(crew_mutex_);  // who made the thread may not have put it down yet
    thread = std::move(leaver->thread);
  }
  thread.join();
  delete leaver;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
