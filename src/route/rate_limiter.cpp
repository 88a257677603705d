// SPDX-License-Identifier: MIT
#include "penstock/route/rate_limiter.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/metrics/sink.hpp"
#include "rounded_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr double kLeastRate = 1e-6;
constexpr double kMostTokens = 1e9;
constexpr double kMostSeconds = 1e8;
constexpr std::size_t kMostWaiting = 1'000'000;

/// "10 per second used up, 3 in line, next 5 in 83 ms"
std::string shortage(const RateRefusal& refusal) {
  std::string words = fmt::format("{:g} per second used up", refusal.rate_per_second);
  if (refusal.waiting != 0) words += fmt::format(", {} in line", refusal.waiting);
  if (refusal.retry_after > Duration::zero()) {
    words += refusal.asked > 1
                 ? fmt::format(", next {} in {}", refusal.asked, detail::rounded_text(refusal.retry_after))
                 : fmt::format(", next in {}", detail::rounded_text(refusal.retry_after));
  }
  return words;
}

absl::Status status_of(const RateRefusal& refusal, std::string_view name) {
  const std::string limiter = fmt::format("rate limiter '{}'", name);
  switch (refusal.reason) {
    case RateReason::kUsedUp:
      break;
    case RateReason::kLineFull:
      return absl::ResourceExhaustedError(fmt::format("{}: line full ({})", limiter, shortage(refusal)));
    case RateReason::kTooLate:
      return absl::ResourceExhaustedError(fmt::format("{}: {}, but the deadline is in {}", limiter, shortage(refusal),
                                                      detail::rounded_text(refusal.patience)));
    case RateReason::kTooMany:
      return absl::InvalidArgumentError(
          fmt::format("{}: {} asked for at once, the burst is {:g}", limiter, refusal.asked, refusal.burst));
    case RateReason::kTimedOut:
      return absl::DeadlineExceededError(fmt::format("{}: not in time (waited {}; {})", limiter,
                                                     detail::rounded_text(refusal.waited), shortage(refusal)));
    case RateReason::kCancelled:
      return absl::CancelledError(fmt::format("{}: cancelled (waited {}; {})", limiter,
                                              detail::rounded_text(refusal.waited), shortage(refusal)));
    case RateReason::kClosed:
      return absl::UnavailableError(fmt::format("{}: closed", limiter));
  }
  return absl::ResourceExhaustedError(fmt::format("{}: {}", limiter, shortage(refusal)));
}

}  // namespace

std::string_view to_string(RateAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case RateAlgorithm::kTokenBucket:
      return "token_bucket";
    case RateAlgorithm::kGcra:
      return "gcra";
  }
  return "unknown";
}

std::string_view to_string(RateReason reason) noexcept {
  switch (reason) {
    case RateReason::kUsedUp:
      return "used_up";
    case RateReason::kLineFull:
      return "line_full";
    case RateReason::kTooLate:
      return "too_late";
    case RateReason::kTooMany:
      return "too_many";
    case RateReason::kTimedOut:
      return "timed_out";
    case RateReason::kCancelled:
      return "cancelled";
    case RateReason::kClosed:
      return "closed";
  }
  return "unknown";
}

absl::Status RateLimiterOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(name.size() <= kMaxNameBytes, "name", "at most 256 bytes long", name.size());
  const bool is_known = algorithm == RateAlgorithm::kTokenBucket || algorithm == RateAlgorithm::kGcra;
  violations.require(is_known, "algorithm", "kTokenBucket or kGcra", static_cast<int>(algorithm));
  // A NaN is in no range.
  const bool is_rate = rate_per_second >= kLeastRate && rate_per_second <= kMostTokens;
  violations.require(is_rate, "rate_per_second", "in [1e-06, 1e+09] (without a limit there is no limiter)",
                     rate_per_second);
  const bool is_burst = burst >= 1 && burst <= kMostTokens;
  violations.require(is_burst, "burst", "in [1, 1e+09]", burst);
  violations.require(!is_rate || !is_burst || burst <= kMostSeconds * rate_per_second, "burst",
                     fmt::format("at most what comes in within 1e+08 s ({:g})", kMostSeconds * rate_per_second), burst);
  violations.require(max_waiting <= kMostWaiting, "max_waiting", fmt::format("in [0, {}]", kMostWaiting), max_waiting);
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("rate limiter '{}'", detail::shortened(name, kMaxNameBytes)));
}

absl::Status to_status(const RateRefusal& refusal, std::string_view name) {
  absl::Status status = with_failure_stage(status_of(refusal, name), "rate_limit");
  return refusal.retry_after > Duration::zero() ? with_retry_after(std::move(status), refusal.retry_after) : status;
}

namespace detail {

RateLimiterOptions RateCore::options() const {
  RateLimiterOptions options{.name = name_, .clock = &clock_};
  const SpinLockGuard lock(lock_);
  options.algorithm = machine_.algorithm();
  options.rate_per_second = machine_.rule().per_second();
  options.burst = machine_.rule().burst();
  options.max_waiting = max_waiting_;
  return options;
}

RateLimiterStats RateCore::stats() const noexcept {
  RateLimiterStats stats;
  const Ticks time = read_clock();
  {
    const SpinLockGuard lock(lock_);
    RateMachine machine = machine_;
    const std::uint64_t word = hot_.value.word.load(std::memory_order_relaxed);
    if ((word & kShutBit) == 0) machine.set_full_at(word >> 1U);
    stats.rate_per_second = machine.rule().per_second();
    stats.burst = machine.rule().burst();
    stats.tokens = machine.tokens(std::max(time, hot_.value.latest.load(std::memory_order_relaxed)));
    stats.waiting = waiting_;
    stats.wait = wait_;
  }
  stats.waited = stats.wait.count();
  const auto counts = counters_.snapshot();
  stats.tokens_acquired = counts[kTokens];
  stats.acquired = counts[kAcquired];
  const auto refused = [&](RateReason reason) { return counts[kFirstReason + static_cast<std::size_t>(reason)]; };
  stats.used_up = refused(RateReason::kUsedUp);
  stats.line_full = refused(RateReason::kLineFull);
  stats.too_late = refused(RateReason::kTooLate);
  stats.too_many = refused(RateReason::kTooMany);
  stats.timed_out = refused(RateReason::kTimedOut);
  stats.cancelled = refused(RateReason::kCancelled);
  stats.closed = refused(RateReason::kClosed);
  return stats;
}

}  // namespace detail

void RateLimiter::collect(MetricSink& sink) const {
  const RateLimiterStats now = stats();
  const Label limiter{"rate_limiter", name()};
  sink.gauge("penstock_rate_limiter_rate", "tokens that come in per second", {limiter}, now.rate_per_second);
  sink.gauge("penstock_rate_limiter_burst", "tokens that the bucket holds", {limiter}, now.burst);
  sink.gauge("penstock_rate_limiter_tokens", "tokens that are there", {limiter}, now.tokens);
  sink.gauge("penstock_rate_limiter_waiting", "acquires that stand in line", {limiter},
             static_cast<double>(now.waiting));
  sink.counter("penstock_rate_limiter_acquired_total", "acquires that got their tokens", {limiter}, now.acquired);
  sink.counter("penstock_rate_limiter_tokens_total", "tokens given out", {limiter}, now.tokens_acquired);
  const auto refused = [&](RateReason reason, std::uint64_t count) {
    sink.counter("penstock_rate_limiter_refused_total", "acquires that got no tokens, by reason",
                 {limiter, {"reason", to_string(reason)}}, count);
  };
  refused(RateReason::kUsedUp, now.used_up);
  refused(RateReason::kLineFull, now.line_full);
  refused(RateReason::kTooLate, now.too_late);
  refused(RateReason::kTooMany, now.too_many);
  refused(RateReason::kTimedOut, now.timed_out);
  refused(RateReason::kCancelled, now.cancelled);
  refused(RateReason::kClosed, now.closed);
  sink.histogram("penstock_rate_limiter_wait_seconds", "how long those who got their tokens in line stood there",
                 {limiter}, now.wait);
}

RateLimiter::RateLimiter(RateLimiterOptions options) : core_(std::make_unique<detail::RateCore>(std::move(options))) {}
RateLimiter::~RateLimiter() = default;

bool RateLimiter::try_acquire(std::uint64_t n) noexcept { return core_->try_acquire(n, nullptr); }
bool RateLimiter::try_acquire(std::uint64_t n, RateRefusal& why) noexcept { return core_->try_acquire(n, &why); }
OpStatus RateLimiter::acquire(const Context& ctx, std::uint64_t n) { return core_->acquire(ctx, n, nullptr); }
OpStatus RateLimiter::acquire(const Context& ctx, std::uint64_t n, RateRefusal& why) {
  return core_->acquire(ctx, n, &why);
}
absl::Status RateLimiter::set_options(const RateLimiterOptions& options) { return core_->set_options(options); }
bool RateLimiter::close() noexcept { return core_->close(); }
bool RateLimiter::is_closed() const noexcept { return core_->is_closed(); }
const std::string& RateLimiter::name() const noexcept { return core_->name(); }
RateLimiterOptions RateLimiter::options() const { return core_->options(); }
RateLimiterStats RateLimiter::stats() const noexcept { return core_->stats(); }

}  // namespace penstock::inline PENSTOCK_ABI
