// SPDX-License-Identifier: MIT
#include "penstock/exec/capacity_plan.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/metrics/json_writer.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

constexpr std::size_t kMaxNameBytes = 256;
constexpr double kMost = 1e9;                  // where bounds do not count
constexpr std::size_t kMaxPoolWorkers = 4096;  // of WorkerPoolOptions
constexpr std::size_t kMaxPoolQueue = 1'000'000;
constexpr double kMaxBudgetRatio = 1;

/// Rounds up, but not what is whole except for the error of its computation: 1000 * 1.01 is 1010.
std::size_t ceil_of(double value) noexcept {
  const double up = std::ceil(value - 1e-9 * std::max(1.0, value));
  return static_cast<std::size_t>(std::clamp(up, 0.0, kMost));
}

void check(const ProviderProfile& profile, detail::OptionViolations& violations) {
  using detail::duration_text;
  violations.require(profile.provider_name.size() <= kMaxNameBytes, "provider_name", "at most 256 bytes long",
                     profile.provider_name.size());
  violations.require(profile.rate_limit >= 0 && std::isfinite(profile.rate_limit), "rate_limit",
                     "a number of at least 0", profile.rate_limit);
  violations.require(profile.avg_latency >= Duration::zero(), "avg_latency", "at least 0 s",
                     duration_text(profile.avg_latency));
  violations.require(profile.error_rate >= 0 && std::isfinite(profile.error_rate), "error_rate",
                     "a number of at least 0", profile.error_rate);
  if (profile.p99_latency) {
    violations.require(*profile.p99_latency >= profile.avg_latency && *profile.p99_latency > Duration::zero(),
                       "p99_latency",
                       fmt::format("positive and at least avg_latency ({})", duration_text(profile.avg_latency)),
                       duration_text(*profile.p99_latency));
  }
}

std::string subject(const ProviderProfile& profile) {
  return fmt::format("capacity of '{}'", detail::shortened(profile.provider_name, kMaxNameBytes));
}

/// Such as "500ms" and "1500us": the largest unit of which it is a whole number, as Go and Abseil read it.
std::string exact_text(Duration duration) {
  constexpr std::array<std::pair<Duration::rep, std::string_view>, 3> kUnits = {
      {{1'000'000'000, "s"}, {1'000'000, "ms"}, {1'000, "us"}}};
  for (const auto& [ns, unit] : kUnits) {
    if (duration.count() % ns == 0) return fmt::format("{}{}", duration.count() / ns, unit);
  }
  return fmt::format("{}ns", duration.count());
}

void write_duration(JsonWriter& json, const std::string& key, Duration duration) {
  if (duration == Duration::zero()) {
    json.key(key).null();
    return;
  }
  json.key(key).value(duration.count()).key(key + "_text").value(detail::duration_text(duration));
}

/// Go's conversion of a float to an int64, on the machines that it runs on most.
std::int64_t truncated(double value) noexcept {
  return value >= -0x1p63 && value < 0x1p63 ? static_cast<std::int64_t>(value)
                                            : std::numeric_limits<std::int64_t>::min();
}

std::int64_t product(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}

}  // namespace

absl::Status ProviderProfile::validate() const {
  detail::OptionViolations violations;
  check(*this, violations);
  return violations.status(subject(*this));
}

absl::Status CapacityBounds::validate() const {
  using detail::duration_text;
  detail::OptionViolations violations;
  violations.require(min_workers >= 1, "min_workers", "at least 1", min_workers);
  violations.require(max_workers >= min_workers && max_workers <= 1'000'000'000, "max_workers",
                     fmt::format("in [min_workers ({}), 1000000000]", min_workers), max_workers);
  violations.require(max_buffer >= min_buffer && max_buffer <= 1'000'000'000, "max_buffer",
                     fmt::format("in [min_buffer ({}), 1000000000]", min_buffer), max_buffer);
  violations.require(buffer_factor >= 0 && buffer_factor <= 1000, "buffer_factor", "in [0, 1000]", buffer_factor);
  violations.require(min_timeout > Duration::zero(), "min_timeout", "positive", duration_text(min_timeout));
  violations.require(max_timeout >= min_timeout, "max_timeout",
                     fmt::format("at least min_timeout ({})", duration_text(min_timeout)), duration_text(max_timeout));
  violations.require(min_queue_wait > Duration::zero(), "min_queue_wait", "positive", duration_text(min_queue_wait));
  violations.require(max_queue_wait >= min_queue_wait, "max_queue_wait",
                     fmt::format("at least min_queue_wait ({})", duration_text(min_queue_wait)),
                     duration_text(max_queue_wait));
  std::string text = violations.text();
  if (const absl::Status bad = retry.validate(); !bad.ok()) {
    text += fmt::format("{}{}", text.empty() ? "" : "; ", detail::text_of(bad));
  }
  return text.empty() ? absl::OkStatus() : absl::InvalidArgumentError(fmt::format("capacity bounds: {}", text));
}

absl::StatusOr<CapacityPlan> plan_capacity(const ProviderProfile& profile, const CapacityBounds& bounds) {
  {
    const absl::Status bad_profile = profile.validate();
    const absl::Status bad_bounds = bounds.validate();
    if (!bad_profile.ok() && !bad_bounds.ok()) {
      return absl::InvalidArgumentError(
          fmt::format("{}; {}", detail::text_of(bad_profile), detail::text_of(bad_bounds)));
    }
    if (!bad_profile.ok()) return bad_profile;
    if (!bad_bounds.ok()) return bad_bounds;
  }

  CapacityPlan plan;
  plan.profile = profile;
  const double latency = seconds(profile.avg_latency);
  const double error_rate = std::min(profile.error_rate, 1.0);
  plan.load = profile.rate_limit * latency * (1 + error_rate);
  if (plan.load > 0) {
    plan.workers = std::max<std::size_t>(ceil_of(plan.load), 1);
    if (bounds.clamp) plan.workers = std::clamp(plan.workers, bounds.min_workers, bounds.max_workers);
    plan.buffer = ceil_of(static_cast<double>(plan.workers) * bounds.buffer_factor);
    if (bounds.clamp) plan.buffer = std::clamp(plan.buffer, bounds.min_buffer, bounds.max_buffer);
    plan.buffer = std::max(plan.buffer, plan.workers);
    plan.queue_wait_limit = saturated(
        std::chrono::duration<double>(static_cast<double>(plan.buffer) * latency / static_cast<double>(plan.workers)));
    if (bounds.clamp) {
      plan.queue_wait_limit = std::clamp(plan.queue_wait_limit, bounds.min_queue_wait, bounds.max_queue_wait);
    }
    plan.queue_wait_limit = std::max(plan.queue_wait_limit, Duration(1));
  }
  if (profile.p99_latency) {
    plan.processing_timeout = *profile.p99_latency;
  } else if (profile.avg_latency > Duration::zero()) {
    plan.processing_timeout = profile.avg_latency > Duration::max() / 2 ? Duration::max() : 2 * profile.avg_latency;
  }
  if (bounds.clamp && plan.processing_timeout > Duration::zero()) {
    plan.processing_timeout = std::clamp(plan.processing_timeout, bounds.min_timeout, bounds.max_timeout);
  }

  plan.retry = bounds.retry;
  if (plan.retry.name == RetryOptions().name && !profile.provider_name.empty()) {
    plan.retry.name = profile.provider_name;
  }
  plan.retry.budget.ratio = std::max(plan.retry.budget.ratio, std::min(error_rate, kMaxBudgetRatio));
  return plan;
}

WorkerPoolOptions apply(const CapacityPlan& plan, WorkerPoolOptions options) {
  if (options.name.empty()) options.name = plan.profile.provider_name;
  if (plan.workers != 0) {
    options.workers = std::min(plan.workers, kMaxPoolWorkers);
    if (options.min_workers != 0) options.min_workers = std::min(options.min_workers, options.workers);
    if (options.max_workers != 0) options.max_workers = std::max(options.max_workers, options.workers);
  }
  if (plan.buffer != 0) options.queue_capacity = std::min(plan.buffer, kMaxPoolQueue);
  if (plan.processing_timeout > Duration::zero()) options.processing_timeout = plan.processing_timeout;
  if (plan.queue_wait_limit > Duration::zero()) options.queue_wait_limit = plan.queue_wait_limit;
  return options;
}

DocumentCapacity document_capacity_plan(const ProviderProfile& profile) noexcept {
  const Duration::rep ns = profile.avg_latency.count();
  constexpr Duration::rep kSecond = 1'000'000'000;
  // A Go duration's seconds: the whole ones, and the rest as a fraction.
  const double latency = static_cast<double>(ns / kSecond) + static_cast<double>(ns % kSecond) / 1e9;
  std::int64_t workers = product(truncated(profile.rate_limit), truncated(latency));
  workers = truncated(static_cast<double>(workers) * (1.0 + profile.error_rate));
  return {workers, product(workers, 3), Duration(product(ns, 2))};
}

void write(JsonWriter& json, const CapacityPlan& plan) {
  json.begin_object().key("provider_name").value(plan.profile.provider_name);
  json.key("rate_limit").value(plan.profile.rate_limit);
  write_duration(json, "avg_latency", plan.profile.avg_latency);
  if (plan.profile.p99_latency) write_duration(json, "p99_latency", *plan.profile.p99_latency);
  json.key("error_rate").value(plan.profile.error_rate);
  const auto size = [&json](std::string_view key, std::size_t value) {
    json.key(key);
    value == 0 ? json.null() : json.value(value);
  };
  size("optimal_workers", plan.workers);
  size("optimal_buffer", plan.buffer);
  json.key("timeout_config").begin_object();
  write_duration(json, "processing_timeout", plan.processing_timeout);
  write_duration(json, "queue_wait_limit", plan.queue_wait_limit);
  json.end_object().key("retry_strategy");
  write(json, plan.retry);
  json.end_object();
}

void write(JsonWriter& json, const RetryOptions& options) {
  json.begin_object().key("max_attempts").value(options.max_attempts);
  json.key("max_retries").value(options.max_attempts == 0 ? 0 : options.max_attempts - 1);
  json.key("initial").value(exact_text(options.initial)).key("max").value(exact_text(options.max));
  json.key("multiplier").value(options.multiplier).key("jitter").value(options.jitter);
  json.key("max_retry_after").value(exact_text(options.max_retry_after));
  json.key("budget").begin_object().key("ratio").value(options.budget.ratio);
  json.key("capacity").value(options.budget.capacity).key("per_second").value(options.budget.per_second);
  json.end_object().end_object();
}

}  // namespace penstock::inline PENSTOCK_ABI
