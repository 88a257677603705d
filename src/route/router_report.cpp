// SPDX-License-Identifier: MIT

// What a router says of its providers: metrics and JSON.

#include <array>
#include <chrono>
#include <cstddef>
#include <vector>

#include "penstock/metrics/json_writer.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Adds a label to all that passes.
class LabelledSink final : public MetricSink {
 public:
  LabelledSink(MetricSink& sink, Label label) : sink_(sink), labels_{label} {}

  void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) override {
    sink_.counter(name, help, with(labels), value);
  }
  void gauge(std::string_view name, std::string_view help, Labels labels, double value) override {
    sink_.gauge(name, help, with(labels), value);
  }
  void histogram(std::string_view name, std::string_view help, Labels labels,
                 const LatencyHistogram::Snapshot& value) override {
    sink_.histogram(name, help, with(labels), value);
  }

 private:
  Labels with(Labels labels) {
    labels_.resize(1);
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    return labels_;
  }

  MetricSink& sink_;
  std::vector<Label> labels_;
};

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

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

/// One part of a provider, or null if it has none.
template <class Stats>
void write(JsonWriter& json, std::string_view key, const std::optional<Stats>& part) {
  json.key(key);
  part ? write(json, *part) : static_cast<void>(json.null());
}

}  // namespace

void ProviderRouter::collect(MetricSink& sink) const {
  for (const auto& provider : all()) {
    LabelledSink labelled(sink, {"provider", provider->name()});
    const ProviderState now = provider->state();
    for (std::size_t index = 0; index < kProviderStates; ++index) {
      const auto state = static_cast<ProviderState>(index);
      labelled.gauge("penstock_provider_state", "whether the provider is in this state", {{"state", to_string(state)}},
                     now == state ? 1 : 0);
    }
    const detail::ProviderRoad& road = *provider->road();
    labelled.counter("penstock_provider_updates_total", "changes of options while it served", {},
                     road.life().updates());
    labelled.counter("penstock_provider_interceptor_exceptions_total", "caught from interceptors", {},
                     road.life().interceptor_exceptions());
    if (provider->has_pool()) provider->pool().collect(labelled);
    if (road.breaker() != nullptr) road.breaker()->collect(labelled);
    if (road.lease() != nullptr) road.lease()->collect(labelled);
    if (road.retrier() != nullptr) road.retrier()->collect(labelled);
  }
}

std::string ProviderRouter::state_json() const {
  JsonWriter json;
  json.begin_object().key("providers").begin_array();
  for (const auto& [name, stats] : stats()) {
    json.begin_object().key("name").value(name).key("state").value(to_string(stats.state));
    write(json, stats.pool);
    json.key("updates").value(stats.updates);
    json.key("interceptor_exceptions").value(stats.interceptor_exceptions);
    write(json, "breaker", stats.breaker);
    write(json, "lease", stats.lease);
    write(json, "retry", stats.retry);
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace penstock::inline PENSTOCK_ABI
