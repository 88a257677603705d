// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A scheduler with a time of its own and processes that do at once what they are told.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "penstock/swap/swap_scheduler.hpp"

namespace penstock::testing {

using std::chrono::seconds;

inline SwapSchedulerOptions models_named(std::vector<std::string> names, SwapSchedulerOptions options = {}) {
  for (std::string& name : names) options.models.push_back({.name = std::move(name)});
  return options;
}

/// Times are counted from one hour after the epoch.
struct SwapBench {
  explicit SwapBench(SwapSchedulerOptions options) : scheduler(std::move(options)) {}

  ModelId id(const char* name) const { return *scheduler.models().find(name); }
  void at(Duration time) { now = TimePoint(std::chrono::hours(1)) + time; }

  TicketId ask(const char* model, SwapRequest request = {}) {
    out.clear();
    request.model = id(model);
    return scheduler.on_request(request, now, out);
  }
  void done(TicketId ticket) {
    out.clear();
    scheduler.on_serve_done(ticket, now, out);
  }
  void tick() {
    out.clear();
    scheduler.on_timer(now, out);
  }
  /// The swap that the last event began, or that is under way to `model`, has ended; its victims have stopped.
  void up(const char* model) {
    const SwapId swap = scheduler.model_load(id(model)).swap;
    for (const auto& [each, victims] : begun) {
      if (each != swap) continue;
      for (const ModelId victim : victims) state(victim, ModelState::kStopped);
    }
    state(id(model), ModelState::kReady);
    out.clear();
    scheduler.on_swap_done(swap, true, now, out);
  }
  void fail(const char* model) {
    const SwapId swap = scheduler.model_load(id(model)).swap;
    out.clear();
    scheduler.on_swap_done(swap, false, now, out);
  }
  void state(ModelId model, ModelState state) {
    out.clear();
    scheduler.on_model_state(model, state, now, out);
    note();
  }
  /// Remembers whom swaps evict; to be called before `up` by who begins one.
  void note() {
    for (const SwapAction& action : out) {
      if (const auto* const start = std::get_if<StartSwap>(&action)) {
        const auto evict = out.models(start->evict);
        begun.emplace_back(start->swap, std::vector<ModelId>(evict.begin(), evict.end()));
      }
    }
  }
  /// Brings `model` up for a request that is done at once.
  void warm(const char* model) {
    const TicketId ticket = ask(model);
    note();
    if (scheduler.state(ticket) == TicketState::kJoined) up(model);
    done(ticket);
    note();
  }

  /// The model that the last event began to bring up.
  std::optional<std::string> started() {
    note();
    for (const SwapAction& action : out) {
      if (const auto* const start = std::get_if<StartSwap>(&action)) {
        return std::string(scheduler.models().name(start->target));
      }
    }
    return std::nullopt;
  }
  template <class Action>
  std::optional<Action> last() const {
    std::optional<Action> found;
    for (const SwapAction& action : out) {
      if (const auto* const each = std::get_if<Action>(&action)) found = *each;
    }
    return found;
  }
  std::optional<SwapReason> refused() const {
    const auto action = last<RejectTicket>();
    return action ? std::optional(action->reason) : std::nullopt;
  }
  bool is(TicketId ticket, TicketState state) const { return scheduler.state(ticket) == state; }

  SwapScheduler scheduler;
  SwapActions out;
  TimePoint now{std::chrono::hours(1)};
  std::vector<std::pair<SwapId, std::vector<ModelId>>> begun;
};

}  // namespace penstock::testing
