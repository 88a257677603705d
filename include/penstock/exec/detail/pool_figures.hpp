// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a pool works out about its jobs: how the times that they wait and run go together, and how many there are in a
/// second.

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/exec/worker_pool_stats.hpp"
#include "penstock/metrics/histogram.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Means, variances and the covariance of pairs of numbers. Threads: a plain value.
class PairMoments {
 public:
  using Values = std::array<double, 6>;

  PairMoments() = default;
  /// As `values` tells them.
  explicit PairMoments(const Values& values) noexcept;
  [[nodiscard]] Values values() const noexcept { return {count_, mean_x_, mean_y_, square_x_, square_y_, product_}; }

  /// Adds the pairs of `other` (Chan, Golub and LeVeque, 1979).
  void merge(const PairMoments& other) noexcept;

  [[nodiscard]] double count() const noexcept { return count_; }

  /// Pearson's r, in [-1, 1]; 0 while all x or all y are the same.
  [[nodiscard]] double correlation() const noexcept;

 private:
  double count_ = 0;
  double mean_x_ = 0;
  double mean_y_ = 0;
  double square_x_ = 0;  // the sum of the squares of x - mean_x
  double square_y_ = 0;
  double product_ = 0;  // the sum of (x - mean_x) * (y - mean_y)
};

/// Sums over a few pairs, relative to the first one: where times that differ by microseconds follow a mean of minutes,
/// their squares would leave nothing of the difference. Threads: a plain value.
struct PairSums {
  using Values = std::array<double, 5>;

  void start(double x, double y) noexcept {
    first_x = x;
    first_y = y;
    values = {};
  }
  void add(double x, double y) noexcept {
    const double dx = x - first_x;
    const double dy = y - first_y;
    values[0] += dx;
    values[1] += dy;
    values[2] += dx * dx;
    values[3] += dy * dy;
    values[4] += dx * dy;
  }
  /// Of the `count` pairs that have been added, at least one.
  [[nodiscard]] PairMoments moments(double count) const noexcept;

  double first_x = 0;
  double first_y = 0;
  Values values{};
};

/// How long jobs waited and ran. One thread at a time records; any may read.
///
/// Records are summed up in blocks of 64, so each costs five additions and no division. What is published is in two
/// slots each: the sums of this block, written with each record, and what came before it, written when it starts. Of
/// these the number of records, `recorded_`, tells which ones to read; the next record writes the others. So who reads
/// finds them whole, or sees by `recorded_` that another record has come meanwhile, and reads again: that takes
/// nanoseconds in two or three lines of the cache, and so less than a job.
class WaitRunTally {
 public:
  WaitRunTally() = default;
  WaitRunTally(const WaitRunTally&) = delete;
  WaitRunTally& operator=(const WaitRunTally&) = delete;

  static constexpr std::size_t kBuckets = WaitRunTable::kBuckets;

  /// The row or column of `time`.
  static std::size_t bucket_of(Duration time) noexcept {
    const std::size_t below = kBelow[static_cast<std::size_t>(std::bit_width(as_count(time)))];
    return below + static_cast<std::size_t>(as_count(time) > kBounds[below]);  // durations vary: no branch is foreseen
  }
  static Duration upper_bound(std::size_t bucket) noexcept;

  void record(Duration wait, Duration run) noexcept {
    Cell& cell = jobs_[bucket_of(wait) * kBuckets + bucket_of(run)];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    const auto x = static_cast<double>(as_count(wait));
    const auto y = static_cast<double>(as_count(run));
    const std::uint64_t before = recorded_.load(std::memory_order_relaxed);
    if (before % kBlock == 0) start_block(before, x, y);
    block_.add(x, y);
    write(sums_[(before + 1) % 2], block_.values);
    recorded_.store(before + 1, std::memory_order_release);  // R2 release
  }

  /// Adds to `table` and `moments` what has been recorded.
  void add_to(WaitRunTable& table, PairMoments& moments) const noexcept;

 private:
  using Cell = world::Atomic<std::uint64_t>;

  static constexpr std::uint64_t kBlock = 64;

  static std::uint64_t as_count(Duration time) noexcept {
    return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
  }

  static constexpr std::uint64_t kFirstBound = 10'000;  // nanoseconds
  static constexpr std::array<std::uint64_t, kBuckets> kBounds = [] {
    std::array<std::uint64_t, kBuckets> bounds{};
    std::uint64_t bound = kFirstBound;
    for (std::uint64_t& one : bounds) {
      one = bound;
      bound *= 10;
    }
    bounds.back() = ~std::uint64_t{0};
    return bounds;
  }();
  // How many bounds are below all numbers of so many bits: never more than one lies among them.
  static constexpr std::array<std::uint8_t, 65> kBelow = [] {
    std::array<std::uint8_t, 65> below{};
    for (std::size_t width = 1; width < below.size(); ++width) {
      while (kBounds[below[width]] < std::uint64_t{1} << (width - 1)) ++below[width];
    }
    return below;
  }();

  template <std::size_t kSize>
  static void write(std::array<Cell, kSize>& cells, const std::array<double, kSize>& values) noexcept {
    for (std::size_t i = 0; i != kSize; ++i) {
      cells[i].store(std::bit_cast<std::uint64_t>(values[i]), std::memory_order_release);  // R1 release
    }
  }
  template <std::size_t kSize>
  static std::array<double, kSize> read(const std::array<Cell, kSize>& cells) noexcept {
    std::array<double, kSize> values{};
    for (std::size_t i = 0; i != kSize; ++i) {
      values[i] = std::bit_cast<double>(cells[i].load(std::memory_order_acquire));  // R1 acquire
    }
    return values;
  }
  void start_block(std::uint64_t recorded, double x, double y) noexcept;

  // The recording thread's.
  PairSums block_;
  PairMoments before_;  // of the blocks before this one
  //   R1  release in write() -> acquire in read(): who reads a value of a later record sees that it has come.
  //   R2  release in record() -> acquire in add_to(): the slots of this number of records are whole.
  world::Atomic<std::uint64_t> recorded_{0};
  std::array<std::array<Cell, 5>, 2> sums_{};
  std::array<std::array<Cell, 8>, 2> bases_{};    // `before_`, and the first pair of the block
  std::array<Cell, kBuckets * kBuckets> jobs_{};  // orders nothing: read by who has seen the job counted
};

/// How long the jobs of a pool wait and run.
///
/// Threads: any, but for `row`.
class PoolTimes {
 public:
  /// Where the worker with a number records, and whoever has it later. Threads: guarded by the owner.
  struct alignas(kCachePadding) Row {
    WaitRunTally tally;
    Row* next = nullptr;
  };

  PoolTimes() = default;
  ~PoolTimes();
  PoolTimes(const PoolTimes&) = delete;
  PoolTimes& operator=(const PoolTimes&) = delete;

  /// That of worker `id`, which is at most the number of rows so far.
  Row& row(std::size_t id);

  void record_wait(Duration wait) noexcept { queue_wait_.record(wait); }
  /// In the worker of `row`; or, if that is null, in any thread.
  void record_end(Row* row, Duration wait, Duration run) noexcept {
    run_.record(run);
    if (row != nullptr) return row->tally.record(wait, run);
    SpinLockGuard lock(others_lock_);
    others_.record(wait, run);
  }

  void write_to(WorkerPoolStats& stats) const noexcept;

 private:
  LatencyHistogram queue_wait_;
  LatencyHistogram run_;
  //   R3  release in row() -> acquire in write_to(): the row is whole.
  world::Atomic<Row*> rows_{nullptr};  // the newest one, with the highest number
  std::size_t row_count_ = 0;
  SpinLock others_lock_;
  WaitRunTally others_;  // recorded under its lock
};

/// How many per second there were of what somebody else counts, over some times up to now. Nothing is measured but when
/// somebody asks: the counts found then are kept for a while, and the latest that is old enough is compared with.
///
/// Threads: guarded by its owner.
class Throughput {
 public:
  static constexpr std::array<Duration, 3> kWindows = {std::chrono::seconds(1), std::chrono::seconds(10),
                                                       std::chrono::seconds(60)};

  /// From 0 on.
  explicit Throughput(TimePoint start) noexcept;

  /// Per second, for each window, when there have been `count`. Where nobody has asked for longer than the window,
  /// since they did; before its end, since the start.
  std::array<double, kWindows.size()> at(TimePoint now, std::uint64_t count) noexcept;

 private:
  // A count is kept an eighth of the window after the last one, so nine of them always reach back for all of it.
  static constexpr std::size_t kParts = 8;
  struct Seen {
    TimePoint at{};
    std::uint64_t count = 0;
  };
  struct Window {
    std::array<Seen, kParts + 1> seen{};  // a ring
    std::size_t newest = 0;
    std::size_t size = 1;
  };
  std::array<Window, kWindows.size()> windows_{};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
