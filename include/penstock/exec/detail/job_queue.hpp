// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The jobs that wait in a pool, and which of them is next. Decisions only: no locks, no clock, no threads.
///
/// Jobs stand in a list for each level of urgency, in the order of their acceptance. A priority has two levels, the
/// upper one for jobs that go in front; a discipline without priorities uses the levels of one. So the oldest of each
/// list is its first, any job can be taken out at once, and all that differs between the disciplines is which end of
/// the uppermost list is next.
///
/// Expiry. All jobs may wait for the same time, so of each list the first expires first. Jobs with a shorter limit of
/// their own are in a heap besides.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/pairing_heap.hpp"
#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/job_state.hpp"
#include "penstock/exec/worker_pool_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Whether jobs wait too long even though workers take them: see CodelOptions.
class Codel {
 public:
  explicit Codel(CodelOptions options) noexcept : options_(options) {}

  /// Notes that a job comes out of the queue at `now` after `waited`, and returns whether it is to be shed.
  bool sheds(Duration waited, TimePoint now) noexcept;

  /// Whether it would shed a job that has waited for long.
  [[nodiscard]] bool is_dropping() const noexcept { return dropping_; }

 private:
  const CodelOptions options_;
  TimePoint interval_end_ = TimePoint::min();
  Duration shortest_{};  // wait in this interval
  bool dropping_ = false;
};

/// Threads: guarded by its owner.
class JobQueue {
 public:
  JobQueue(QueueDiscipline discipline, Duration wait_limit) noexcept
      : discipline_(discipline), wait_limit_(wait_limit) {}
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  static constexpr std::size_t kLevels = 2 * (kHighestPriority - kLowestPriority + 1);
  static_assert(kLevels == 32 && kMiddleLevel == -2 * kLowestPriority, "a bit for each level");
  static constexpr std::uint8_t level(int priority, bool front) noexcept {
    return static_cast<std::uint8_t>(2 * (priority - kLowestPriority) + (front ? 1 : 0));
  }

  [[nodiscard]] bool empty() const noexcept { return used_ == 0; }
  [[nodiscard]] bool is_fifo() const noexcept { return discipline_ == QueueDiscipline::kFifo; }

  /// Adds `job` behind all that came before it on its level.
  void push(JobState& job) noexcept;
  /// Moves all of `jobs` here, in their order. `plain`: none has limits of its own. Cost: O(their number), but O(1) for
  /// plain ones where there are no priorities.
  void push_all(JobList& jobs, bool plain) noexcept;

  void remove(JobState& job) noexcept;

  class Merge;

  /// The one to start next, or null. `crowded`: more than half of the places are taken.
  [[nodiscard]] JobState* next(bool crowded) const noexcept;

  /// The one to give up first: of the least urgent the one that has waited longest; one that goes in front after those.
  [[nodiscard]] JobState* most_dispensable() const noexcept;

  /// The one that has waited longest, or null. Cost: O(levels in use).
  [[nodiscard]] JobState* oldest() const noexcept;
  /// The one that came last, or null. Cost: O(levels in use).
  [[nodiscard]] JobState* newest() const noexcept;

  [[nodiscard]] bool has_expired(const JobState& job, TimePoint now) const noexcept {
    return job.expires_at(wait_limit_) <= now;
  }
  /// A job that has expired by `now`, or null.
  [[nodiscard]] JobState* expired(TimePoint now) const noexcept;
  /// No job expires before this.
  [[nodiscard]] TimePoint next_expiry() const noexcept;

 private:
  [[nodiscard]] std::size_t level_of(const JobState& job) const noexcept {
    return discipline_ == QueueDiscipline::kPriority ? job.level_ : job.level_ % 2;
  }
  void note(JobState& job, std::size_t level) noexcept;

  struct Sooner {
    bool operator()(const JobTerms& a, const JobTerms& b) const noexcept;
  };

  const QueueDiscipline discipline_;
  const Duration wait_limit_;
  std::uint32_t used_ = 0;  // a bit for each list that is not empty
  std::array<JobList, kLevels> lists_;
  PairingHeap<JobTerms, &JobTerms::deadline, Sooner> own_limits_;
};

/// Adds jobs of another queue to one, by their age: in front of those that came at the same time. They are brought from
/// the newest to the oldest. Nothing else happens to the queue meanwhile. Cost: all of them pass each older one that is
/// there at most once.
class JobQueue::Merge {
 public:
  explicit Merge(JobQueue& queue) noexcept : queue_(queue) {}
  void add(JobState& job) noexcept;

 private:
  JobQueue& queue_;
  std::array<JobState*, kLevels> last_{};  // the one that was added to each list
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
