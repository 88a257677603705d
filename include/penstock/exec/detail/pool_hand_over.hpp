// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How jobs that wait in one pool come into another one.
///
/// Both pools' locks are held while some of the jobs change hands, so at any time a queued job is in one queue, and
/// whoever wants to take it out finds it there or learns that it is in the other. Between two such steps both pools do
/// what they always do: their jobs are cancelled, expire, and are given up for others. But the old pool accepts none
/// any more, and the new one starts none: the newest come first, each before those that are younger, and the oldest
/// last. So the old pool's workers, which take the oldest, and this thread do not overtake each other.
///
/// Locks. serve_ of both, then intake_ of both, each pair in the order of the pools' addresses.
///
/// Life. A handle that looks for its job's pool holds the job's lock until it is done with that pool. So once the pool
/// of a job has been changed, its lock is taken once more: whoever takes it after that finds the new pool. Until then
/// both pools count the hand-over as something that they have to bring to an end.

#include <cstdint>

#include "absl/status/statusor.h"

#include "penstock/exec/detail/pool_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class PoolCore::HandOver {
 public:
  HandOver(PoolCore& from, PoolCore& to) noexcept : from_(from), to_(to) {}
  HandOver(const HandOver&) = delete;
  HandOver& operator=(const HandOver&) = delete;

  absl::StatusOr<HandOverReport> run();

 private:
  class AllFour;

  /// Ends the one intake, unless the other one has ended: then returns false, and nothing has happened.
  bool begin() noexcept;
  void clear_line(TimePoint now, WakeList& wake) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(from_.serve_, from_.intake_, to_.serve_, to_.intake_);
  /// Returns whether there may be more.
  bool move_some() noexcept;
  void move(JobState& job) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(from_.serve_, from_.intake_, to_.serve_, to_.intake_);
  void finish() noexcept;

  PoolCore& from_;
  PoolCore& to_;
  HandOverReport report_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
