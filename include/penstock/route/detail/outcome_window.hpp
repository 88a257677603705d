// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The outcomes of the last calls: of a number of calls, or of a length of time.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/route/circuit_breaker.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A ring with running totals: what is overwritten is subtracted. By count, a cell is one call. By time, a cell is a
/// bucket of the clock, and the newest is not yet over; so the window covers between size - 1 and size buckets.
///
/// Time that steps back a little, as it does when threads read the clock before they take a lock, counts as no step. If
/// it steps back by more than the window is long, it goes on from there, and nothing is lost.
///
/// Threads: one at a time.
class OutcomeWindow {
 public:
  /// Allocates all it will ever need. Throws: std::bad_alloc.
  OutcomeWindow(CircuitBreakerOptions::Window kind, std::size_t size, Duration bucket);

  void clear() noexcept;

  /// Takes over what `old` holds, as far as it fits: by count the newest calls, by time the newest buckets if they are
  /// as long as here. For one that is empty. Cost: O(size).
  void take_over(const OutcomeWindow& old) noexcept;
  /// Whether it is of the same kind, size and bucket.
  [[nodiscard]] bool is_like(const OutcomeWindow& other) const noexcept;

  /// Cost: O(1), or O(buckets that have passed), at most the size.
  void record(TimePoint now, bool failed, bool slow) noexcept;

  /// Records `count` successes, none of them slow, where the newest call is. For one that has recorded a call.
  /// Cost: O(min(count, size)) by count, O(1) by time.
  void add_successes(std::uint64_t count) noexcept;

  /// When the newest bucket is over; TimePoint::max() by count. For one that has recorded a call.
  [[nodiscard]] TimePoint end_of_bucket() const noexcept;

  /// What the window holds at `now`. Cost: as `record`.
  [[nodiscard]] CallTally tally(TimePoint now) const noexcept;

 private:
  [[nodiscard]] bool by_time() const noexcept { return !buckets_.empty(); }
  [[nodiscard]] std::int64_t bucket_index(TimePoint now) const noexcept;
  [[nodiscard]] bool is_far_back(std::int64_t index) const noexcept;
  void step_back_to(std::int64_t index) noexcept;
  [[nodiscard]] std::int64_t passed_at(std::int64_t index) const noexcept;
  [[nodiscard]] std::size_t cell(std::int64_t index) const noexcept;

  std::vector<std::uint8_t> calls_;  // by count: 1 failed, 2 slow
  std::size_t next_ = 0;             // the cell that is written next

  std::vector<CallTally> buckets_;  // by time
  Duration bucket_;
  std::int64_t head_ = 0;  // the index, since the beginning of time, of the newest bucket; any while totals_ is zero

  CallTally totals_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
