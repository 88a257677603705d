// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the threads that run a pool's jobs do at one moment.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "penstock/exec/detail/answered_job.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_worker.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// All runners of a pool, written down in one go under both locks, where nothing is allocated. The jobs that have a tag
/// are kept for it, so some may end with the survey: that is their values' destructors.
class PoolCore::Survey {
 public:
  struct Entry {
    std::size_t worker_id = 0;
    bool is_worker = false;
    bool stuck = false;
    Runner::Doing doing{};
    std::uint64_t jobs = 0;
    std::uint64_t panicked = 0;
    // Of the job that it has, if it has one.
    const JobState* job = nullptr;  // to compare it; may be gone
    bool decided = false;
    std::uint64_t job_id = 0;
    TimePoint started_at{};
    AnsweredJob* tagged = nullptr;  // with a share of it; null: it has no tag
  };

  /// Throws: std::bad_alloc.
  explicit Survey(const PoolCore& pool) ABSL_LOCKS_EXCLUDED(pool.serve_, pool.intake_);
  Survey(const Survey&) = delete;
  Survey& operator=(const Survey&) = delete;
  ~Survey();

  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  static std::string_view tag_of(const Entry& entry) noexcept {
    return entry.tagged == nullptr ? std::string_view() : PoolCore::tag_of(*entry.tagged);
  }

 private:
  static Entry look_at(const Runner& runner) noexcept;

  std::vector<Entry> entries_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
