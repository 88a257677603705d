// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the handle of a job asks of the pool that the job is in, whatever kind of pool that is.

#include <cstddef>
#include <string_view>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/job_state.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class JobHome;

/// What the calling thread does for an elastic pool at the moment, on a stack of such.
struct Inside {
  static constexpr std::size_t kNoWorker = static_cast<std::size_t>(-1);

  /// `counts`: of the things that a shutdown waits for, so many that only this thread can bring to an end. `id`: of a
  /// worker.
  Inside(const JobHome& doing_for, std::size_t counts, std::size_t id) noexcept
      : home(&doing_for), weight(counts), worker_id(id), outer(innermost()) {
    innermost() = this;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { innermost() = outer; }

  /// Of the calling thread, as a worker of `home`; else kNoWorker. Uses nothing of it but the address.
  static std::size_t worker_of(const JobHome& home) noexcept {
    for (const Inside* at = innermost(); at != nullptr; at = at->outer) {
      if (at->home == &home && at->worker_id != kNoWorker) return at->worker_id;
    }
    return kNoWorker;
  }

  /// The calling thread's, or null.
  static const Inside*& innermost() noexcept { return world::thread_local_value<Inside, const Inside*>(); }

  const JobHome* const home;
  const std::size_t weight;
  const std::size_t worker_id;
  const Inside* const outer;
};

/// The pool of an answered job that has no answer yet, which keeps it alive.
class JobHome {
 public:
  JobHome(const JobHome&) = delete;
  JobHome& operator=(const JobHome&) = delete;

  /// For texts: "worker pool" and its name.
  [[nodiscard]] virtual std::string_view kind() const noexcept = 0;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual Clock& clock() const noexcept = 0;

  /// Before the calling thread waits for `job`: whether it may. A worker that helps may have run it meanwhile. The job
  /// may have its answer, and its pool be gone, unless the calling thread is one of its workers: so only the address of
  /// the pool is looked at first.
  bool may_wait_for(AnsweredJob& job) noexcept { return !has_as_worker() || may_wait_inside(job); }

  /// Decides `job` as cancelled if it is queued. Called with the job's lock held.
  virtual AnsweredJob::Stop take_back(AnsweredJob& job, EndedJobs& ended, WakeList& wake) noexcept = 0;

  /// Answers what has been taken back, as the last use of the pool.
  virtual void settle_taken(EndedJobs& ended, WakeList& wake) noexcept = 0;

 protected:
  JobHome() = default;
  ~JobHome() = default;

 private:
  /// The same for one of its workers.
  virtual bool may_wait_inside(AnsweredJob& job) noexcept = 0;
  /// Whether the calling thread is one. Uses nothing but the address.
  [[nodiscard]] bool has_as_worker() const noexcept;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
