// SPDX-License-Identifier: MIT
#include "swap.hpp"

#include <cmath>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "median.hpp"
#include "penstock/core/detail/duration_text.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "strict_fifo.hpp"

namespace simulation {
namespace {

using namespace penstock;
using namespace std::chrono_literals;
using Shape = RandomDuration::Shape;

struct Contender {
  std::string name;
  std::function<void(SwapSimulation&)> change;
};

struct Load {
  std::string name;
  std::string what;
  SwapSimulation simulation;
  std::vector<Contender> contenders;
};

/// Models of one exclusive group, any number of requests at a time.
SwapSimulation models_named(const std::vector<std::string>& names, Duration start) {
  SwapSimulation simulation{.duration = 6h};
  simulation.scheduler.limit_at = LimitAt::kGrant;
  for (const std::string& name : names) {
    simulation.scheduler.models.push_back({.name = name, .concurrency_limit = 1'000'000, .start_time = start});
  }
  return simulation;
}

SwapWorkload poisson(std::string model, double per_second, RandomDuration service = {6s, Shape::kExponential}) {
  return {.model = std::move(model), .arrivals = PoissonArrivals{.per_second = per_second}, .service = service};
}

const Contender kPublished{"published", [](SwapSimulation& s) { s.scheduler.conduct = SwapConduct::kPublished; }};
const Contender kAsItComes{"as it comes", [](SwapSimulation&) {}};
const Contender kMaxWait{"max wait", [](SwapSimulation& s) { s.scheduler.max_wait = 60s; }};

std::vector<Contender> wait_contenders() {
  return {{"strict FIFO",
           [](SwapSimulation& s) {
             s.decide = [fifo = StrictFifo()](const SwapEvent& event, TimePoint, SwapActions& out) mutable {
               return fifo(event, out);
             };
           }},
          kPublished,
          kAsItComes,
          {"by cost", [](SwapSimulation& s) { s.scheduler.batching.by_cost = true; }},
          kMaxWait,
          {"max wait, by cost", [](SwapSimulation& s) {
             s.scheduler.max_wait = 60s;
             s.scheduler.batching.by_cost = true;
           }}};
}

std::vector<Load> loads() {
  std::vector<Load> loads;
  SwapSimulation hot = models_named({"A", "B", "C"}, 20s);
  hot.workloads = {poisson("A", 1), poisson("B", 0.05), poisson("C", 0.01)};
  loads.push_back({"hot", "A 1/s, B 0.05/s, C 0.01/s, 6 s each; a swap takes 20 s", hot, wait_contenders()});

  SwapSimulation moderate = models_named({"A", "B", "C"}, 20s);
  moderate.workloads = {poisson("A", 0.02), poisson("B", 0.02), poisson("C", 0.01)};
  loads.push_back(
      {"moderate", "A 0.02/s, B 0.02/s, C 0.01/s, 6 s each; a swap takes 20 s", moderate, wait_contenders()});

  SwapSimulation failing = models_named({"A", "B"}, 20s);
  failing.workloads = {poisson("A", 0.2), poisson("B", 0.05)};
  failing.models = {{.name = "B", .start_failure = 1}};
  loads.push_back(
      {"failing",
       "A 0.2/s; B 0.05/s, which never loads; 6 s each; a swap takes 20 s",
       failing,
       {kPublished, kAsItComes, {"back-off", [](SwapSimulation& s) { s.scheduler.back_off.first = 30s; }}}});

  SwapSimulation tenants = models_named({"A", "B"}, 20s);
  tenants.scheduler.limit_at = LimitAt::kService;
  for (SwapModel& model : tenants.scheduler.models) model.concurrency_limit = 4;
  tenants.scheduler.tenants = {{.name = "batch"}, {.name = "chat"}};
  tenants.workloads = {poisson("A", 0.05), poisson("B", 0.02)};
  for (SwapWorkload& chat : tenants.workloads) chat.tenant = TenantId{1};
  tenants.workloads.push_back(
      {.model = "A", .arrivals = BurstArrivals{.every = 10min, .size = 150}, .service = {6s, Shape::kExponential}});
  loads.push_back({"tenants",
                   "chat: A 0.05/s, B 0.02/s; batch: 150 requests for A every 10 minutes; 4 at a time",
                   tenants,
                   {kAsItComes,
                    {"fair share", [](SwapSimulation& s) { s.scheduler.order = QueueOrder::kFairShare; }},
                    {"fair share, max wait", [](SwapSimulation& s) {
                       s.scheduler.order = QueueOrder::kFairShare;
                       s.scheduler.max_wait = 60s;
                     }}}});

  SwapSimulation priorities = models_named({"A", "B", "C"}, 20s);
  priorities.workloads = {poisson("A", 0.05), poisson("B", 0.05), poisson("C", 0.02)};
  priorities.scheduler.models[0].priority = 1;
  priorities.scheduler.models[1].priority = 1;
  loads.push_back({"priorities",
                   "A and B 0.05/s with priority 1, C 0.02/s with priority 0; a swap takes 20 s",
                   priorities,
                   {kAsItComes, {"aging 60 s", [](SwapSimulation& s) { s.scheduler.aging_step = 60s; }}, kMaxWait}});
  return loads;
}

SwapWaits waits_of(const std::vector<SimulatedRequests>& of_seeds) {
  const auto of = [&](const auto& figure) {
    std::vector<double> values;
    for (const SimulatedRequests& requests : of_seeds) values.push_back(static_cast<double>(figure(requests)));
    return median(std::move(values));
  };
  const auto wait = [&](Duration WaitFigures::*member) {
    return of([member](const SimulatedRequests& r) { return penstock::detail::seconds(r.waits.*member); });
  };
  return {.name = of_seeds.front().name,
          .mean_s = wait(&WaitFigures::mean),
          .p50_s = wait(&WaitFigures::p50),
          .p99_s = wait(&WaitFigures::p99),
          .max_s = wait(&WaitFigures::max),
          .served = of([](const SimulatedRequests& r) { return r.served; }),
          .unserved = of([](const SimulatedRequests& r) { return r.unserved; }),
          .refused = of([](const SimulatedRequests& r) {
            std::uint64_t sum = 0;
            for (const std::uint64_t count : r.refused) sum += count;
            return sum;
          })};
}

SwapRow measure(const Load& load, const Contender& contender, std::uint64_t seeds) {
  std::vector<SwapSimulationReport> reports;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SwapSimulation simulation = load.simulation;
    simulation.seed = seed;
    contender.change(simulation);
    reports.push_back(simulate(simulation));
  }
  SwapRow row{.contender = contender.name};
  const auto of = [&](const auto& figure) {
    std::vector<double> values;
    for (const SwapSimulationReport& report : reports) values.push_back(static_cast<double>(figure(report)));
    return median(std::move(values));
  };
  row.swaps = of([](const SwapSimulationReport& r) { return r.swaps; });
  row.swap_time_share = of([](const SwapSimulationReport& r) { return r.swap_time_share; });
  const auto add = [&](const auto& pick) {
    std::vector<SimulatedRequests> parts;
    for (const SwapSimulationReport& report : reports) parts.push_back(pick(report));
    row.waits.push_back(waits_of(parts));
  };
  const auto& first = reports.front();
  for (std::size_t i = 0; i != first.models.size(); ++i) add([i](const auto& r) { return r.models[i]; });
  for (std::size_t i = 0; i + 1 < first.tenants.size(); ++i) add([i](const auto& r) { return r.tenants[i]; });
  add([](const auto& r) { return r.all; });
  return row;
}

double short_of(double value) { return std::round(value * 1000) / 1000; }

}  // namespace

std::vector<SwapStudy> swap_studies(std::uint64_t seeds, std::string_view only) {
  std::vector<SwapStudy> studies;
  for (const Load& load : loads()) {
    if (!only.empty() && load.name != only) continue;
    SwapStudy study{.name = load.name, .what = load.what};
    for (const Contender& contender : load.contenders) study.rows.push_back(measure(load, contender, seeds));
    studies.push_back(std::move(study));
  }
  return studies;
}

std::string as_table(const std::vector<SwapStudy>& studies) {
  std::string text = "a swap scheduler, by its policy: one model at a time, 6 h; waits in seconds\n\n";
  for (const SwapStudy& study : studies) {
    text += fmt::format("{}: {}\n  {:<22}{:>7}{:>9}", study.name, study.what, "", "swaps", "swapping");
    for (const SwapWaits& waits : study.rows.front().waits) {
      text += fmt::format("{:>24}", waits.name + " mean/p99/max");
    }
    text += fmt::format("{:>9}{:>10}{:>9}\n", "served", "unserved", "refused");
    for (const SwapRow& row : study.rows) {
      text += fmt::format("  {:<22}{:>7.0f}{:>7.0f} %", row.contender, row.swaps, 100 * row.swap_time_share);
      for (const SwapWaits& waits : row.waits) {
        text += fmt::format("{:>24}", fmt::format("{:.0f}/{:.0f}/{:.0f}", waits.mean_s, waits.p99_s, waits.max_s));
      }
      const SwapWaits& all = row.waits.back();
      text += fmt::format("{:>9.0f}{:>10.0f}{:>9.0f}\n", all.served, all.unserved, all.refused);
    }
    text += "\n";
  }
  return text;
}

std::string as_json(const std::vector<SwapStudy>& studies, std::uint64_t seeds) {
  penstock::JsonWriter json;
  json.begin_object().key("seeds").value(seeds).key("swap").begin_array();
  for (const SwapStudy& study : studies) {
    json.begin_object().key("name").value(study.name).key("what").value(study.what).key("rows").begin_array();
    for (const SwapRow& row : study.rows) {
      json.begin_object().key("contender").value(row.contender).key("swaps").value(row.swaps);
      json.key("swap_time_share").value(short_of(row.swap_time_share)).key("waits").begin_array();
      for (const SwapWaits& waits : row.waits) {
        json.begin_object().key("name").value(waits.name).key("mean_s").value(short_of(waits.mean_s));
        json.key("p50_s").value(short_of(waits.p50_s)).key("p99_s").value(short_of(waits.p99_s));
        json.key("max_s").value(short_of(waits.max_s)).key("served").value(waits.served);
        json.key("unserved").value(waits.unserved).key("refused").value(waits.refused).end_object();
      }
      json.end_array().end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  return std::string(json.text()) + "\n";
}

}  // namespace simulation
