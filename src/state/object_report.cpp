// SPDX-License-Identifier: MIT

// What an object pool says: of the options it is given, of a refusal, and of itself.

#include <algorithm>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "object_visit.hpp"
#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

std::string_view to_string(ObjectDetection detection) noexcept {
  switch (detection) {
    case ObjectDetection::kOff:
      return "off";
    case ObjectDetection::kChecked:
      return "checked";
    case ObjectDetection::kLeaks:
      return "leaks";
  }
  return "unknown";
}

namespace detail {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

}  // namespace

absl::Status ObjectCoreOptions::validate() const {
  OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long", name.size());
  violations.require(has_factory, "factory", "a function, since the type has no default constructor", "none");
  violations.require(max_live >= 1, "max_live", "at least 1", max_live);
  violations.require(max_idle <= max_live, "max_idle", fmt::format("at most max_live, {}", max_live), max_idle);
  violations.require(max_weight >= 1, "max_weight", "at least 1", max_weight);
  violations.require(prewarm <= max_idle, "prewarm", fmt::format("at most max_idle, {}", max_idle), prewarm);
  violations.require(min_idle <= max_idle, "min_idle", fmt::format("at most max_idle, {}", max_idle), min_idle);
  violations.require(purge_every > Duration::zero(), "purge_every", "positive", duration_text(purge_every));
  const bool is_known = detection == ObjectDetection::kOff || detection == ObjectDetection::kChecked ||
                        detection == ObjectDetection::kLeaks;
  violations.require(is_known, "detection", "kOff, kChecked or kLeaks", static_cast<int>(detection));
  violations.require(clock != nullptr, "clock", "a clock", "null");
  if (alert.has_value()) {
    const absl::Status rule = alert->validate();
    violations.require(rule.ok(), "alert", "a valid rule", text_of(rule));
  }
  return violations.status(fmt::format("object pool '{}'", shortened(name, kMaxNameBytes)));
}

AlertChange ObjectCore::check_alert() noexcept {
  if (alert_ == nullptr || is_forked()) return AlertChange::kNone;
  AlertChange change{};
  try {
    const ObjectPoolStats now_is = stats();
    {
      const MutexLock lock(alert_->mutex);
      // What others have looked at meanwhile is not looked at again.
      const std::uint64_t requests = now_is.requests - std::min(now_is.requests, alert_->requests);
      const std::uint64_t hits = now_is.hits() - std::min(now_is.hits(), alert_->hits);
      const double ratio = requests == 0 ? std::numeric_limits<double>::quiet_NaN()
                                         : static_cast<double>(hits) / static_cast<double>(requests);
      const TimePoint time = now();
      change = alert_->alert.step(ratio, requests, time);
      if (requests != 0 && requests >= options_.alert->min_count) {
        alert_->requests = now_is.requests;
        alert_->hits = now_is.hits();
      }
    }
    if (change == AlertChange::kNone || options_.on_alert == nullptr) return change;
    const Alert alert = [this] {
      const MutexLock lock(alert_->mutex);
      return alert_->alert;
    }();
    options_.on_alert(change, alert.text(now()));
  } catch (...) {
    count_exception();
  }
  return change;
}

absl::Status ObjectCore::made_nothing() const {
  return absl::InternalError(fmt::format("object pool '{}': the factory made nothing", options_.name));
}

absl::Status ObjectCore::forked() const {
  return absl::FailedPreconditionError(
      fmt::format("object pool '{}': it is of the process that this one was forked from", options_.name));
}

absl::Status ObjectCore::closed() const {
  return absl::UnavailableError(fmt::format("object pool '{}': closed", options_.name));
}

absl::Status ObjectCore::refusal(Look look, TimePoint began) {
  std::size_t live = 0;
  std::size_t waiting = 0;
  {
    const SpinLockGuard lock(mutex_);
    live = live_;
    waiting = counts_.waiting;
    ++(look == Look::kClosed      ? counts_.refused_closed
       : look == Look::kTimedOut  ? counts_.timed_out
       : look == Look::kCancelled ? counts_.cancelled
                                  : counts_.exhausted);
  }
  const std::string busy = fmt::format("max_live {}, {} out, {} waiting", options_.max_live, live, waiting);
  const std::string waited =
      options_.timestamps ? fmt::format("waited {}, ", duration_text(now() - began)) : std::string();
  const auto refusal = [&]() -> absl::Status {
    switch (look) {
      case Look::kClosed:
        return closed();
      case Look::kTimedOut:
        return absl::DeadlineExceededError(
            fmt::format("object pool '{}': no object in time ({}{})", options_.name, waited, busy));
      case Look::kCancelled:
        return absl::CancelledError(
            fmt::format("object pool '{}': cancelled while waiting for an object ({}{})", options_.name, waited, busy));
      default:
        return absl::ResourceExhaustedError(
            fmt::format("object pool '{}': all objects are out ({})", options_.name, busy));
    }
  };
  return with_failure_stage(refusal(), "acquire");
}

ObjectPoolStats ObjectCore::stats() const {
  ObjectPoolStats stats;
  if (is_forked()) return stats;
  {
    const MutexLock visiting(visit_mutex_);
    const Visit visit(caches_);
    const SpinLockGuard lock(mutex_);
    stats = counts_;  // without a name: no allocation
    stats.closed = closed_;
    stats.live = live_;
    stats.idle = depot_.size();
    stats.victim = depot_.size(ObjectDepot::kVictims);
    stats.bytes_idle = depot_.bytes();
    std::uint64_t kept = kept_;
    for (const ObjectCache* cache = caches_; cache != nullptr; cache = cache->next_of_pool) {
      ++stats.threads;
      stats.idle += cache->size();
      stats.victim += cache->floor;
      stats.hits_local += cache->hits_local;
      stats.hits_victim += cache->hits_victim;
      stats.resets += cache->resets;
      stats.bytes_saved += cache->saved_bytes;
      kept += cache->kept;
      for (std::uint32_t i = 0; weighs_ && i != cache->size(); ++i) stats.bytes_idle += cache->slots[i]->weight;
    }
    stats.returns += kept;
  }
  stats.name = options_.name;
  if (times_ != nullptr) {
    stats.acquire_time = times_->acquire.snapshot();
    stats.reset_time = times_->reset.snapshot();
    stats.hold_time = times_->hold.snapshot();
  }
  if (alert_ != nullptr) {
    const MutexLock lock(alert_->mutex);
    stats.alert = alert_->alert.stats();
  }
  stats.out = stats.live - stats.idle;
  stats.requests = stats.hits() + stats.misses;
  if (!weighs_) {
    stats.bytes_idle = stats.idle * options_.object_bytes;
    stats.bytes_saved = stats.hits() * options_.object_bytes;
  }
  return stats;
}

void ObjectCore::collect(MetricSink& sink) const {
  const ObjectPoolStats stats = this->stats();
  const Label pool{"pool", options_.name};
  const auto gauge = [&](const char* name, const char* help, auto value) {
    sink.gauge(name, help, {pool}, static_cast<double>(value));
  };
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    sink.counter(name, help, {pool}, value);
  };
  const auto hit = [&](const char* source, std::uint64_t value) {
    sink.counter("penstock_object_pool_hits_total", "acquires served without a new object, by where it came from",
                 {pool, {"source", source}}, value);
  };
  const auto discarded = [&](const char* cause, std::uint64_t value) {
    sink.counter("penstock_object_pool_discarded_total",
                 "objects that came back, or were idle, and were destroyed, by cause", {pool, {"cause", cause}}, value);
  };
  const auto refused = [&](const char* reason, std::uint64_t value) {
    sink.counter("penstock_object_pool_refused_total", "acquires that got no object, by reason",
                 {pool, {"reason", reason}}, value);
  };
  gauge("penstock_object_pool_live", "objects, idle or out", stats.live);
  gauge("penstock_object_pool_active", "objects that are out", stats.out);
  gauge("penstock_object_pool_idle", "idle objects", stats.idle);
  gauge("penstock_object_pool_victim", "idle objects that the next purge drops", stats.victim);
  gauge("penstock_object_pool_waiting", "acquires that stand in line", stats.waiting);
  gauge("penstock_object_pool_hit_ratio", "part of the requests that needed no new object", stats.hit_ratio());
  gauge("penstock_object_pool_idle_bytes", "what idle objects weigh", stats.bytes_idle);
  counter("penstock_object_pool_requests_total", "acquires served, or failed by the factory", stats.requests);
  hit("local", stats.hits_local);
  hit("depot", stats.hits_depot);
  hit("steal", stats.hits_stolen);
  hit("victim", stats.hits_victim);
  hit("handed", stats.hits_handed);
  counter("penstock_object_pool_misses_total", "acquires that needed a new object", stats.misses);
  counter("penstock_object_pool_creates_total", "objects made for an acquire", stats.creates);
  counter("penstock_object_pool_create_failures_total", "calls of the factory that made nothing",
          stats.create_failures);
  counter("penstock_object_pool_prewarmed_total", "objects made ahead", stats.prewarmed);
  counter("penstock_object_pool_returns_total", "objects that came back", stats.returns);
  counter("penstock_object_pool_resets_total", "objects made as good as new", stats.resets);
  counter("penstock_object_pool_released_total", "objects taken out for good", stats.released);
  discarded("non_reusable", stats.discarded_non_reusable);
  discarded("reset", stats.discarded_reset);
  discarded("full", stats.discarded_full);
  discarded("oversize", stats.discarded_oversize);
  discarded("closed", stats.discarded_closed);
  discarded("misused", stats.discarded_misused);
  counter("penstock_object_pool_purged_total", "idle objects dropped by a purge or for want of memory", stats.purged);
  refused("exhausted", stats.exhausted);
  refused("timed_out", stats.timed_out);
  refused("cancelled", stats.cancelled);
  refused("closed", stats.refused_closed);
  counter("penstock_object_pool_waits_total", "acquires that had to stand in line", stats.waits);
  counter("penstock_object_pool_double_returns_total", "objects given back twice", stats.double_returns);
  counter("penstock_object_pool_foreign_returns_total", "objects given back that were not lent", stats.foreign_returns);
  counter("penstock_object_pool_uses_after_return_total", "objects changed while they were idle",
          stats.uses_after_return);
  counter("penstock_object_pool_caught_exceptions_total", "exceptions of the user's functions",
          stats.caught_exceptions);
  counter("penstock_object_pool_saved_bytes_total", "what need not be allocated, thanks to hits", stats.bytes_saved);
  if (alert_ != nullptr) {
    const Alert alert = [this] {
      const MutexLock lock(alert_->mutex);
      return alert_->alert;
    }();
    alert.collect(sink);
  }
  if (times_ == nullptr) return;
  sink.histogram("penstock_object_pool_acquire_seconds", "time of acquires that the thread's own could not serve",
                 {pool}, stats.acquire_time);
  sink.histogram("penstock_object_pool_reset_seconds", "time of resets", {pool}, stats.reset_time);
  sink.histogram("penstock_object_pool_hold_seconds", "how long objects are out", {pool}, stats.hold_time);
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
