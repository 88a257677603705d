// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_survey.hpp"

#include <algorithm>
#include <utility>

#include "penstock/exec/detail/pool_locks.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace detail {

Runner::Doing Runner::doing() const noexcept {
  if (!joined) return {WorkerState::kStarting, since};
  if (job == nullptr) return {busy ? WorkerState::kPosted : WorkerState::kListening, since};
  const JobActivity::Reading reading = activity.read();
  const TimePoint entered = std::max(reading.since, started_at);  // clocks that are read cheaply may be behind
  switch (reading.stage) {
    case JobStage::kProcessing:
      break;
    case JobStage::kCalling:
      return {WorkerState::kCalling, entered};
    case JobStage::kResponding:
      return {WorkerState::kResponding, entered};
  }
  return {WorkerState::kProcessing, entered};
}

PoolCore::Survey::Survey(const PoolCore& pool) {
  for (std::size_t room = pool.options_.largest() + 1;; room *= 2) {
    entries_.reserve(room);  // not under the locks
    Both lock(pool);
    std::size_t runners = 0;
    for (const Runner* runner = pool.runners_; runner != nullptr; runner = runner->next) ++runners;
    if (runners > entries_.capacity()) continue;
    for (const Runner* runner = pool.runners_; runner != nullptr; runner = runner->next) {
      entries_.push_back(look_at(*runner));
    }
    return;
  }
}

PoolCore::Survey::~Survey() {
  for (const Entry& entry : entries_) {
    if (entry.tagged != nullptr) entry.tagged->release();
  }
}

/// With both locks, under which the job cannot go.
PoolCore::Survey::Entry PoolCore::Survey::look_at(const Runner& runner) noexcept {
  Entry entry;
  entry.worker_id = runner.worker_id;
  entry.is_worker = runner.is_worker;
  entry.stuck = runner.stuck;
  // In this order there are no more panics than jobs, and no job is counted that is shown as not having ended.
  entry.panicked = runner.tally.value(Count::kPanicked);
  entry.jobs = runner.tally.ended();
  entry.doing = runner.doing();
  if (runner.job == nullptr) return entry;
  entry.job = runner.job;
  entry.job_id = runner.job->id_;
  entry.started_at = runner.started_at;
  entry.decided = runner.job->state_.load(std::memory_order_relaxed) == JobState::State::kDecided;
  if (!PoolCore::tag_of(*runner.job).empty()) {
    entry.tagged = static_cast<AnsweredJob*>(runner.job);
    entry.tagged->retain();
  }
  return entry;
}

std::vector<WorkerInfo> PoolCore::workers() const {
  const Survey survey(*this);
  const TimePoint now = clock_.now();
  const auto age = [now](TimePoint since) { return std::max(now - since, Duration::zero()); };
  std::vector<WorkerInfo> workers;
  workers.reserve(survey.entries().size());
  for (const Survey::Entry& entry : survey.entries()) {
    if (!entry.is_worker) continue;
    WorkerInfo info;
    info.id = entry.worker_id;
    info.state = entry.doing.state;
    info.since = entry.doing.since;
    info.in_state = age(entry.doing.since);
    if (entry.job != nullptr) {
      info.stuck = entry.stuck;
      info.job_id = entry.job_id;
      info.tag = Survey::tag_of(entry);
      info.job_age = age(entry.started_at);
    }
    info.jobs = entry.jobs;
    info.panicked = entry.panicked;
    workers.push_back(std::move(info));
  }
  std::sort(workers.begin(), workers.end(), [](const WorkerInfo& a, const WorkerInfo& b) { return a.id < b.id; });
  return workers;
}

}  // namespace detail

std::string_view to_string(WorkerState state) noexcept {
  switch (state) {
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kListening:
      return "listening";
    case WorkerState::kProcessing:
      return "processing";
    case WorkerState::kCalling:
      return "calling";
    case WorkerState::kResponding:
      return "responding";
    case WorkerState::kPosted:
      return "posted";
  }
  return "unknown state";
}

}  // namespace penstock::inline PENSTOCK_ABI
