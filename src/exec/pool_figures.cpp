// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/pool_figures.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace detail {

// --- moments ---

PairMoments::PairMoments(const Values& values) noexcept
    : count_(values[0]),
      mean_x_(values[1]),
      mean_y_(values[2]),
      square_x_(values[3]),
      square_y_(values[4]),
      product_(values[5]) {}

PairMoments PairSums::moments(double count) const noexcept {
  const double mean_dx = values[0] / count;
  const double mean_dy = values[1] / count;
  // Of numbers that are all the same nothing is to be left but zero.
  return PairMoments({count, first_x + mean_dx, first_y + mean_dy, std::max(values[2] - values[0] * mean_dx, 0.0),
                      std::max(values[3] - values[1] * mean_dy, 0.0), values[4] - values[0] * mean_dy});
}

void PairMoments::merge(const PairMoments& other) noexcept {
  if (other.count_ == 0) return;
  const double count = count_ + other.count_;
  const double dx = other.mean_x_ - mean_x_;
  const double dy = other.mean_y_ - mean_y_;
  const double weight = count_ * (other.count_ / count);
  square_x_ += other.square_x_ + dx * dx * weight;
  square_y_ += other.square_y_ + dy * dy * weight;
  product_ += other.product_ + dx * dy * weight;
  mean_x_ += dx * (other.count_ / count);
  mean_y_ += dy * (other.count_ / count);
  count_ = count;
}

double PairMoments::correlation() const noexcept {
  if (!(square_x_ > 0) || !(square_y_ > 0)) return 0;
  return std::clamp(product_ / (std::sqrt(square_x_) * std::sqrt(square_y_)), -1.0, 1.0);
}

// --- waits and runs ---

Duration WaitRunTally::upper_bound(std::size_t bucket) noexcept {
  return bucket + 1 == kBuckets ? Duration::max() : Duration(static_cast<Duration::rep>(kBounds[bucket]));
}

void WaitRunTally::start_block(std::uint64_t recorded, double x, double y) noexcept {
  if (recorded != 0) before_.merge(block_.moments(static_cast<double>(kBlock)));
  block_.start(x, y);
  const PairMoments::Values before = before_.values();
  write(bases_[recorded / kBlock % 2], {before[0], before[1], before[2], before[3], before[4], before[5], x, y});
}

void WaitRunTally::add_to(WaitRunTable& table, PairMoments& moments) const noexcept {
  for (std::size_t i = 0; i != jobs_.size(); ++i) {
    table.jobs[i / kBuckets][i % kBuckets] += jobs_[i].load(std::memory_order_relaxed);
  }
  std::array<double, 8> base{};
  PairSums block;
  std::uint64_t recorded = recorded_.load(std::memory_order_acquire);  // R2 acquire
  for (bool whole = false; !whole;) {
    if (recorded == 0) return;
    base = read(bases_[(recorded - 1) / kBlock % 2]);
    block.values = read(sums_[recorded % 2]);
    const std::uint64_t by_then = recorded_.load(std::memory_order_acquire);  // R2 acquire
    whole = std::exchange(recorded, by_then) == by_then;
  }
  block.first_x = base[6];
  block.first_y = base[7];
  moments.merge(PairMoments({base[0], base[1], base[2], base[3], base[4], base[5]}));
  moments.merge(block.moments(static_cast<double>((recorded - 1) % kBlock + 1)));
}

PoolTimes::~PoolTimes() {
  for (Row* row = rows_.load(std::memory_order_relaxed); row != nullptr;) delete std::exchange(row, row->next);
}

PoolTimes::Row& PoolTimes::row(std::size_t id) {
  Row* row = rows_.load(std::memory_order_relaxed);
  if (id == row_count_) {
    auto* const added = new Row;
    added->next = row;
    rows_.store(added, std::memory_order_release);  // R3 release
    ++row_count_;
    return *added;
  }
  for (std::size_t at = row_count_ - 1; at != id; --at) row = row->next;
  return *row;
}

void PoolTimes::write_to(WorkerPoolStats& stats) const noexcept {
  stats.queue_wait = queue_wait_.snapshot();
  stats.run = run_.snapshot();
  PairMoments moments;
  others_.add_to(stats.wait_run, moments);
  for (const Row* row = rows_.load(std::memory_order_acquire); row != nullptr; row = row->next) {  // R3 acquire
    row->tally.add_to(stats.wait_run, moments);
  }
  stats.wait_run_correlation = moments.correlation();
}

// --- throughput ---

Throughput::Throughput(TimePoint start) noexcept {
  for (Window& window : windows_) window.seen[0].at = start;
}

std::array<double, Throughput::kWindows.size()> Throughput::at(TimePoint now, std::uint64_t count) noexcept {
  std::array<double, kWindows.size()> rates{};
  for (std::size_t i = 0; i != windows_.size(); ++i) {
    Window& window = windows_[i];
    const auto seen = [&window](std::size_t ago) -> const Seen& {
      return window.seen[(window.newest + window.seen.size() - ago) % window.seen.size()];
    };
    std::size_t ago = 0;
    while (ago + 1 < window.size && now - seen(ago).at < kWindows[i]) ++ago;
    const Seen& since = seen(ago);
    // Of two who ask at once, the later one may come first.
    if (now > since.at && count > since.count) {
      rates[i] = static_cast<double>(count - since.count) / seconds(now - since.at);
    }
    if (now - seen(0).at >= kWindows[i] / static_cast<Duration::rep>(kParts)) {
      window.newest = (window.newest + 1) % window.seen.size();
      window.seen[window.newest] = {now, count};
      window.size = std::min(window.size + 1, window.seen.size());
    }
  }
  return rates;
}

}  // namespace detail

Duration WaitRunTable::upper_bound(std::size_t bucket) noexcept {
  PENSTOCK_CHECK(bucket < kBuckets, "no such bucket in a table of waits and runs");
  return detail::WaitRunTally::upper_bound(bucket);
}

}  // namespace penstock::inline PENSTOCK_ABI
