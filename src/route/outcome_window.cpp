// SPDX-License-Identifier: MIT
#include "penstock/route/detail/outcome_window.hpp"

#include <algorithm>
#include <limits>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint8_t kFailed = 1;
constexpr std::uint8_t kSlow = 2;

void add(CallTally& to, const CallTally& what) noexcept {
  to.calls += what.calls;
  to.failed += what.failed;
  to.slow += what.slow;
}

void subtract(CallTally& from, const CallTally& what) noexcept {
  from.calls -= what.calls;
  from.failed -= what.failed;
  from.slow -= what.slow;
}

}  // namespace

OutcomeWindow::OutcomeWindow(CircuitBreakerOptions::Window kind, std::size_t size, Duration bucket)
    : calls_(kind == CircuitBreakerOptions::Window::kCount ? size : 0),
      buckets_(kind == CircuitBreakerOptions::Window::kTime ? size : 0),
      bucket_(bucket) {}

void OutcomeWindow::clear() noexcept {
  next_ = 0;
  totals_ = {};
  std::fill(buckets_.begin(), buckets_.end(), CallTally{});
}

bool OutcomeWindow::is_like(const OutcomeWindow& other) const noexcept {
  if (by_time() != other.by_time()) return false;
  return by_time() ? buckets_.size() == other.buckets_.size() && bucket_ == other.bucket_
                   : calls_.size() == other.calls_.size();
}

void OutcomeWindow::take_over(const OutcomeWindow& old) noexcept {
  if (by_time() != old.by_time() || old.totals_.calls == 0) return;
  if (by_time()) {
    if (bucket_ != old.bucket_) return;
    head_ = old.head_;
    const auto shared = static_cast<std::int64_t>(std::min(buckets_.size(), old.buckets_.size()));
    const std::int64_t oldest = std::max(head_, std::numeric_limits<std::int64_t>::min() + shared) - shared;
    for (std::int64_t index = oldest + 1; index <= head_; ++index) {
      buckets_[cell(index)] = old.buckets_[old.cell(index)];
      add(totals_, buckets_[cell(index)]);
    }
    return;
  }
  const std::size_t kept = std::min(calls_.size(), static_cast<std::size_t>(old.totals_.calls));
  const std::size_t size = old.calls_.size();
  for (std::size_t call = 0; call < kept; ++call) {
    const std::uint8_t outcome = old.calls_[(old.next_ + size - kept + call) % size];
    record({}, (outcome & kFailed) != 0, (outcome & kSlow) != 0);
  }
}

void OutcomeWindow::add_successes(std::uint64_t count) noexcept {
  if (by_time()) {
    buckets_[cell(head_)].calls += count;
    totals_.calls += count;
    return;
  }
  if (totals_ == CallTally{calls_.size(), 0, 0}) return;  // one success takes the place of another
  for (std::uint64_t call = std::min(count, std::uint64_t{calls_.size()}); call > 0; --call) record({}, false, false);
}

TimePoint OutcomeWindow::end_of_bucket() const noexcept {
  if (!by_time()) return TimePoint::max();
  // The last bucket of all time ends with it.
  if (head_ >= std::numeric_limits<std::int64_t>::max() / bucket_.count() - 1) return TimePoint::max();
  return TimePoint(Duration((head_ + 1) * bucket_.count()));
}

void OutcomeWindow::record(TimePoint now, bool failed, bool slow) noexcept {
  const CallTally call{1, failed ? 1U : 0U, slow ? 1U : 0U};
  if (by_time()) {
    const std::int64_t index = bucket_index(now);
    if (totals_.calls == 0) head_ = index;  // all buckets are empty
    if (is_far_back(index)) step_back_to(index);
    // Only the last `size` of the buckets that have passed are there to be reused.
    for (std::int64_t passed = passed_at(index); passed > 0; --passed) {
      CallTally& reused = buckets_[cell(index - passed + 1)];
      subtract(totals_, reused);
      reused = {};
    }
    head_ = std::max(head_, index);
    add(buckets_[cell(head_)], call);
  } else {
    if (totals_.calls == calls_.size()) {
      const std::uint8_t oldest = calls_[next_];
      subtract(totals_, {1, (oldest & kFailed) != 0 ? 1U : 0U, (oldest & kSlow) != 0 ? 1U : 0U});
    }
    calls_[next_] = static_cast<std::uint8_t>((failed ? kFailed : 0) | (slow ? kSlow : 0));
    next_ = next_ + 1 == calls_.size() ? 0 : next_ + 1;
  }
  add(totals_, call);
}

CallTally OutcomeWindow::tally(TimePoint now) const noexcept {
  if (!by_time() || totals_.calls == 0) return totals_;
  const std::int64_t index = bucket_index(now);
  CallTally rest = totals_;
  for (std::int64_t passed = passed_at(index); passed > 0; --passed) subtract(rest, buckets_[cell(index - passed + 1)]);
  return rest;
}

std::int64_t OutcomeWindow::bucket_index(TimePoint now) const noexcept {
  const std::int64_t since = now.time_since_epoch().count();
  const std::int64_t length = bucket_.count();
  return since / length - (since % length < 0 ? 1 : 0);
}

/// Whether the clock, which is never late by as much as the window is long, has stepped back.
bool OutcomeWindow::is_far_back(std::int64_t index) const noexcept {
  return index<head_&& static_cast<std::uint64_t>(head_) - static_cast<std::uint64_t>(index)> buckets_.size();
}

/// Time goes on from `index` as if it were the newest bucket, with what was recorded until now behind it: else nothing
/// would be forgotten until the clock is back where it was.
void OutcomeWindow::step_back_to(std::int64_t index) noexcept {
  const std::size_t by = (cell(head_) + buckets_.size() - cell(index)) % buckets_.size();
  std::rotate(buckets_.begin(), buckets_.begin() + static_cast<std::ptrdiff_t>(by), buckets_.end());
  head_ = index;
}

/// How many buckets have begun after the newest until `index`; at most the size.
std::int64_t OutcomeWindow::passed_at(std::int64_t index) const noexcept {
  if (index <= head_) return 0;
  // The difference may be more than an int64 can hold.
  const std::uint64_t passed = static_cast<std::uint64_t>(index) - static_cast<std::uint64_t>(head_);
  return static_cast<std::int64_t>(std::min(passed, std::uint64_t{buckets_.size()}));
}

std::size_t OutcomeWindow::cell(std::int64_t index) const noexcept {
  const auto size = static_cast<std::int64_t>(buckets_.size());
  const std::int64_t rest = index % size;
  return static_cast<std::size_t>(rest < 0 ? rest + size : rest);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
