// SPDX-License-Identifier: MIT
#include "penstock/metrics/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <new>

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

// Bounds are thought of in nanoseconds. Decade `d` begins at 1 us * 10^d and has 32 buckets; the last decade ends at
// 300 s.
constexpr std::size_t kDecades = 9;
constexpr std::size_t kPerDecade = 32;
constexpr std::uint64_t kFirstBound = 1'000;
constexpr std::uint64_t kLastBound = 300'000'000'000;

// The bucket within a decade, from a mantissa in units of a fortieth of the decade's begin, the finest step that all
// bounds are multiples of: [40, 400).
constexpr std::size_t bucket_in_decade(std::uint64_t mantissa) noexcept {
  if (mantissa < 80) return static_cast<std::size_t>((mantissa - 40) / 4);
  if (mantissa < 200) return static_cast<std::size_t>(10 + (mantissa - 80) / 10);
  return static_cast<std::size_t>(22 + (mantissa - 200) / 20);
}

constexpr std::uint64_t mantissa_of_bucket(std::size_t bucket) noexcept {
  if (bucket < 10) return 40 + 4 * bucket;
  if (bucket < 22) return 80 + 10 * (bucket - 10);
  return 200 + 20 * (bucket - 22);
}

struct Tables {
  std::array<std::uint64_t, kDecades> begin{};         // of the decade
  std::array<std::uint64_t, kDecades> reciprocal{};    // see bucket_of
  std::array<std::uint8_t, 65> decade_of_width{};      // the highest decade with a number of so many bits
  std::array<std::uint8_t, 400> bucket_of_mantissa{};  // within the decade
  std::array<std::uint64_t, LatencyHistogram::kBuckets> upper{};
};

constexpr int kShift = 55;

constexpr Tables make_tables() noexcept {
  Tables tables;
  std::uint64_t begin = kFirstBound;
  std::uint64_t divisor = 25;  // 10^d * 25 ns without its factor 2^d: 5^(d + 2)
  for (std::size_t decade = 0; decade < kDecades; ++decade, begin *= 10, divisor *= 5) {
    tables.begin[decade] = begin;
    tables.reciprocal[decade] = (std::uint64_t{1} << kShift) / divisor + 1;
    for (auto width = static_cast<std::size_t>(std::bit_width(begin)); width < tables.decade_of_width.size(); ++width) {
      tables.decade_of_width[width] = static_cast<std::uint8_t>(decade);
    }
  }
  for (std::size_t mantissa = 40; mantissa < tables.bucket_of_mantissa.size(); ++mantissa) {
    tables.bucket_of_mantissa[mantissa] = static_cast<std::uint8_t>(bucket_in_decade(mantissa));
  }
  tables.upper[0] = kFirstBound;
  for (std::size_t bucket = 1; bucket < tables.upper.size(); ++bucket) {
    // The upper bound of a bucket is where the next one begins.
    const std::size_t decade = bucket / kPerDecade;
    tables.upper[bucket] = tables.begin[decade] / 40 * mantissa_of_bucket(bucket % kPerDecade);
  }
  tables.upper.back() = static_cast<std::uint64_t>(Duration::max().count());
  return tables;
}

constexpr Tables kTables = make_tables();
static_assert(kTables.upper[LatencyHistogram::kBuckets - 2] == kLastBound);

std::uint64_t nanoseconds(Duration latency) noexcept {
  return static_cast<std::uint64_t>(std::max(latency, Duration::zero()).count());
}

std::size_t bucket_of_nanoseconds(std::uint64_t latency) noexcept {
  if (latency <= kFirstBound) return 0;
  if (latency > kLastBound) return LatencyHistogram::kBuckets - 1;
  const std::uint64_t position = latency - 1;  // a bucket holds its upper bound and not its lower one
  std::size_t decade = kTables.decade_of_width[static_cast<std::size_t>(std::bit_width(position))];
  decade -= static_cast<std::size_t>(position < kTables.begin[decade]);  // durations vary: no branch would be foreseen
  // position / (25 * 10^d), as shift and multiplication, because a division takes longer than all the rest. With
  // x = position >> d, D = 5^(d + 2) and M = floor(2^55 / D) + 1, the product x * M >> 55 is x / D rounded down for as
  // long as x * D < 2^55. As x < 400 * D, and in the last decade x < 120 * D, it is; and x * M < 2^64.
  const std::uint64_t mantissa = ((position >> decade) * kTables.reciprocal[decade]) >> kShift;
  return 1 + decade * kPerDecade + kTables.bucket_of_mantissa[mantissa];
}

double as_double(std::uint64_t bits) noexcept { return std::bit_cast<double>(bits); }
std::uint64_t as_bits(double value) noexcept { return std::bit_cast<std::uint64_t>(value); }

Duration saturated_nanoseconds(double value) noexcept {
  return saturated(std::chrono::duration<double, std::nano>(value));
}

}  // namespace

std::size_t LatencyHistogram::bucket_of(Duration latency) noexcept {
  return bucket_of_nanoseconds(nanoseconds(latency));
}

Duration LatencyHistogram::upper_bound(std::size_t bucket) noexcept {
  PENSTOCK_CHECK(bucket < kBuckets, "no such bucket in a latency histogram");
  return Duration(static_cast<Duration::rep>(kTables.upper[bucket]));
}

LatencyHistogram::~LatencyHistogram() {
  for (const auto& row : rows_) delete row.load(std::memory_order_acquire);  // H2 acquire
}

void LatencyHistogram::record(Duration latency) noexcept {
  const std::uint64_t value = nanoseconds(latency);
  const std::size_t bucket = bucket_of_nanoseconds(value);
  if (Row* const row = own_row(); row != nullptr) [[likely]] {
    const double sum = as_double(row->sum.load(std::memory_order_relaxed)) + static_cast<double>(value);
    row->sum.store(as_bits(sum), std::memory_order_relaxed);
    if (value > row->max.load(std::memory_order_relaxed)) row->max.store(value, std::memory_order_relaxed);
    Cell& cell = row->buckets[bucket];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // H1 release
    return;
  }
  std::uint64_t sum = shared_.sum.load(std::memory_order_relaxed);
  while (!shared_.sum.compare_exchange_weak(sum, as_bits(as_double(sum) + static_cast<double>(value)),
                                            std::memory_order_relaxed, std::memory_order_relaxed)) {
  }
  std::uint64_t max = shared_.max.load(std::memory_order_relaxed);
  while (max < value &&
         !shared_.max.compare_exchange_weak(max, value, std::memory_order_relaxed, std::memory_order_relaxed)) {
  }
  shared_.buckets[bucket].fetch_add(1, std::memory_order_release);  // H1 release
}

/// The calling thread's row, or null if it has to share.
LatencyHistogram::Row* LatencyHistogram::own_row() noexcept {
  const detail::ThreadIndex me = detail::thread_index();
  Row* const row = rows_[me % kRows].load(std::memory_order_acquire);  // H2 acquire
  if (row != nullptr && row->owner == me) [[likely]]
    return row;
  return row == nullptr || me == detail::kUnassigned ? claim_row() : nullptr;
}

LatencyHistogram::Row* LatencyHistogram::claim_row() noexcept {
  const detail::ThreadIndex me = detail::assign_thread_index();
  if (me == detail::IndexPool::kNone) return nullptr;
  auto& place = rows_[me % kRows];
  Row* row = place.load(std::memory_order_acquire);  // H2 acquire
  if (row == nullptr) {
    Row* const mine = new (std::nothrow) Row(me);
    if (mine == nullptr) return nullptr;
    if (place.compare_exchange_strong(row, mine, std::memory_order_release,  // H2 release
                                      std::memory_order_acquire)) {          // H2 acquire
      return mine;
    }
    delete mine;  // another thread with this place was faster
  }
  return row->owner == me ? row : nullptr;
}

LatencyHistogram::Snapshot LatencyHistogram::snapshot() const noexcept {
  std::array<const Row*, kRows + 1> rows{&shared_};
  std::size_t used = 1;
  for (const auto& place : rows_) {
    if (const Row* const row = place.load(std::memory_order_acquire)) rows[used++] = row;  // H2 acquire
  }
  Snapshot result;
  // All buckets first, then sum and maximum: see H1.
  for (std::size_t index = 0; index < used; ++index) {
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      const std::uint64_t count = rows[index]->buckets[bucket].load(std::memory_order_acquire);  // H1 acquire
      result.buckets_[bucket] += count;
      result.count_ += count;
    }
  }
  for (std::size_t index = 0; index < used; ++index) {
    result.sum_ns_ += as_double(rows[index]->sum.load(std::memory_order_relaxed));
    const std::uint64_t max = rows[index]->max.load(std::memory_order_relaxed);
    result.max_ = std::max(result.max_, Duration(static_cast<Duration::rep>(max)));
  }
  return result;
}

void LatencyHistogram::Snapshot::record(Duration latency, std::uint64_t times) noexcept {
  if (times == 0) return;
  const std::uint64_t value = nanoseconds(latency);
  buckets_[bucket_of_nanoseconds(value)] += times;
  count_ += times;
  sum_ns_ += static_cast<double>(value) * static_cast<double>(times);
  max_ = std::max(max_, Duration(static_cast<Duration::rep>(value)));
}

void LatencyHistogram::Snapshot::merge(const Snapshot& other) noexcept {
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) buckets_[bucket] += other.buckets_[bucket];
  count_ += other.count_;
  sum_ns_ += other.sum_ns_;
  max_ = std::max(max_, other.max_);
}

LatencyHistogram::Snapshot LatencyHistogram::Snapshot::since(const Snapshot& earlier) const noexcept {
  Snapshot result;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    if (buckets_[bucket] <= earlier.buckets_[bucket]) continue;
    result.buckets_[bucket] = buckets_[bucket] - earlier.buckets_[bucket];
    result.count_ += result.buckets_[bucket];
    result.max_ = std::min(max_, upper_bound(bucket));
  }
  // Rounding of large sums, or sums that ran ahead of the buckets, must not give durations to no operation.
  if (result.count_ > 0) result.sum_ns_ = std::max(sum_ns_ - earlier.sum_ns_, 0.0);
  return result;
}

Duration LatencyHistogram::Snapshot::sum() const noexcept { return saturated_nanoseconds(sum_ns_); }

Duration LatencyHistogram::Snapshot::mean() const noexcept {
  return count_ == 0 ? Duration::zero() : saturated_nanoseconds(sum_ns_ / static_cast<double>(count_));
}

Duration LatencyHistogram::Snapshot::quantile(double q) const noexcept {
  if (count_ == 0 || std::isnan(q)) return Duration::zero();
  if (q >= 1) return max_;
  const double rank = std::max(q, 0.0) * static_cast<double>(count_);
  double below = 0;
  for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
    const auto here = static_cast<double>(buckets_[bucket]);
    if (here > 0 && below + here >= rank) {
      const Duration low = bucket == 0 ? Duration::zero() : upper_bound(bucket - 1);
      const Duration high = std::max(low, std::min(max_, upper_bound(bucket)));
      const double part = std::clamp((rank - below) / here, 0.0, 1.0);
      return low + saturated_nanoseconds(static_cast<double>((high - low).count()) * part);
    }
    below += here;
  }
  return max_;
}

std::uint64_t LatencyHistogram::Snapshot::count_up_to(Duration bound) const noexcept {
  std::uint64_t count = 0;
  for (std::size_t bucket = 0; bucket < kBuckets && upper_bound(bucket) <= bound; ++bucket) count += buckets_[bucket];
  return count;
}

}  // namespace penstock::inline PENSTOCK_ABI
