// SPDX-License-Identifier: MIT

// What a health monitor says of itself: texts, metrics and JSON.

#include <map>
#include <string_view>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/health_monitor.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::seconds;

constexpr std::array kAllHealths = {Health::kUnknown, Health::kHealthy, Health::kUnhealthy};
static_assert(kAllHealths.size() == kHealths);

void collect_watch(MetricSink& sink, const Label& monitor, const HealthStats& stats) {
  const Label watch{"watch", stats.name};
  for (const Health health : kAllHealths) {
    sink.gauge("penstock_health_state", "whether what is watched is in this state",
               {monitor, watch, {"state", to_string(health)}}, stats.health == health ? 1 : 0);
  }
  const auto checks = [&](std::string_view outcome, std::uint64_t count) {
    sink.counter("penstock_health_checks_total", "checks by how they ended", {monitor, watch, {"outcome", outcome}},
                 count);
  };
  checks("passed", stats.passed);
  checks("failed", stats.failed);
  checks("timed_out", stats.timed_out);
  for (const Health from : kAllHealths) {
    for (const Health to : kAllHealths) {
      if (from == to || to == Health::kUnknown) continue;
      sink.counter("penstock_health_changes_total", "changes of state",
                   {monitor, watch, {"from", to_string(from)}, {"to", to_string(to)}}, stats.count(from, to));
    }
  }
  const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    sink.counter(name, help, {monitor, watch}, value);
  };
  const auto gauge = [&](std::string_view name, std::string_view help, double value) {
    sink.gauge(name, help, {monitor, watch}, value);
  };
  counter("penstock_health_overdue_total", "intervals in which a check that had timed out did not come back",
          stats.overdue);
  counter("penstock_health_late_results_total", "checks that ended after their time-out", stats.late_results);
  counter("penstock_health_skipped_total", "checks not begun when due: one was running, or there was no thread",
          stats.skipped);
  counter("penstock_health_exceptions_total", "checks that threw", stats.exceptions);
  counter("penstock_health_listener_exceptions_total", "exceptions of listeners", stats.listener_exceptions);
  counter("penstock_health_missed_reports_total", "results that slow listeners were not told", stats.missed_reports);
  gauge("penstock_health_failures_in_a_row", "checks that have failed since one passed",
        static_cast<double>(stats.failures_in_a_row));
  gauge("penstock_health_time_in_state_seconds", "time since the last change of state", seconds(stats.in_state));
  gauge("penstock_health_checking_seconds", "how long the present check has run", seconds(stats.checking_for));
  sink.histogram("penstock_health_check_seconds", "how long checks took, or had before they timed out",
                 {monitor, watch}, stats.durations);
}

}  // namespace

std::string_view to_string(Health health) noexcept {
  switch (health) {
    case Health::kUnknown:
      return "unknown";
    case Health::kHealthy:
      return "healthy";
    case Health::kUnhealthy:
      return "unhealthy";
  }
  return "unknown";
}

void write_json(JsonWriter& json, const HealthStats& stats) {
  const auto member = [&json](std::string_view name, const auto& value) { json.key(name).value(value); };
  json.begin_object();
  member("name", std::string_view(stats.name));
  member("health", to_string(stats.health));
  member("in_state_seconds", seconds(stats.in_state));
  json.key("last_status");
  if (stats.last_at == TimePoint::min()) {
    json.null();
  } else {
    json.value(stats.last_status.ToString());
  }
  member("last_took_seconds", seconds(stats.last_took));
  member("failures_in_a_row", stats.failures_in_a_row);
  member("successes_in_a_row", stats.successes_in_a_row);
  member("checking", stats.is_checking);
  member("checking_seconds", seconds(stats.checking_for));
  member("checks", stats.checks);
  member("passed", stats.passed);
  member("failed", stats.failed);
  member("timed_out", stats.timed_out);
  member("overdue", stats.overdue);
  member("late_results", stats.late_results);
  member("skipped", stats.skipped);
  member("exceptions", stats.exceptions);
  member("listener_exceptions", stats.listener_exceptions);
  member("missed_reports", stats.missed_reports);
  member("p50_seconds", seconds(stats.durations.quantile(0.5)));
  member("p99_seconds", seconds(stats.durations.quantile(0.99)));
  member("max_seconds", seconds(stats.durations.max()));
  json.end_object();
}

void HealthMonitor::collect(MetricSink& sink) const {
  const Label monitor{"monitor", name()};
  const HealthMonitorStats now = stats();
  sink.gauge("penstock_health_watches", "what is watched", {monitor}, static_cast<double>(now.watches));
  const std::vector<HealthStats> all = watches();
  std::map<std::string_view, const HealthStats*> by_name;
  for (const HealthStats& watch : all) by_name[watch.name] = &watch;
  for (const auto& [watch_name, watch] : by_name) collect_watch(sink, monitor, *watch);
}

std::string HealthMonitor::json() const {
  JsonWriter json;
  json.begin_object().key("monitor").value(std::string_view(name())).key("watches").begin_array();
  for (const HealthStats& watch : watches()) write_json(json, watch);
  json.end_array().end_object();
  return json.take();
}

}  // namespace penstock::inline PENSTOCK_ABI
