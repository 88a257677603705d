// SPDX-License-Identifier: MIT
#include "penstock/exec/retry_budget.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "retry_violations.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

// Decimal, so that ten deposits of 0.1 are one retry.
constexpr std::int64_t kToken = 1'000'000'000;
constexpr double kMaxTokens = 1e6;

constexpr Duration kKeptFor = std::chrono::seconds(1);

std::int64_t tokens(double count) noexcept { return std::llround(std::min(count, kMaxTokens) * double{kToken}); }

}  // namespace

void detail::add_violations(const RetryBudgetOptions& options, std::string_view prefix, OptionViolations& violations) {
  const auto require = [&](bool holds, const char* option, const char* rule, double got) {
    violations.require(holds, fmt::format("{}{}", prefix, option), rule, got);
  };
  // A NaN is in no range.
  require(options.ratio >= 0, "ratio", "a number from 0 to infinity", options.ratio);
  require(options.capacity >= 1 && options.capacity <= kMaxTokens, "capacity", "in [1, 1000000]", options.capacity);
  require(options.per_second >= 0 && options.per_second <= kMaxTokens, "per_second", "in [0, 1000000]",
          options.per_second);
}

RetryBudget::RetryBudget(const RetryBudgetOptions& options) {
  detail::OptionViolations violations;
  detail::add_violations(options, "", violations);
  if (!violations.empty()) throw std::invalid_argument(fmt::format("retry budget: {}", violations.text()));
  unlimited_ = std::isinf(options.ratio);
  deposit_ = tokens(options.ratio);
  capacity_ = tokens(options.capacity);
  tokens_.value.store(capacity_, std::memory_order_relaxed);
  free_from_.value.store(TimePoint::min().time_since_epoch().count(), std::memory_order_relaxed);
  if (options.per_second > 0) {
    interval_ = std::max(saturated(std::chrono::duration<double>(1 / options.per_second)), Duration(1));
    tolerance_ = std::max(kKeptFor - interval_, Duration::zero());
  }
}

void RetryBudget::deposit() noexcept {
  std::int64_t current = tokens_.value.load(std::memory_order_relaxed);
  while (current < capacity_) {
    const std::int64_t more = current + std::min(deposit_, capacity_ - current);
    if (more == current) return;  // a ratio of zero
    if (tokens_.value.compare_exchange_weak(current, more, std::memory_order_relaxed, std::memory_order_relaxed)) {
      return;
    }
  }
}

bool RetryBudget::try_withdraw(TimePoint now) noexcept {
  // Free ones first: what is not used of them is lost soon, and what was earned stays.
  if (unlimited_ || try_withdraw_free(now)) return true;
  std::int64_t current = tokens_.value.load(std::memory_order_relaxed);
  while (current >= kToken) {
    if (tokens_.value.compare_exchange_weak(current, current - kToken, std::memory_order_relaxed,
                                            std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool RetryBudget::try_withdraw_free(TimePoint now) noexcept {
  if (interval_ == Duration::zero()) return false;
  Duration::rep current = free_from_.value.load(std::memory_order_relaxed);
  for (;;) {
    const TimePoint from = std::max(TimePoint(Duration(current)), now);
    if (from > saturated_add(now, tolerance_)) return false;
    const Duration::rep next = saturated_add(from, interval_).time_since_epoch().count();
    if (free_from_.value.compare_exchange_weak(current, next, std::memory_order_relaxed, std::memory_order_relaxed)) {
      return true;
    }
  }
}

double RetryBudget::balance(TimePoint now) const noexcept {
  if (unlimited_) return std::numeric_limits<double>::infinity();
  const auto earned = static_cast<double>(tokens_.value.load(std::memory_order_relaxed)) / double{kToken};
  if (interval_ == Duration::zero()) return earned;
  const TimePoint from = std::max(TimePoint(Duration(free_from_.value.load(std::memory_order_relaxed))), now);
  const TimePoint latest = saturated_add(now, tolerance_);
  if (from > latest) return earned;
  return earned + 1 + std::floor(static_cast<double>((latest - from).count()) / static_cast<double>(interval_.count()));
}

}  // namespace penstock::inline PENSTOCK_ABI
