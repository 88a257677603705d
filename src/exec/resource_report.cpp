// SPDX-License-Identifier: MIT

// What a resource pool says: of the options it is given, of a refusal, and of itself.

#include <chrono>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/detail/resource_core.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr double kMaxWeight = 1e12;
constexpr std::size_t kMaxConcurrent = 1'000'000;
constexpr std::size_t kMaxStickyKeys = 1U << 20U;

const char* plural(std::size_t count) { return count == 1 ? "" : "s"; }

}  // namespace

std::string_view to_string(ResourceStrategy strategy) noexcept {
  switch (strategy) {
    case ResourceStrategy::kWeightedRandom:
      return "weighted_random";
    case ResourceStrategy::kRoundRobin:
      return "round_robin";
    case ResourceStrategy::kLeastLoaded:
      return "least_loaded";
  }
  return "unknown";
}

ResourceVerdict classify_resource(const absl::Status& status) noexcept {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ResourceVerdict::kGood;
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kInvalidArgument:
      return ResourceVerdict::kIgnored;
    case absl::StatusCode::kResourceExhausted:
      return ResourceVerdict::kRest;
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return ResourceVerdict::kDead;
    default:
      return ResourceVerdict::kFailed;
  }
}

absl::Status ResourceOptions::validate() const {
  detail::OptionViolations violations;
  // A NaN is not in the range, either.
  violations.require(weight >= 0 && weight <= kMaxWeight, "weight", fmt::format("in [0, {:g}]", kMaxWeight), weight);
  violations.require(max_concurrent >= 1 && max_concurrent <= kMaxConcurrent, "max_concurrent",
                     fmt::format("in [1, {}]", kMaxConcurrent), max_concurrent);
  return violations.empty() ? absl::OkStatus() : absl::InvalidArgumentError(violations.text());
}

absl::Status ResourcePoolOptions::validate() const {
  detail::OptionViolations violations;
  const auto require_positive = [&](const char* option, Duration value) {
    violations.require(value > Duration::zero(), option, "positive", detail::duration_text(value));
  };
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long", name.size());
  const bool is_known = strategy == ResourceStrategy::kWeightedRandom || strategy == ResourceStrategy::kRoundRobin ||
                        strategy == ResourceStrategy::kLeastLoaded;
  violations.require(is_known, "strategy", "kWeightedRandom, kRoundRobin or kLeastLoaded", static_cast<int>(strategy));
  require_positive("rest_for", rest_for);
  require_positive("sticky_ttl", sticky_ttl);
  violations.require(sticky_keys >= 1 && sticky_keys <= kMaxStickyKeys, "sticky_keys",
                     fmt::format("in [1, {}]", kMaxStickyKeys), sticky_keys);
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("resource pool '{}'", detail::shortened(name, kMaxNameBytes)));
}

namespace detail {
absl::Status ResourceCore::not_found(std::string_view id) const {
  return absl::NotFoundError(
      fmt::format("resource pool '{}': there is no resource '{}'", name(), shortened(id, kMaxNameBytes)));
}

absl::Status ResourceCore::bad_options(std::string_view id, const absl::Status& why) const {
  return absl::InvalidArgumentError(
      fmt::format("resource pool '{}': resource '{}': {}", name(), shortened(id, kMaxNameBytes), text_of(why)));
}

absl::Status ResourceWait::refusal() {
  {
    ResourceLock lock(core_.mutex_);
    ResourcePoolStats& counts = core_.counts_;
    switch (why_) {
      case Why::kTimedOut:
        ++counts.timed_out;
        break;
      case Why::kCancelled:
        ++counts.cancelled;
        break;
      case Why::kNoResource:
      case Why::kNothingPasses:
        ++counts.not_found;
        break;
      case Why::kDisabled:
      case Why::kClosed:
        ++counts.unavailable;
        break;
      case Why::kBusy:
      case Why::kNothing:
        ++counts.exhausted;
        break;
    }
  }
  const std::string pool = fmt::format("resource pool '{}'", core_.options().name);
  const std::string busy =
      fmt::format("{} resource{} will do, {} of them disabled; {} lease{} out", view_.passing, plural(view_.passing),
                  view_.disabled, view_.in_use, view_.in_use == 1 ? " is" : "s are");
  const auto refusal = [&]() -> absl::Status {
    switch (why_) {
      case Why::kNoResource:
        return absl::NotFoundError(fmt::format("{}: it has no resources", pool));
      case Why::kNothingPasses:
        return absl::NotFoundError(
            fmt::format("{}: none of {} resource{} passes the filter", pool, view_.resources, plural(view_.resources)));
      case Why::kClosed:
        return absl::UnavailableError(fmt::format("{}: closed", pool));
      case Why::kDisabled: {
        const std::string all = view_.passing == 1
                                    ? "the one resource that will do is disabled"
                                    : fmt::format("all {} resources that will do are disabled", view_.passing);
        if (view_.back_in == Duration::max()) {
          return absl::UnavailableError(fmt::format("{}: {}, until somebody enables it", pool, all));
        }
        return with_retry_after(
            absl::UnavailableError(fmt::format("{}: {}{} for another {}", pool, all,
                                               view_.passing == 1 ? "" : ", the first", duration_text(view_.back_in))),
            view_.back_in);
      }
      case Why::kTimedOut:
        return absl::DeadlineExceededError(
            fmt::format("{}: no lease in time (waited {}; {})", pool, duration_text(view_.waited), busy));
      case Why::kCancelled:
        return absl::CancelledError(fmt::format("{}: cancelled while waiting for a lease (waited {}; {})", pool,
                                                duration_text(view_.waited), busy));
      case Why::kBusy:
      case Why::kNothing:
        break;
    }
    return absl::ResourceExhaustedError(fmt::format("{}: all are busy ({})", pool, busy));
  };
  return with_failure_stage(refusal(), "lease");
}

ResourcePoolStats ResourceCore::stats() const {
  struct Held {
    SlotPtr slot;  // for its id, which is copied without the mutex
    ResourceStats stats;
  };
  std::vector<Held> held;
  ResourcePoolStats stats;
  for (std::size_t wanted = 0;;) {
    held.reserve(wanted);
    ResourceLock lock(mutex_);
    if (held.capacity() < slots_.size()) {
      wanted = slots_.size();
      continue;
    }
    stats = counts_;  // its vector is empty: no allocation
    for (const SlotPtr& slot : slots_) {
      if (slot->serial == 0) continue;
      ++stats.resources;
      Held& each = held.emplace_back();
      each.slot = slot;
      each.stats.weight = slot->weight;
      each.stats.max_concurrent = slot->max_concurrent;
      each.stats.in_use = slot->in_use;
      each.stats.leases = slot->leases_;
      each.stats.errors = slot->errors_;
      each.stats.consecutive_failures = slot->consecutive_failures_;
      each.stats.disabled_until = slot->disabled_until_;
      // One whose rest is over, and which nobody has asked for since, is told as what the next one will find.
      each.stats.is_disabled = !slot->is_enabled;
    }
    break;
  }
  const TimePoint time = now();
  stats.lease_wait.record(Duration::zero(), stats.leases - stats.lease_wait.count());
  stats.by_resource.reserve(held.size());
  for (Held& each : held) {
    if (each.stats.is_disabled && each.stats.disabled_until <= time) each.stats.is_disabled = false;
    if (each.stats.is_disabled) ++stats.disabled;
    each.stats.id = each.slot->id;
    stats.by_resource.push_back(std::move(each.stats));
  }
  return stats;
}

void ResourceCore::collect(MetricSink& sink) const {
  const ResourcePoolStats stats = this->stats();
  const TimePoint time = now();
  const Label pool{"pool", name()};
  const auto number = [](auto value) { return static_cast<double>(value); };
  const auto refused = [&](std::string_view reason, std::uint64_t value) {
    sink.counter("penstock_resources_refused_total", "acquires that got no lease, by reason",
                 {pool, {"reason", reason}}, value);
  };

  sink.gauge("penstock_resources", "resources of the pool", {pool}, number(stats.resources));
  sink.gauge("penstock_resources_disabled", "resources that are not lent now", {pool}, number(stats.disabled));
  sink.gauge("penstock_resources_in_use", "leases that are out", {pool}, number(stats.in_use));
  sink.gauge("penstock_resources_leaving", "removed resources with leases that are out", {pool}, number(stats.leaving));
  sink.gauge("penstock_resources_waiting", "acquires that stand in line", {pool}, number(stats.waiting));
  sink.counter("penstock_resources_leases_total", "leases given", {pool}, stats.leases);
  sink.counter("penstock_resources_returns_total", "leases given back", {pool}, stats.returns);
  sink.counter("penstock_resources_late_returns_total",
               "leases given back after their resource was removed or the pool closed", {pool}, stats.late_returns);
  sink.counter("penstock_resources_discarded_total", "leases whose resource was discarded", {pool}, stats.discarded);
  sink.counter("penstock_resources_waits_total", "acquires that had to stand in line", {pool}, stats.waits);
  refused("exhausted", stats.exhausted);
  refused("timed_out", stats.timed_out);
  refused("cancelled", stats.cancelled);
  refused("not_found", stats.not_found);
  refused("unavailable", stats.unavailable);
  sink.counter("penstock_resources_errors_total", "reports of failed calls", {pool}, stats.errors);
  sink.counter("penstock_resources_late_reports_total", "reports after the resource was removed or the pool closed",
               {pool}, stats.late_reports);
  sink.counter("penstock_resources_rests_total", "resources that a report has disabled for a while", {pool},
               stats.rests);
  sink.counter("penstock_resources_deaths_total", "resources that a report has disabled for good", {pool},
               stats.deaths);
  sink.counter("penstock_resources_caught_exceptions_total", "exceptions of the classifier", {pool},
               stats.caught_exceptions);
  sink.histogram("penstock_resources_lease_wait_seconds", "how long a lease was waited for", {pool}, stats.lease_wait);

  for (const ResourceStats& each : stats.by_resource) {
    const Label resource{"resource", each.id};
    sink.gauge("penstock_resources_resource_in_use", "leases of one resource that are out", {pool, resource},
               number(each.in_use));
    sink.gauge("penstock_resources_resource_limit", "leases of one resource that may be out", {pool, resource},
               number(each.max_concurrent));
    sink.counter("penstock_resources_resource_leases_total", "leases given of one resource", {pool, resource},
                 each.leases);
    sink.counter("penstock_resources_resource_errors_total", "reports of failed calls with one resource",
                 {pool, resource}, each.errors);
    sink.gauge("penstock_resources_resource_disabled_seconds",
               "how long one resource will not be lent; 0: it is lent, +Inf: until somebody enables it",
               {pool, resource},
               !each.is_disabled                         ? 0.0
               : each.disabled_until == TimePoint::max() ? std::numeric_limits<double>::infinity()
                                                         : detail::seconds(each.disabled_until - time));
  }
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
