// SPDX-License-Identifier: MIT
#include <algorithm>
#include <variant>

#include <fmt/format.h>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/decision_reader.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Whether two actions are the same, wherever their lists are kept.
bool is_same(const SwapAction& a, const SwapActions& of_a, const SwapAction& b, const SwapActions& of_b) {
  const auto same_models = [&](ModelList list_a, ModelList list_b) {
    const auto models_a = of_a.models(list_a);
    const auto models_b = of_b.models(list_b);
    return std::equal(models_a.begin(), models_a.end(), models_b.begin(), models_b.end());
  };
  if (a.index() != b.index()) return false;
  if (const auto* start = std::get_if<StartSwap>(&a)) {
    StartSwap other = std::get<StartSwap>(b);
    if (!same_models(start->evict, other.evict)) return false;
    other.evict = start->evict;
    return *start == other;
  }
  if (const auto* stop = std::get_if<StopModels>(&a)) {
    StopModels other = std::get<StopModels>(b);
    if (!same_models(stop->models, other.models)) return false;
    other.models = stop->models;
    return *stop == other;
  }
  return a == b;
}

struct Comparison {
  const DecisionLogHeader& header;
  TimePoint begin;

  /// OK, or where they differ.
  [[nodiscard]] absl::Status check(const LoggedDecision& recorded, std::uint64_t result,
                                   const SwapActions& actions) const {
    if (recorded.result != result) {
      return differs(recorded, fmt::format("returned {}, and returns {}", recorded.result, result));
    }
    const std::size_t both = std::min(recorded.actions.size(), actions.size());
    for (std::size_t i = 0; i != both; ++i) {
      if (!is_same(recorded.actions[i], recorded.actions, actions[i], actions)) return at(recorded, actions, i);
    }
    if (recorded.actions.size() != actions.size()) return at(recorded, actions, both);
    return absl::OkStatus();
  }

 private:
  [[nodiscard]] absl::Status at(const LoggedDecision& recorded, const SwapActions& actions, std::size_t i) const {
    return differs(recorded, fmt::format("action {} of {} was: {}; of {} it is: {}", i + 1, recorded.actions.size(),
                                         text(recorded.actions, i), actions.size(), text(actions, i)));
  }
  [[nodiscard]] std::string text(const SwapActions& actions, std::size_t i) const {
    return i < actions.size() ? to_text(actions[i], actions, header, begin) : "nothing";
  }
  [[nodiscard]] absl::Status differs(const LoggedDecision& recorded, const std::string& how) const {
    return absl::AbortedError(fmt::format("decision log: {}: {}", to_text(recorded, header, begin), how));
  }
};

}  // namespace

absl::StatusOr<ReplayReport> replay(std::span<const std::byte> log, SwapScheduler& scheduler,
                                    const ReplayRange& range) {
  absl::StatusOr<DecisionReader> reader = DecisionReader::open(log);
  if (!reader.ok()) return reader.status();
  const std::uint64_t digest = decision_digest(scheduler.options());
  if (digest != reader->header().options_digest) {
    return absl::FailedPreconditionError(fmt::format("decision log: of options {:016x}, and the scheduler has {:016x}",
                                                     reader->header().options_digest, digest));
  }
  ReplayReport report;
  LoggedDecision decision;
  SwapActions actions;
  TimePoint begin{};
  for (std::uint64_t expected = range.from_event; expected < range.until_event;) {
    const absl::StatusOr<bool> is_there = reader->next(decision);
    if (!is_there.ok()) return is_there.status();
    if (!*is_there) break;
    if (decision.number < expected) continue;
    if (decision.number > expected) {
      return absl::OutOfRangeError(
          fmt::format("decision log: its beginning is lost: it has event {} and later ones, and the scheduler is as "
                      "before event {}",
                      decision.number, expected));
    }
    if (report.events == 0) begin = decision.now;
    actions.clear();
    const std::uint64_t result = apply(scheduler, decision.event, decision.now, actions);
    const Comparison comparison{reader->header(), begin};
    if (absl::Status status = comparison.check(decision, result, actions); !status.ok()) return status;
    ++report.events;
    report.actions += actions.size();
    ++expected;
  }
  return report;
}

}  // namespace penstock::inline PENSTOCK_ABI
