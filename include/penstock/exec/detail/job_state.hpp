// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a job is to its pool: a node in its queue, with a function.
///
///   kNew --accepted--> kQueued --a worker takes it--> kRunning --its function returned--> kDecided
///                         |                              |
///                         +-- cancelled, expired,        +-- its time is up: the caller is answered,
///                         |   evicted, pool shut down        the function runs on, its result is discarded
///                         +--> kDecided                  +--> kOverdue
///
/// Queued jobs belong to the pool's locks, and to those of another pool once they were handed over. Out of kRunning
/// there are two ways, and the first to change the state wins: the worker, by an exchange, without a lock; or whoever
/// sees that the time is up. Whoever makes the step out of kQueued or kRunning, and nobody else, answers the job
/// afterwards, without a lock: destroys the function unless it still runs, and publishes the answer. So every accepted
/// job is answered exactly once.
///
/// Two kinds: a `PlainJob` is a function of nothing whose answer nobody will see; everything else is an `AnsweredJob`.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/block_cache.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {
struct JobContext;
}

namespace penstock::inline PENSTOCK_ABI::detail {

struct JobTerms;

/// How a job ended that the pool answers in its function's place.
/// kRefused: it was never accepted.
enum class Ending : std::uint8_t {
  kNone,
  kCancelled,
  kQueueExpired,
  kEvicted,
  kShed,
  kAbandoned,
  kRunExpired,
  kRefused
};

/// The level of who says nothing.
inline constexpr std::uint8_t kMiddleLevel = 16;

/// A job without its types.
class JobState {
 public:
  JobState(const JobState&) = delete;
  JobState& operator=(const JobState&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

  static void* operator new(std::size_t bytes) { return allocate_block(bytes); }
  static void operator delete(void* block, std::size_t bytes) noexcept { free_block(block, bytes); }
  // Of functions with an alignment of their own.
  static void* operator new(std::size_t bytes, std::align_val_t alignment) { return ::operator new(bytes, alignment); }
  static void operator delete(void* block, std::size_t /*bytes*/, std::align_val_t alignment) noexcept {
    ::operator delete(block, alignment);
  }

 protected:
  /// `bytes` of memory in steps of the allocator; what is more than 4 MiB counts as that.
  static constexpr std::uint16_t steps_of(std::size_t bytes) noexcept {
    constexpr std::size_t kMost = std::numeric_limits<std::uint16_t>::max();
    return static_cast<std::uint16_t>(std::min(kMost, bytes / kBlockStep + (bytes % kBlockStep == 0 ? 0 : 1)));
  }

  /// `steps`: of memory, that the job with its function takes.
  JobState(bool plain, std::uint16_t steps) noexcept : block_steps_(steps), plain_(plain) {}
  virtual ~JobState() = default;

 private:
  friend class PoolCore;
  friend class ElasticCore;
  friend class JobList;
  friend class JobQueue;
  friend class EndedJobs;
  friend class AnsweredJob;

  enum class State : std::uint8_t { kNew, kQueued, kRunning, kOverdue, kDecided };

  /// Calls the function; a value it returns is kept, a status is returned. Throws what the function throws. `ctx` is
  /// null for a function that takes none.
  virtual absl::Status invoke(const JobContext* ctx) = 0;
  /// Throws what the destructor of the function throws.
  virtual void destroy_function() = 0;
  /// Gives up the pool's share of the job; the last share frees it. Called without a lock.
  virtual void release() noexcept = 0;

  /// What its submitter has asked for; null: nothing beyond the pool's own terms.
  [[nodiscard]] inline JobTerms* terms() const noexcept;
  /// The latest start, in a pool whose jobs may wait for `wait_limit`.
  [[nodiscard]] inline TimePoint expires_at(Duration wait_limit) const noexcept;

  // With the address of the virtual functions and a plain job's small function it is one line of the cache, which goes
  // from the submitter's to the worker's and back.
  JobState* next_ = nullptr;  // in a list
  JobState* previous_ = nullptr;
  std::uint64_t id_ = 0;  // set with the acceptance, before a handle is given out
  TimePoint enqueued_at_{};
  std::uint16_t block_steps_;  // of memory, with that of its terms; constant once it is accepted
  // Before kRunning, and on the way there, under the pool's locks.
  //   J1  release by who changes it from kRunning -> acquire by who comes second: the worker learns that the caller has
  //       been answered; nobody else looks at a job once it has ended.
  world::Atomic<State> state_{State::kNew};
  const bool plain_;
  // Of urgency: two for each priority, and of those the upper one for jobs that go in front.
  std::uint8_t level_ = kMiddleLevel;
  Ending ending_ = Ending::kNone;  // with who decided it
  bool stop_asked_ = false;        // guarded by both locks of the pool
  bool unannounced_ = false;       // the observer has to be told first that it was submitted; the same
};

/// Jobs one after the other. Threads: guarded by its owner.
class JobList {
 public:
  JobList() = default;
  JobList(const JobList&) = delete;
  JobList& operator=(const JobList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  [[nodiscard]] JobState* front() const noexcept { return first_; }
  [[nodiscard]] JobState* back() const noexcept { return last_; }
  static JobState* next(const JobState& job) noexcept { return job.next_; }
  static JobState* previous(const JobState& job) noexcept { return job.previous_; }

  void push(JobState& job) noexcept {
    job.next_ = nullptr;
    job.previous_ = last_;
    (last_ == nullptr ? first_ : last_->next_) = &job;
    last_ = &job;
  }

  /// In front of `next`, which is in this list; null: at the end.
  void insert(JobState& job, JobState* next) noexcept {
    if (next == nullptr) return push(job);
    job.next_ = next;
    job.previous_ = next->previous_;
    (next->previous_ == nullptr ? first_ : next->previous_->next_) = &job;
    next->previous_ = &job;
  }

  void remove(JobState& job) noexcept {
    (job.previous_ == nullptr ? first_ : job.previous_->next_) = job.next_;
    (job.next_ == nullptr ? last_ : job.next_->previous_) = job.previous_;
  }

  JobState* pop() noexcept {
    JobState* const job = first_;
    if (job != nullptr) remove(*job);
    return job;
  }

  /// Moves all of `other` to the end of this one.
  void append(JobList& other) noexcept {
    if (other.first_ == nullptr) return;
    other.first_->previous_ = last_;
    (last_ == nullptr ? first_ : last_->next_) = other.first_;
    last_ = other.last_;
    other.first_ = other.last_ = nullptr;
  }

 private:
  JobState* first_ = nullptr;
  JobState* last_ = nullptr;
};

/// Jobs that a thread has decided and will answer. Threads: one.
class EndedJobs {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  void push(JobState& job) noexcept {
    jobs_.push(job);
    ++size_;
  }
  JobState* pop() noexcept { return jobs_.pop(); }

 private:
  JobList jobs_;
  std::size_t size_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
