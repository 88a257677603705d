// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The reference scheduler and another one, told the same: every action, every answer, every count and place compared.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "swap/reference_scheduler.hpp"
#include "swap/swap_invariants.hpp"
#include "swap/swap_side.hpp"
#include "swap/swap_world.hpp"

namespace penstock::testing {

template <class Other>
class Duel {
 public:
  template <class... Arguments>
  explicit Duel(const World& world, const Arguments&... arguments)
      : world_(world),
        reference_(world.options),
        other_(world.options, arguments...),
        invariants_(world.options),
        looks_at_all_(world.kind != WorldKind::kDeep && world.kind != WorldKind::kWide) {
    underway_.swaps_to.resize(world.options.models.size());
  }

  /// Both are told. What they do not have in common, or what is against a law; empty: nothing.
  std::string take(const Step& step);
  /// What must be true once nothing more comes.
  std::string finish();

  [[nodiscard]] const Underway& underway() const noexcept { return underway_; }
  [[nodiscard]] const ReferenceScheduler& reference() const noexcept { return reference_.scheduler; }
  [[nodiscard]] Other& other() noexcept { return other_.scheduler; }

 private:
  [[nodiscard]] std::string compare_actions();
  [[nodiscard]] std::string compare(const SwapAction& ours, const SwapAction& theirs);
  [[nodiscard]] std::string compare_counts() const;
  [[nodiscard]] std::string compare_place(std::size_t number) const;
  [[nodiscard]] std::string compare_places();
  [[nodiscard]] std::string compare_guess(std::size_t number);
  [[nodiscard]] std::string compare_loads() const;
  [[nodiscard]] Meaning meaning_of(const Step& step) const;
  void follow(const Step& step, const Meaning& meaning);
  [[nodiscard]] bool is_same(TicketId ours, TicketId theirs) const {
    const std::size_t number = static_cast<std::size_t>(ours) - 1;
    return number < other_.tickets.size() && other_.tickets[number] == theirs;
  }
  [[nodiscard]] bool is_same(SwapId ours, SwapId theirs) const {
    const std::size_t number = static_cast<std::size_t>(ours) - 1;
    return ours == SwapId{} ? theirs == SwapId{} : number < other_.swaps.size() && other_.swaps[number] == theirs;
  }

  const World& world_;
  Side<ReferenceScheduler> reference_;
  Side<Other> other_;
  SwapInvariants invariants_;
  const bool looks_at_all_;
  Underway underway_;
  std::vector<std::size_t> open_;     // requests that had not ended yet, by number
  std::vector<std::uint32_t> names_;  // of the requests, by number
  TimePoint now_ = TimePoint(std::chrono::seconds(1));
  std::uint64_t steps_ = 0;
  Random sampling_{1};
};

// --- implementation ---

template <class Other>
std::string Duel<Other>::take(const Step& step) {
  now_ += std::chrono::microseconds(step.after_us);
  const Meaning meaning = meaning_of(step);
  const std::uint64_t ours = reference_.tell(step, meaning, now_);
  const SwapEvent event = other_.event(step, meaning, now_);
  const std::uint64_t theirs = other_.tell(step, meaning, now_);
  ++steps_;
  if (steps_ % 61 == 0 && world_.seed % 4 == 0) {  // a copy goes on as the original would
    Other copy(other_.scheduler);
    other_.scheduler = std::move(copy);
  }
  if (step.what != Step::What::kRequest && (ours != 0) != (theirs != 0)) {
    return "the answer is " + std::to_string(theirs) + ", not " + std::to_string(ours);
  }
  if (std::string difference = compare_actions(); !difference.empty()) return difference;
  follow(step, meaning);
  if (std::string difference = compare_counts(); !difference.empty()) return difference;
  if (std::string difference = compare_places(); !difference.empty()) return difference;
  if (looks_at_all_ && steps_ % 4 == 0) {
    if (std::string difference = compare_loads(); !difference.empty()) return difference;
  }
  if (looks_at_all_ || world_.kind == WorldKind::kDeep) {
    invariants_.saw(event, theirs, other_.out, 0, other_.scheduler);
    if (looks_at_all_ && steps_ % 64 == 0) invariants_.look_at_queue(other_.scheduler);
    if (!invariants_.violations().empty()) return "against the law " + invariants_.violations().front();
  }
  return "";
}

template <class Other>
std::string Duel<Other>::finish() {
  if (*world_.bad_questions != 0) return "against the law I7: a planner was asked what makes no sense";
  if (reference_.scheduler.queued() != 0) {
    return "all has ended, and " + std::to_string(reference_.scheduler.queued()) + " still wait in the queue";
  }
  if (!looks_at_all_ && world_.kind != WorldKind::kDeep) return "";
  invariants_.finish();
  return invariants_.violations().empty() ? "" : "against the law " + invariants_.violations().front();
}

template <class Other>
std::string Duel<Other>::compare_actions() {
  const SwapActions& ours = reference_.out;
  const SwapActions& theirs = other_.out;
  for (std::size_t i = 0; i != std::max(ours.size(), theirs.size()); ++i) {
    const std::string place = "action " + std::to_string(i) + " is ";
    if (i >= ours.size()) return place + to_text(theirs[i], theirs) + ", not nothing";
    if (i >= theirs.size()) return place + "nothing, not " + to_text(ours[i], ours);
    if (const std::string what = compare(ours[i], theirs[i]); !what.empty()) {
      return place + to_text(theirs[i], theirs) + ", not " + to_text(ours[i], ours) + " (" + what + ')';
    }
  }
  return "";
}

template <class Other>
std::string Duel<Other>::compare(const SwapAction& ours, const SwapAction& theirs) {
  if (ours.index() != theirs.index()) return "kind";
  const auto same_models = [&](ModelList a, ModelList b) {
    const auto left = reference_.out.models(a);
    const auto right = other_.out.models(b);
    return std::equal(left.begin(), left.end(), right.begin(), right.end());
  };
  if (const auto* const a = std::get_if<StartSwap>(&ours)) {
    const auto& b = std::get<StartSwap>(theirs);
    reference_.swaps.push_back(a->swap);
    other_.swaps.push_back(b.swap);
    if (a->target != b.target) return "target";
    if (!same_models(a->evict, b.evict)) return "evict";
    return a->reason == b.reason ? "" : "reason";
  }
  if (const auto* const a = std::get_if<CancelSwap>(&ours)) {
    const auto& b = std::get<CancelSwap>(theirs);
    if (!is_same(a->swap, b.swap)) return "swap";
    return a->target == b.target && a->reason == b.reason ? "" : "target or reason";
  }
  if (const auto* const a = std::get_if<GrantTicket>(&ours)) {
    const auto& b = std::get<GrantTicket>(theirs);
    if (!is_same(a->ticket, b.ticket)) return "ticket";
    return a->model == b.model && a->reason == b.reason ? "" : "model or reason";
  }
  if (const auto* const a = std::get_if<RejectTicket>(&ours)) {
    const auto& b = std::get<RejectTicket>(theirs);
    if (!is_same(a->ticket, b.ticket)) return "ticket";
    if (!is_same(a->swap, b.swap)) return "swap";
    if (a->retry_after != b.retry_after) {
      return "to be tried again after " + std::to_string(b.retry_after.count()) + " ns, not " +
             std::to_string(a->retry_after.count());
    }
    return a->model == b.model && a->reason == b.reason ? "" : "model or reason";
  }
  if (const auto* const a = std::get_if<StopModels>(&ours)) {
    const auto& b = std::get<StopModels>(theirs);
    reference_.stops.push_back(a->stop);
    other_.stops.push_back(b.stop);
    if (!same_models(a->models, b.models)) return "models";
    return a->timeout == b.timeout && a->reason == b.reason ? "" : "timeout or reason";
  }
  return std::get<WakeAt>(ours) == std::get<WakeAt>(theirs) ? "" : "time";
}

template <class Other>
std::string Duel<Other>::compare_counts() const {
  const SwapStats& ours = reference_.scheduler.stats();
  const SwapStats& theirs = other_.scheduler.stats();
  std::string differences;
  const auto look = [&](const char* name, std::uint64_t expected, std::uint64_t got) {
    if (got == expected) return;
    differences += std::string(differences.empty() ? "" : ", ") + name + " is " + std::to_string(got) + ", not " +
                   std::to_string(expected);
  };
  look("queued()", reference_.scheduler.queued(), other_.scheduler.queued());
  look("is_shut_down", reference_.scheduler.is_shut_down(), other_.scheduler.is_shut_down());
  look("queued", ours.queued, theirs.queued);
  look("joined", ours.joined, theirs.joined);
  look("in_flight", ours.in_flight, theirs.in_flight);
  look("swaps_active", ours.swaps_active, theirs.swaps_active);
  look("stops_active", ours.stops_active, theirs.stops_active);
  look("queued_high_water", ours.queued_high_water, theirs.queued_high_water);
  look("arrived", ours.arrived, theirs.arrived);
  look("granted", ours.granted, theirs.granted);
  look("granted_at_once", ours.granted_at_once, theirs.granted_at_once);
  look("served", ours.served, theirs.served);
  look("grants_refused", ours.grants_refused, theirs.grants_refused);
  look("cancelled", ours.cancelled, theirs.cancelled);
  for (std::size_t i = 0; i != kSwapReasons; ++i) look("refused", ours.refused[i], theirs.refused[i]);
  look("swaps_started", ours.swaps_started, theirs.swaps_started);
  look("swaps_succeeded", ours.swaps_succeeded, theirs.swaps_succeeded);
  look("swaps_failed", ours.swaps_failed, theirs.swaps_failed);
  look("swaps_cancelled", ours.swaps_cancelled, theirs.swaps_cancelled);
  look("evictions", ours.evictions, theirs.evictions);
  look("unloads", ours.unloads, theirs.unloads);
  look("idle_unloads", ours.idle_unloads, theirs.idle_unloads);
  look("ignored", ours.ignored, theirs.ignored);
  return differences;
}

template <class Other>
std::string Duel<Other>::compare_place(std::size_t number) const {
  const TicketId ours = reference_.tickets[number];
  const TicketId theirs = other_.tickets[number];
  if (reference_.scheduler.state(ours) != other_.scheduler.state(theirs)) {
    return "the state of request #" + std::to_string(number) + " is " +
           std::to_string(static_cast<int>(other_.scheduler.state(theirs))) + ", not " +
           std::to_string(static_cast<int>(reference_.scheduler.state(ours)));
  }
  const auto expected = reference_.scheduler.position(ours).value_or(0);
  const auto got = other_.scheduler.position(theirs).value_or(0);
  if (got == expected) return "";
  return "the position of request #" + std::to_string(number) + " is " + std::to_string(got) + ", not " +
         std::to_string(expected);
}

/// How long it still waits; and whether what is said to be in its way is.
template <class Other>
std::string Duel<Other>::compare_guess(std::size_t number) {
  const TicketId ours = reference_.tickets[number];
  const TicketId theirs = other_.tickets[number];
  const auto expected = reference_.scheduler.eta(ours, now_).value_or(Duration(-1));
  const auto got = other_.scheduler.eta(theirs, now_).value_or(Duration(-1));
  if (got != expected) {
    return "request #" + std::to_string(number) + " is to wait for " + std::to_string(got.count()) + " ns, not " +
           std::to_string(expected.count());
  }
  if constexpr (requires { other_.scheduler.explain(theirs, now_); }) {
    const SwapExplanation why = other_.scheduler.explain(theirs, now_);
    if (!reference_.scheduler.is_so(why, ours)) {
      return "what is said to be in the way of request #" + std::to_string(number) +
             " is not: " + to_text(why, reference_.scheduler.models());
    }
    if (why.obstacle == SwapObstacle::kNothing && reference_.scheduler.state(ours) == TicketState::kQueued &&
        reference_.scheduler.is_work_conserving()) {
      return "request #" + std::to_string(number) + " is queued, and nothing is in its way";
    }
  }
  return "";
}

/// All places in a small world; in a large one, of some. Those that have ended, once more and then now and then.
template <class Other>
std::string Duel<Other>::compare_places() {
  const std::size_t count = reference_.tickets.size();
  if (!looks_at_all_ || steps_ % 32 == 0) {
    for (std::size_t i = 0; i != std::min<std::size_t>(count, 4); ++i) {
      if (std::string difference = compare_place(sampling_.below(count)); !difference.empty()) return difference;
    }
  }
  if (!looks_at_all_) return "";
  for (const std::size_t each : open_) {
    if (std::string difference = compare_place(each); !difference.empty()) return difference;
    if (steps_ % 16 != 0) continue;
    if (std::string difference = compare_guess(each); !difference.empty()) return difference;
  }
  std::erase_if(open_, [&](std::size_t each) {
    return reference_.scheduler.state(reference_.tickets[each]) == TicketState::kEnded;
  });
  return "";
}

template <class Other>
std::string Duel<Other>::compare_loads() const {
  for (std::size_t i = 0; i != world_.options.models.size(); ++i) {
    const auto model = ModelId{static_cast<std::uint32_t>(i)};
    const ModelLoad ours = reference_.scheduler.model_load(model);
    const ModelLoad theirs = other_.scheduler.model_load(model);
    if (theirs.queued + theirs.joined > world_.options.max_queued_per_model) {
      return std::to_string(theirs.queued + theirs.joined) + " wait for m" + std::to_string(i);
    }
    const bool same = ours.queued == theirs.queued && ours.joined == theirs.joined &&
                      ours.in_flight == theirs.in_flight && is_same(ours.swap, theirs.swap) &&
                      ours.swap_time == theirs.swap_time && ours.serve_time == theirs.serve_time &&
                      reference_.scheduler.model_state(model) == other_.scheduler.model_state(model);
    if (same) continue;
    return "the load of m" + std::to_string(i) + " (queued, joined, in flight) is " + std::to_string(theirs.queued) +
           ", " + std::to_string(theirs.joined) + ", " + std::to_string(theirs.in_flight) + ", not " +
           std::to_string(ours.queued) + ", " + std::to_string(ours.joined) + ", " + std::to_string(ours.in_flight) +
           ", or its swap, state or times are others";
  }
  return "";
}

template <class Other>
Meaning Duel<Other>::meaning_of(const Step& step) const {
  // The reference counts from 1 on.
  const auto number_of = [](auto id) { return static_cast<std::size_t>(id) - 1; };
  Meaning meaning;
  if (step.what == Step::What::kSwapDone && step.which < underway_.swaps_to.size()) {
    const std::vector<SwapId>& all = underway_.swaps_to[step.which];
    if (step.name < all.size()) meaning.swap = number_of(all[all.size() - 1 - step.name]);
  } else if (step.what == Step::What::kStopped) {
    if (step.name < underway_.stops_begun) meaning.stop = underway_.stops_begun - 1 - step.name;
  } else if (step.which < underway_.tickets.size() && underway_.tickets[step.which] != TicketId{}) {
    meaning.ticket = number_of(underway_.tickets[step.which]);
  }
  return meaning;
}

/// Keeps up with what is under way.
template <class Other>
void Duel<Other>::follow(const Step& step, const Meaning& meaning) {
  if (step.what == Step::What::kRequest) {
    if (underway_.tickets.size() <= step.name) underway_.tickets.resize(step.name + std::size_t{1});
    underway_.tickets[step.name] = reference_.tickets.back();
    names_.push_back(step.name);
    if (looks_at_all_) open_.push_back(names_.size() - 1);
  }
  if (step.what == Step::What::kServed || step.what == Step::What::kRefuse) std::erase(underway_.granted, step.which);
  if (meaning.swap) {
    std::erase_if(underway_.swaps, [&](const auto& each) { return each.id == reference_.swaps[*meaning.swap]; });
  }
  if (meaning.stop) {
    std::erase_if(underway_.stops, [&](const auto& each) { return each.id == reference_.stops[*meaning.stop]; });
  }
  const SwapActions& out = reference_.out;
  for (const SwapAction& each : out) {
    if (const auto* const grant = std::get_if<GrantTicket>(&each)) {
      underway_.granted.push_back(names_[static_cast<std::size_t>(grant->ticket) - 1]);
    }
    if (const auto* const start = std::get_if<StartSwap>(&each)) {
      const auto evict = out.models(start->evict);
      underway_.swaps.push_back({start->swap, start->target, {evict.begin(), evict.end()}});
      underway_.swaps_to[static_cast<std::size_t>(start->target)].push_back(start->swap);
    }
    if (const auto* const stop = std::get_if<StopModels>(&each)) {
      const auto models = out.models(stop->models);
      underway_.stops.push_back({stop->stop, {models.begin(), models.end()}});
      ++underway_.stops_begun;
    }
  }
}

}  // namespace penstock::testing
