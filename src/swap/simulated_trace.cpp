// SPDX-License-Identifier: MIT
// What a simulation is made of: its options, traces and mixes.
#include <cmath>
#include <cstddef>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/swap/decision_reader.hpp"
#include "penstock/swap/swap_simulator.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::OptionViolations;
using Shape = RandomDuration::Shape;

bool is_share(double value) { return value >= 0 && value <= 1; }

void check(OptionViolations& violations, const std::string& what, const RandomDuration& duration) {
  violations.require(duration.mean >= Duration::zero(), what + ".mean", "at least 0",
                     detail::duration_text(duration.mean));
  if (duration.shape == Shape::kUniform) {
    violations.require(is_share(duration.spread), what + ".spread", "in [0, 1]", duration.spread);
  }
  if (duration.shape == Shape::kLogNormal) {
    violations.require(duration.spread >= 0 && duration.spread <= 5, what + ".spread", "in [0, 5]", duration.spread);
  }
}

void check(OptionViolations& violations, const std::string& what, const Arrivals& arrivals) {
  const auto from = [&](Duration at) {
    violations.require(at >= Duration::zero(), what + ".arrivals.from", "at least 0", detail::duration_text(at));
  };
  if (const auto* poisson = std::get_if<PoissonArrivals>(&arrivals)) {
    violations.require(poisson->per_second > 0 && std::isfinite(poisson->per_second), what + ".arrivals.per_second",
                       "positive", poisson->per_second);
    from(poisson->from);
  } else if (const auto* bursts = std::get_if<BurstArrivals>(&arrivals)) {
    violations.require(bursts->every > Duration::zero(), what + ".arrivals.every", "positive",
                       detail::duration_text(bursts->every));
    violations.require(bursts->within >= Duration::zero(), what + ".arrivals.within", "at least 0",
                       detail::duration_text(bursts->within));
    from(bursts->from);
  } else {
    const RandomDuration& think = std::get<ClosedLoop>(arrivals).think;
    check(violations, what + ".arrivals.think", think);
    violations.require(think.mean > Duration::zero(), what + ".arrivals.think.mean", "positive",
                       detail::duration_text(think.mean));
  }
}

void check(OptionViolations& violations, const std::string& what, const SimulatedModel& model) {
  if (model.start) check(violations, what + ".start", *model.start);
  check(violations, what + ".stop", model.stop);
  violations.require(is_share(model.start_failure), what + ".start_failure", "in [0, 1]", model.start_failure);
  violations.require(is_share(model.start_hang), what + ".start_hang", "in [0, 1]", model.start_hang);
  violations.require(model.start_timeout > Duration::zero(), what + ".start_timeout", "positive",
                     detail::duration_text(model.start_timeout));
  violations.require(model.mean_time_to_crash > Duration::zero(), what + ".mean_time_to_crash", "positive",
                     detail::duration_text(model.mean_time_to_crash));
}

/// What a log tells of one request, so far.
struct Seen {
  std::size_t place = 0;  // in the trace
  TimePoint arrived;
  TimePoint granted = TimePoint::max();
};

}  // namespace

absl::Status SwapSimulation::validate() const {
  if (absl::Status status = scheduler.validate(); !status.ok()) return status;
  const ModelTable table(scheduler.models);
  OptionViolations violations;
  const auto known = [&](const std::string& what, const std::string& model) {
    violations.require(table.find(model).has_value(), what, "one of the scheduler's models",
                       fmt::format("'{}'", model));
  };
  for (std::size_t i = 0; i != models.size(); ++i) {
    const std::string what = fmt::format("models[{}]", i);
    known(what + ".name", models[i].name);
    check(violations, what, models[i]);
  }
  for (std::size_t i = 0; i != workloads.size(); ++i) {
    const std::string what = fmt::format("workloads[{}]", i);
    known(what + ".model", workloads[i].model);
    check(violations, what, workloads[i].arrivals);
    check(violations, what + ".service", workloads[i].service);
    check(violations, what + ".patience", workloads[i].patience);
    violations.require(is_share(workloads[i].gone_at_grant), what + ".gone_at_grant", "in [0, 1]",
                       workloads[i].gone_at_grant);
  }
  for (std::size_t i = 0; i != trace.size(); ++i) {
    const std::string what = fmt::format("trace[{}]", i);
    known(what + ".model", trace[i].model);
    violations.require(trace[i].at >= Duration::zero() && trace[i].service >= Duration::zero(), what,
                       "without negative times", detail::duration_text(std::min(trace[i].at, trace[i].service)));
  }
  violations.require(duration >= Duration::zero(), "duration", "at least 0", detail::duration_text(duration));
  return violations.status("swap simulation");
}

std::vector<SwapWorkload> hot_cold_mix(std::span<const std::string> models, std::size_t hot, double hot_share,
                                       double per_second, const RandomDuration& service) {
  std::vector<SwapWorkload> mix;
  const std::size_t cold = models.size() - std::min(hot, models.size());
  for (std::size_t i = 0; i != models.size(); ++i) {
    const double share = i < hot ? hot_share / static_cast<double>(hot) : (1 - hot_share) / static_cast<double>(cold);
    if (share * per_second <= 0) continue;
    mix.push_back(
        {.model = models[i], .arrivals = PoissonArrivals{.per_second = share * per_second}, .service = service});
  }
  return mix;
}

absl::StatusOr<std::vector<TracedRequest>> trace_of(std::span<const std::byte> log) {
  absl::StatusOr<DecisionReader> reader = DecisionReader::open(log);
  if (!reader.ok()) return reader.status();
  std::vector<TracedRequest> trace;
  std::vector<bool> is_served;
  std::unordered_map<std::uint64_t, Seen> seen;
  std::unordered_map<std::string, std::pair<Duration, std::int64_t>> services;  // their sum and number
  std::optional<TimePoint> begin;
  LoggedDecision decision;
  for (;;) {
    const absl::StatusOr<bool> is_there = reader->next(decision);
    if (!is_there.ok()) return is_there.status();
    if (!*is_there) break;
    if (!begin) begin = decision.now;
    if (const auto* asked = std::get_if<RequestEvent>(&decision.event)) {
      const SwapRequest& request = asked->request;
      if (static_cast<std::size_t>(request.model) >= reader->header().models.size()) continue;
      seen[decision.result] = {trace.size(), decision.now};
      trace.push_back(
          {.at = std::max(Duration::zero(), decision.now - *begin),
           .model = std::string(reader->header().name_of(request.model)),
           .priority = request.priority,
           .tenant = request.tenant,
           .deadline = request.deadline == TimePoint::max() ? Duration::max() : request.deadline - decision.now});
      is_served.push_back(false);
    } else if (const auto* cancelled = std::get_if<CancelEvent>(&decision.event)) {
      const auto found = seen.find(static_cast<std::uint64_t>(cancelled->ticket));
      if (found != seen.end() && decision.result != 0) {
        trace[found->second.place].patience = decision.now - found->second.arrived;
        seen.erase(found);
      }
    } else if (const auto* done = std::get_if<ServeDoneEvent>(&decision.event)) {
      const auto found = seen.find(static_cast<std::uint64_t>(done->ticket));
      if (found != seen.end() && found->second.granted != TimePoint::max()) {
        TracedRequest& request = trace[found->second.place];
        request.service = std::max(Duration::zero(), decision.now - found->second.granted);
        is_served[found->second.place] = true;
        auto& [sum, count] = services[request.model];
        sum += request.service;
        ++count;
        seen.erase(found);
      }
    }
    for (const SwapAction& action : decision.actions) {
      if (const auto* grant = std::get_if<GrantTicket>(&action)) {
        const auto found = seen.find(static_cast<std::uint64_t>(grant->ticket));
        if (found != seen.end()) found->second.granted = decision.now;
      }
    }
  }
  for (std::size_t i = 0; i != trace.size(); ++i) {
    const auto& [sum, count] = services[trace[i].model];
    if (!is_served[i] && count != 0) trace[i].service = sum / count;
  }
  return trace;
}

}  // namespace penstock::inline PENSTOCK_ABI
