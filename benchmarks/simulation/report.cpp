// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "penstock/metrics/json_writer.hpp"

namespace simulation {
namespace {

const Row* find(const ScenarioStudy& study, std::string_view contender) {
  const auto found =
      std::find_if(study.rows.begin(), study.rows.end(), [&](const Row& row) { return row.contender == contender; });
  return found == study.rows.end() ? nullptr : &*found;
}

/// What ours is worth beside the best numbers of workers that never change.
std::string verdict(const ScenarioStudy& study) {
  const Row* ours = find(study, "ours");
  const Rivals fixed = rivals(*ours, study.sizes);
  std::string text;
  if (fixed.same_cost) {
    text += fmt::format(
        "  for its worker-seconds, {} workers: p99 {:.2f} times that of ours, {:.1f} % served to {:.1f} %\n",
        fixed.same_cost->workers, fixed.same_cost->row.p99_s / ours->p99_s,
        100 * fixed.same_cost->row.served / fixed.same_cost->row.arrived, 100 * ours->served / ours->arrived);
  }
  if (fixed.same_p99) {
    text += fmt::format("  for its p99, {} workers: {:.2f} times the worker-seconds\n", fixed.same_p99->workers,
                        fixed.same_p99->row.worker_seconds / ours->worker_seconds);
  }
  return text;
}

double short_of(double value) { return std::round(value * 1000) / 1000; }

void write(penstock::JsonWriter& json, const Row& row) {
  json.begin_object().key("contender").value(row.contender);
  json.key("arrived").value(row.arrived).key("served").value(row.served).key("rejected").value(row.rejected);
  json.key("failed").value(row.failed).key("p50_s").value(short_of(row.p50_s)).key("p99_s").value(short_of(row.p99_s));
  json.key("worker_seconds").value(std::round(row.worker_seconds)).key("use").value(short_of(row.use));
  json.key("most_workers").value(row.most_workers);
  if (!row.moments.empty()) {
    json.key("moments").begin_array();  // [seconds, jobs/s, workers, queued, in flight, limit]
    for (const Moment& moment : row.moments) {
      json.begin_array().value(moment.time_s).value(short_of(moment.rate)).value(moment.workers);
      json.value(moment.queued).value(moment.in_flight).value(moment.limit).end_array();
    }
    json.end_array();
  }
  json.end_object();
}

void write(penstock::JsonWriter& json, const BurstStudy& study) {
  json.begin_object().key("name").value(study.name).key("what").value(study.what).key("rows").begin_array();
  for (const BurstRow& row : study.rows) {
    json.begin_object().key("contender").value(row.contender).key("tasks").value(row.tasks);
    json.key("cold_starts").value(row.cold_starts).key("thread_seconds").value(std::round(row.thread_seconds));
    json.key("use").value(short_of(row.use)).key("most").value(row.most);
    json.key("to_floor_s").value(short_of(row.to_floor_s)).key("moments").begin_array();  // null: never
    for (const PoolMoment& moment : row.moments) {                                        // [seconds, live, busy]
      json.begin_array().value(short_of(moment.time_s)).value(moment.live).value(moment.busy).end_array();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

std::string time_text(double seconds) {
  if (!std::isfinite(seconds)) return "never";
  return seconds < 600 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.1f} min", seconds / 60);
}

}  // namespace

std::string as_table(const std::vector<BurstStudy>& bursts) {
  std::string text = "an elastic pool, by how it lets idle workers go\n\n";
  for (const BurstStudy& study : bursts) {
    text += fmt::format("{}: {}\n", study.name, study.what);
    text += fmt::format("  {:<18}{:>9}{:>13}{:>16}{:>7}{:>8}{:>20}\n", "", "tasks", "cold starts", "thread-seconds",
                        "busy", "most", fmt::format("down to {} after", kPoolFloor));
    for (const BurstRow& row : study.rows) {
      text += fmt::format("  {:<18}{:>9.0f}{:>13.0f}{:>16.0f}{:>5.0f} %{:>8.0f}{:>20}\n", row.contender, row.tasks,
                          row.cold_starts, row.thread_seconds, 100 * row.use, row.most, time_text(row.to_floor_s));
    }
    text += "\n";
  }
  return text;
}

std::string as_table(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts) {
  std::string text;
  for (const ScenarioStudy& study : studies) {
    text += fmt::format("{}: {}\n", study.name, study.what);
    text += fmt::format("  {:<18}{:>8}{:>10}{:>8}{:>10}{:>10}{:>16}{:>7}{:>7}\n", "", "served", "rejected", "failed",
                        "p50", "p99", "worker-seconds", "busy", "most");
    for (const Row& row : study.rows) {
      text += fmt::format("  {:<18}{:>8.0f}{:>10.0f}{:>8.0f}{:>8.2f} s{:>8.2f} s{:>16.0f}{:>5.0f} %{:>7.0f}\n",
                          row.contender, row.served, row.rejected, row.failed, row.p50_s, row.p99_s, row.worker_seconds,
                          100 * row.use, row.most_workers);
    }
    text += verdict(study) + "\n";
  }
  text += fmt::format("limits under a load that never ends; the provider has {} slots\n", kDriftSlots);
  text += fmt::format("  {:<18}{:<14}{:>12}{:>10}{:>10}{:>12}{:>14}\n", "", "", "calls", "limit", "highest",
                      "slots used", "mean RTT");
  for (const DriftStudy& drift : drifts) {
    text +=
        fmt::format("  {:<18}{:<14}{:>12}{:>10}{:>10}{:>10.1f} %{:>11.0f} ms\n", drift.name,
                    drift.by_formula ? "by formula" : "by events", drift.result.points.back().calls, drift.result.last,
                    drift.result.highest, 100 * drift.result.use, 1000 * drift.result.mean_rtt_s);
  }
  text += "highest: in the second half of the calls\n";
  return text;
}

std::string as_json(const std::vector<ScenarioStudy>& studies, const std::vector<DriftStudy>& drifts,
                    const std::vector<BurstStudy>& bursts, std::uint64_t seeds) {
  penstock::JsonWriter json;
  json.begin_object().key("seeds").value(seeds).key("scenarios").begin_array();
  for (const ScenarioStudy& study : studies) {
    json.begin_object().key("name").value(study.name).key("what").value(study.what).key("rows").begin_array();
    for (const Row& row : study.rows) write(json, row);
    json.end_array().key("fixed_sizes").begin_array();
    for (const FixedSize& size : study.sizes) write(json, size.row);
    json.end_array().end_object();
  }
  json.end_array().key("drift").begin_object().key("slots").value(kDriftSlots).key("lines").begin_array();
  for (const DriftStudy& drift : drifts) {
    json.begin_object().key("name").value(drift.name).key("by_formula").value(drift.by_formula);
    json.key("has_probe").value(drift.has_probe).key("last").value(drift.result.last);
    json.key("highest").value(drift.result.highest).key("use").value(short_of(drift.result.use));
    json.key("mean_rtt_s").value(short_of(drift.result.mean_rtt_s)).key("points").begin_array();
    for (const DriftPoint& point : drift.result.points) {  // [calls, seconds, limit]
      json.begin_array().value(point.calls).value(short_of(point.time_s)).value(point.limit).end_array();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object().key("elastic").begin_array();
  for (const BurstStudy& study : bursts) write(json, study);
  json.end_array().end_object();
  return std::string(json.text()) + "\n";
}

}  // namespace simulation
