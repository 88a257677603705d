// SPDX-License-Identifier: MIT
#include "penstock/route/detail/outcome_window.hpp"

#include <algorithm>

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

void OutcomeWindow::record(TimePoint now, bool failed, bool slow) noexcept {
  const CallTally call{1, failed ? 1U : 0U, slow ? 1U : 0U};
  if (by_time()) {
    const std::int64_t index = bucket_index(now);
    if (totals_.calls == 0) head_ = index;  // all buckets are empty
    if (index > head_) {
      const auto size = static_cast<std::int64_t>(buckets_.size());
      // Only the last `size` of the buckets that have passed are there to be reused.
      for (std::int64_t reused = std::max(head_ + 1, index - size + 1); reused <= index; ++reused) {
        subtract(totals_, buckets_[cell(reused)]);
        buckets_[cell(reused)] = {};
      }
      head_ = index;
    }
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
  const auto size = static_cast<std::int64_t>(buckets_.size());
  if (index - head_ >= size) return {};
  CallTally rest = totals_;
  for (std::int64_t passed = head_ + 1; passed <= index; ++passed) subtract(rest, buckets_[cell(passed)]);
  return rest;
}

std::int64_t OutcomeWindow::bucket_index(TimePoint now) const noexcept {
  const std::int64_t since = now.time_since_epoch().count();
  const std::int64_t length = bucket_.count();
  return since / length - (since % length < 0 ? 1 : 0);
}

std::size_t OutcomeWindow::cell(std::int64_t index) const noexcept {
  const auto size = static_cast<std::int64_t>(buckets_.size());
  const std::int64_t rest = index % size;
  return static_cast<std::size_t>(rest < 0 ? rest + size : rest);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
