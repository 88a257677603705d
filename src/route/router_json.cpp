// SPDX-License-Identifier: MIT

// The whole picture of a router, as JSON.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

void write(JsonWriter& json, std::string_view key, const LatencyHistogram::Snapshot& latency) {
  json.key(key).begin_object();
  json.key("count").value(latency.count());
  json.key("mean").value(seconds(latency.mean()));
  json.key("p50").value(seconds(latency.quantile(0.5)));
  json.key("p90").value(seconds(latency.quantile(0.9)));
  json.key("p99").value(seconds(latency.quantile(0.99)));
  json.key("max").value(seconds(latency.max()));
  json.end_object();
}

void write(JsonWriter& json, const WorkerPoolStats& pool) {
  json.key("workers").begin_object();
  json.key("configured").value(pool.configured).key("idle").value(pool.idle).key("busy").value(pool.busy);
  json.end_object();
  json.key("queue").begin_object();
  json.key("depth").value(pool.queue_depth).key("capacity").value(pool.queue_capacity);
  json.key("high_water").value(pool.queue_high_water);
  json.key("oldest_age_seconds").value(seconds(pool.oldest_queued_age));
  json.end_object();
  json.key("jobs").begin_object();
  json.key("submitted").value(pool.submitted).key("accepted").value(pool.accepted).key("running").value(pool.running);
  json.key("overdue").value(pool.overdue);
  json.key("succeeded").value(pool.succeeded).key("failed").value(pool.failed).key("panicked").value(pool.panicked);
  json.key("cancelled").value(pool.cancelled).key("queue_expired").value(pool.queue_expired);
  json.key("processing_timeouts").value(pool.processing_timeouts).key("dropped_oldest").value(pool.dropped_oldest);
  json.key("abandoned").value(pool.abandoned).key("late_results").value(pool.late_results);
  json.end_object();
  json.key("refused").begin_object();
  json.key("rejected").value(pool.rejected).key("dropped_newest").value(pool.dropped_newest);
  json.key("enqueue_timeouts").value(pool.enqueue_timeouts).key("enqueue_cancelled").value(pool.enqueue_cancelled);
  json.key("closed").value(pool.refused_closed);
  json.end_object();
  write(json, "queue_wait_seconds", pool.queue_wait);
  write(json, "run_seconds", pool.run);
}

void write(JsonWriter& json, const CircuitBreakerStats& breaker) {
  const auto rate = [&](std::string_view key, double pct) {
    json.key(key);
    pct < 0 ? json.null() : json.value(pct);
  };
  json.begin_object();
  json.key("state").value(to_string(breaker.state));
  json.key("time_in_state_seconds").value(seconds(breaker.time_in_state));
  json.key("retry_after_seconds");
  breaker.retry_after == Duration::max() ? json.null() : json.value(seconds(breaker.retry_after));
  rate("failure_rate_pct", breaker.failure_rate_pct);
  rate("slow_rate_pct", breaker.slow_rate_pct);
  json.key("window_calls").value(breaker.window.calls).key("probes").value(breaker.probes);
  json.key("succeeded").value(breaker.succeeded).key("failed").value(breaker.failed).key("slow").value(breaker.slow);
  json.key("ignored").value(breaker.ignored).key("not_permitted").value(breaker.not_permitted);
  json.key("late_results").value(breaker.late_results).key("abandoned").value(breaker.abandoned);
  const auto entered = [&](BreakerState to) {
    std::uint64_t count = 0;
    for (const auto& from : breaker.transitions) count += from[static_cast<std::size_t>(to)];
    return count;
  };
  json.key("entered").begin_object();
  json.key("open").value(entered(BreakerState::kOpen)).key("half_open").value(entered(BreakerState::kHalfOpen));
  json.key("closed").value(entered(BreakerState::kClosed));
  json.end_object();
  json.end_object();
}

void write(JsonWriter& json, const ResourcePoolStats& lease) {
  json.begin_object();
  json.key("resources").begin_array();
  for (const ResourceStats& one : lease.by_resource) {
    json.begin_object().key("id").value(one.id).key("weight").value(one.weight).key("in_use").value(one.in_use);
    json.key("leases").value(one.leases).key("errors").value(one.errors).key("disabled").value(one.is_disabled);
    json.end_object();
  }
  json.end_array();
  json.key("leases").value(lease.leases).key("returns").value(lease.returns);
  json.end_object();
}

void write(JsonWriter& json, const RetryStats& retry) {
  json.begin_object();
  json.key("calls").value(retry.calls).key("running").value(retry.running).key("attempts").value(retry.attempts);
  json.key("retries").value(retry.retries);
  json.key("succeeded_after_retry").value(retry.succeeded_after_retry);
  json.end_object();
}

void write(JsonWriter& json, const HealthStats& health) { write_json(json, health); }

void write(JsonWriter& json, const RateLimiterStats& rate) {
  json.begin_object();
  json.key("rate_per_second").value(rate.rate_per_second).key("burst").value(rate.burst);
  json.key("tokens").value(rate.tokens).key("waiting").value(rate.waiting);
  json.key("acquired").value(rate.acquired).key("waited").value(rate.waited).key("too_late").value(rate.too_late);
  json.key("timed_out").value(rate.timed_out).key("cancelled").value(rate.cancelled);
  json.end_object();
}

void write(JsonWriter& json, const ConcurrencyLimiterStats& limiter) {
  json.begin_object();
  json.key("algorithm").value(limiter.algorithm).key("limit").value(limiter.limit);
  json.key("in_flight").value(limiter.in_flight).key("waiting").value(limiter.waiting);
  json.key("success").value(limiter.success).key("dropped").value(limiter.dropped);
  json.key("ignored").value(limiter.ignored).key("rejected").value(limiter.rejected);
  json.key("min_rtt_seconds").value(seconds(limiter.min_rtt));
  json.key("window_rtt_seconds").value(seconds(limiter.window_rtt));
  json.key("partitions").begin_array();
  for (const LimitPartitionStats& part : limiter.partitions) {
    json.begin_object().key("name").value(part.name).key("guarantee").value(part.guarantee);
    json.key("in_flight").value(part.in_flight).key("waiting").value(part.waiting);
    json.key("rejected").value(part.rejected).end_object();
  }
  json.end_array().end_object();
}

void write(JsonWriter& json, const AdaptiveScalerStats& scaling) {
  json.begin_object();
  json.key("evaluations").value(scaling.evaluations).key("last_reason").value(to_string(scaling.last_reason));
  json.key("scale_ups").value(scaling.scale_ups).key("scale_downs").value(scaling.scale_downs);
  json.key("workers_added").value(scaling.workers_added).key("workers_removed").value(scaling.workers_removed);
  json.key("failures").value(scaling.failures);
  json.end_object();
}

/// One part of a provider, or null if it has none.
template <class Stats>
void write(JsonWriter& json, std::string_view key, const std::optional<Stats>& part) {
  json.key(key);
  part ? write(json, *part) : static_cast<void>(json.null());
}

}  // namespace

std::string ProviderRouter::state_json() const {
  JsonWriter json;
  json.begin_object().key("providers").begin_array();
  for (const auto& [name, stats] : stats()) {
    json.begin_object().key("name").value(name).key("state").value(to_string(stats.state));
    write(json, stats.pool);
    json.key("updates").value(stats.updates);
    json.key("interceptor_exceptions").value(stats.interceptor_exceptions);
    write(json, "breaker", stats.breaker);
    write(json, "health", stats.health);
    write(json, "lease", stats.lease);
    write(json, "rate_limit", stats.rate_limit);
    write(json, "limiter", stats.limiter);
    write(json, "retry", stats.retry);
    write(json, "scaling", stats.scaling);
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace penstock::inline PENSTOCK_ABI
