// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How long things take: a histogram of durations from 1 us to 300 s that many threads fill at once.
///
/// The buckets are the same in every histogram, so any two can be added or subtracted. Bounds are round decimal
/// numbers: a decade has steps of 0.1 from 1 to 2, of 0.25 to 5, and of 0.5 to 10. So 1, 2.5, 5, 10, 25, 50, 100, 250
/// and 500 ms, 1, 2, 3, 10, 30 and 60 s are all bounds, counts up to them are exact, and no bucket is wider than 12.5 %
/// of its lower bound. A bucket holds its upper bound, not its lower one. The first one holds everything up to 1 us,
/// negative durations too; the last one everything above 300 s.
///
/// Memory: 2.4 KiB, and 2.25 KiB more for each thread that records, for at most 16 of them; the rest share.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/metrics/detail/thread_index.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Counts durations in buckets.
///
/// Threads: any member, from any thread.
class LatencyHistogram {
 public:
  class Snapshot;

  static constexpr std::size_t kBuckets = 272;

  /// The bucket that counts `latency`, below kBuckets.
  static std::size_t bucket_of(Duration latency) noexcept;

  /// The longest duration that bucket `bucket` counts; Duration::max() for the last one.
  static Duration upper_bound(std::size_t bucket) noexcept;

  LatencyHistogram() = default;
  ~LatencyHistogram();
  LatencyHistogram(const LatencyHistogram&) = delete;
  LatencyHistogram& operator=(const LatencyHistogram&) = delete;

  /// Counts one operation that took `latency`; a negative one counts as zero.
  ///
  /// Cost: about 4 ns, without atomic read-modify-writes, for the first 16 threads or so; else three contended ones.
  ///       The first record of a thread may allocate; where that fails, the thread shares.
  void record(Duration latency) noexcept;

  /// What has been recorded so far, by all threads: exact once they have been joined with. While they go on, the count
  /// is that of the buckets, and no bucket ever decreases; sum and maximum cover all that is counted, and may cover
  /// more.
  ///
  /// Cost: some microseconds; disturbs nobody.
  [[nodiscard]] Snapshot snapshot() const noexcept;

 private:
  using Cell = detail::world::Atomic<std::uint64_t>;

  static constexpr std::size_t kRows = 16;

  // In a row of a thread's own only the thread with the index `owner` writes, with plain loads and stores, as explained
  // in counter.hpp. In the shared row anybody does, with read-modify-writes.
  //   H1  release in a bucket's increment -> acquire in snapshot(): sum and maximum cover what the buckets count.
  struct alignas(detail::kCachePadding) Row {
    explicit Row(detail::ThreadIndex thread) noexcept : owner(thread) {}

    const detail::ThreadIndex owner;
    Cell sum{};  // the bits of a double, in nanoseconds: exact up to 104 days, never overflows
    Cell max{};  // in nanoseconds
    std::array<Cell, kBuckets> buckets{};
  };

  Row* own_row() noexcept;
  Row* claim_row() noexcept;

  // H2  release in claim_row() -> acquire by who loads the pointer: the row is seen complete. Set once.
  std::array<detail::world::Atomic<Row*>, kRows> rows_{};
  Row shared_{detail::IndexPool::kNone};
};

/// What a histogram held at one time; also a histogram for a single thread. Snapshots of parts can be merged, and two
/// of different times give what happened between them.
///
/// Threads: a plain value.
class LatencyHistogram::Snapshot {
 public:
  /// Counts `times` operations that took `latency` each.
  void record(Duration latency, std::uint64_t times = 1) noexcept;

  /// Adds all that `other` has counted.
  void merge(const Snapshot& other) noexcept;

  /// What was counted between `earlier` and this snapshot of the same histogram. The maximum of that time is not known:
  /// `max()` of the result is the upper bound of its highest bucket in use, or the maximum of this snapshot if that is
  /// less. A bucket that counted more in `earlier` gives zero.
  [[nodiscard]] Snapshot since(const Snapshot& earlier) const noexcept;

  /// How many operations were counted: the sum of all buckets.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }

  /// The sum of all durations; stops at Duration::max(), which `sum_seconds` does not.
  [[nodiscard]] Duration sum() const noexcept;
  [[nodiscard]] double sum_seconds() const noexcept { return sum_ns_ / 1e9; }

  /// The longest duration, not cut to 300 s.
  [[nodiscard]] Duration max() const noexcept { return max_; }

  /// The mean duration; zero if nothing was counted.
  [[nodiscard]] Duration mean() const noexcept;

  /// The duration that the part `q` in [0, 1] of all operations did not exceed; zero if nothing was counted.
  ///
  /// The result lies in the bucket of the true value, so it is off by at most 12.5 % of it, or by 1 us where that is
  /// more; within the bucket it is interpolated, which on smooth distributions comes within about 1 %. `quantile(1)` is
  /// `max()`. Above 300 s all values are in one bucket, and the result only lies between 300 s and `max()`.
  [[nodiscard]] Duration quantile(double q) const noexcept;

  /// How many operations took at most `bound`. Exact if `bound` is a bucket's upper bound, else the count for the next
  /// one below it.
  [[nodiscard]] std::uint64_t count_up_to(Duration bound) const noexcept;

  [[nodiscard]] std::span<const std::uint64_t, kBuckets> buckets() const noexcept { return buckets_; }

  friend bool operator==(const Snapshot&, const Snapshot&) = default;

 private:
  friend class LatencyHistogram;

  std::uint64_t count_ = 0;
  double sum_ns_ = 0;
  Duration max_{0};
  std::array<std::uint64_t, kBuckets> buckets_{};
};

}  // namespace penstock::inline PENSTOCK_ABI
