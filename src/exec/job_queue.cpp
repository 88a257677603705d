// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/job_queue.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {

bool Codel::sheds(Duration waited, TimePoint now) noexcept {
  if (now >= interval_end_) {
    // Of the first interval nothing is known yet.
    dropping_ = interval_end_ != TimePoint::min() && shortest_ > options_.target;
    interval_end_ = saturated_add(now, options_.interval);
    shortest_ = waited;
  } else {
    shortest_ = std::min(shortest_, waited);
  }
  return dropping_ && waited > saturated(options_.target * 2.0);
}

bool JobQueue::Sooner::operator()(const JobTerms& a, const JobTerms& b) const noexcept {
  const JobState& first = a.job;
  const JobState& second = b.job;
  return a.job.expires_at_ != b.job.expires_at_ ? a.job.expires_at_ < b.job.expires_at_ : first.id_ < second.id_;
}

void JobQueue::note(JobState& job, std::size_t level) noexcept {
  used_ |= std::uint32_t{1} << level;
  JobTerms* const terms = job.terms();
  if (terms != nullptr && job.expires_at(wait_limit_) < saturated_add(job.enqueued_at_, wait_limit_)) {
    own_limits_.push(*terms);
  }
}

void JobQueue::push(JobState& job) noexcept {
  const std::size_t level = level_of(job);
  lists_[level].push(job);
  note(job, level);
}

void JobQueue::push_all(JobList& jobs, bool plain) noexcept {
  if (jobs.empty()) return;
  if (plain && discipline_ != QueueDiscipline::kPriority) {
    lists_[0].append(jobs);
    used_ |= 1;
    return;
  }
  while (JobState* const job = jobs.pop()) push(*job);
}

void JobQueue::remove(JobState& job) noexcept {
  const std::size_t level = level_of(job);
  lists_[level].remove(job);
  if (lists_[level].empty()) used_ &= ~(std::uint32_t{1} << level);
  JobTerms* const terms = job.terms();
  if (terms != nullptr && own_limits_.contains(*terms)) own_limits_.remove(*terms);
}

JobState* JobQueue::next(bool crowded) const noexcept {
  if (used_ == 0) return nullptr;
  const JobList& first = lists_[static_cast<std::size_t>(std::bit_width(used_)) - 1];
  switch (discipline_) {
    case QueueDiscipline::kFifo:
    case QueueDiscipline::kPriority:
      break;
    case QueueDiscipline::kLifo:
      return first.back();
    case QueueDiscipline::kAdaptiveLifo:
      return crowded ? first.back() : first.front();
  }
  return first.front();
}

JobState* JobQueue::most_dispensable() const noexcept {
  return used_ == 0 ? nullptr : lists_[static_cast<std::size_t>(std::countr_zero(used_))].front();
}

JobState* JobQueue::oldest() const noexcept {
  JobState* oldest = nullptr;
  for (std::uint32_t left = used_; left != 0; left &= left - 1) {
    JobState* const first = lists_[static_cast<std::size_t>(std::countr_zero(left))].front();
    if (oldest == nullptr || first->enqueued_at_ < oldest->enqueued_at_) oldest = first;
  }
  return oldest;
}

JobState* JobQueue::newest() const noexcept {
  JobState* newest = nullptr;
  for (std::uint32_t left = used_; left != 0; left &= left - 1) {
    JobState* const last = lists_[static_cast<std::size_t>(std::countr_zero(left))].back();
    if (newest == nullptr || last->enqueued_at_ > newest->enqueued_at_ ||
        (last->enqueued_at_ == newest->enqueued_at_ && last->id_ > newest->id_)) {
      newest = last;
    }
  }
  return newest;
}

void JobQueue::Merge::add(JobState& job) noexcept {
  const std::size_t level = queue_.level_of(job);
  JobList& list = queue_.lists_[level];
  JobState* next = last_[level];
  if (next == nullptr) {
    next = list.front();
    while (next != nullptr && next->enqueued_at_ < job.enqueued_at_) next = JobList::next(*next);
  } else {
    for (JobState* before = JobList::previous(*next); before != nullptr && before->enqueued_at_ >= job.enqueued_at_;) {
      next = std::exchange(before, JobList::previous(*before));
    }
  }
  list.insert(job, next);
  last_[level] = &job;
  queue_.note(job, level);
}

JobState* JobQueue::expired(TimePoint now) const noexcept {
  if (JobTerms* const soonest = own_limits_.first()) {
    if (has_expired(soonest->job, now)) return &soonest->job;
  }
  JobState* const oldest = this->oldest();
  return oldest != nullptr && has_expired(*oldest, now) ? oldest : nullptr;
}

TimePoint JobQueue::next_expiry() const noexcept {
  TimePoint next = TimePoint::max();
  if (const JobTerms* const soonest = own_limits_.first()) {
    next = soonest->job.expires_at_;
  }
  if (const JobState* const oldest = this->oldest()) {
    next = std::min(next, saturated_add(oldest->enqueued_at_, wait_limit_));
  }
  return next;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
