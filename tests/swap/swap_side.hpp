// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A scheduler that is told steps: what they mean to it, and what is under way then.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "penstock/swap/swap_event.hpp"
#include "swap/swap_world.hpp"

namespace penstock::testing {

/// What is under way, by number, as the reference has it.
struct Underway {
  struct Swap {
    SwapId id{};
    ModelId target = kNoModel;
    std::vector<ModelId> evict;
  };
  struct Stop {
    StopId id{};
    std::vector<ModelId> models;
  };
  std::vector<std::uint32_t> granted;  // their names
  std::vector<Swap> swaps;
  std::vector<Stop> stops;
  std::vector<TicketId> tickets;              // by name; 0: none
  std::vector<std::vector<SwapId>> swaps_to;  // by target, all that ever began
  std::size_t stops_begun = 0;

  /// The step that tells of a swap's end.
  [[nodiscard]] Step end_of(const Swap& swap, bool succeeded) const {
    const auto& all = swaps_to[static_cast<std::size_t>(swap.target)];
    const auto later = all.end() - std::find(all.begin(), all.end(), swap.id) - 1;
    return {.what = Step::What::kSwapDone,
            .which = static_cast<std::uint32_t>(swap.target),
            .name = static_cast<std::uint32_t>(later),
            .value = succeeded ? 1 : 0};
  }
  [[nodiscard]] Step end_of(const Stop& stop) const {
    return {.what = Step::What::kStopped,
            .name = static_cast<std::uint32_t>(stops_begun - static_cast<std::size_t>(stop.id))};
  }
};

/// The text of an action with the names that its scheduler gave.
[[nodiscard]] std::string to_text(const SwapAction& action, const SwapActions& actions);

/// The numbers, from 0 on, of what the steps mean.
struct Meaning {
  std::optional<std::size_t> ticket;
  std::optional<std::size_t> swap;
  std::optional<std::size_t> stop;
};

/// One of the two, and its names for the tickets, swaps and stops, by number.
template <class Scheduler>
struct Side {
  template <class... Arguments>
  explicit Side(const Arguments&... arguments) : scheduler(arguments...) {}

  /// Tells it; the answer as a number.
  std::uint64_t tell(const Step& step, const Meaning& meaning, TimePoint now);
  /// The event, with its own names.
  [[nodiscard]] SwapEvent event(const Step& step, const Meaning& meaning, TimePoint now) const;

  Scheduler scheduler;
  SwapActions out;
  std::vector<TicketId> tickets;
  std::vector<SwapId> swaps;
  std::vector<StopId> stops;
};

// --- implementation ---

template <class Scheduler>
SwapEvent Side<Scheduler>::event(const Step& step, const Meaning& meaning, TimePoint now) const {
  const auto named = [&](const auto& names, std::optional<std::size_t> number) {
    using Name = typename std::decay_t<decltype(names)>::value_type;
    return number && *number < names.size() ? names[*number] : Name{0xffff'ffff'0000'0000 + step.name};
  };
  switch (step.what) {
    case Step::What::kRequest: {
      const TimePoint deadline =
          step.deadline_us < 0 ? TimePoint::max() : now + std::chrono::microseconds(step.deadline_us);
      return RequestEvent{{.model = ModelId{step.which},
                           .priority = step.value,
                           .tenant = TenantId{step.tenant},
                           .deadline = deadline}};
    }
    case Step::What::kCancel:
      return CancelEvent{named(tickets, meaning.ticket)};
    case Step::What::kRefuse:
      return GrantRefusedEvent{named(tickets, meaning.ticket)};
    case Step::What::kServed:
      return ServeDoneEvent{named(tickets, meaning.ticket)};
    case Step::What::kSwapDone:
      return SwapDoneEvent{named(swaps, meaning.swap), step.value != 0};
    case Step::What::kState:
      return ModelStateEvent{ModelId{step.which}, static_cast<ModelState>(step.value)};
    case Step::What::kUnload:
      return UnloadEvent{step.models, std::chrono::milliseconds(5)};
    case Step::What::kStopped:
      return StoppedEvent{named(stops, meaning.stop)};
    case Step::What::kTimer:
      return TimerEvent{};
    case Step::What::kShutdown:
      break;
  }
  return ShutdownEvent{};
}

template <class Scheduler>
std::uint64_t Side<Scheduler>::tell(const Step& step, const Meaning& meaning, TimePoint now) {
  out.clear();
  const SwapEvent what = event(step, meaning, now);
  if (const auto* const each = std::get_if<RequestEvent>(&what)) {
    tickets.push_back(scheduler.on_request(each->request, now, out));
    return static_cast<std::uint64_t>(tickets.back());
  }
  if (const auto* const each = std::get_if<UnloadEvent>(&what)) {
    const std::optional<StopId> stop = scheduler.on_unload(each->models, each->timeout, now, out);
    return stop ? static_cast<std::uint64_t>(*stop) : 0;
  }
  if (const auto* const each = std::get_if<CancelEvent>(&what)) return scheduler.on_cancel(each->ticket, now, out);
  if (const auto* const each = std::get_if<GrantRefusedEvent>(&what)) {
    return scheduler.on_grant_refused(each->ticket, now, out);
  }
  if (const auto* const each = std::get_if<ServeDoneEvent>(&what)) {
    return scheduler.on_serve_done(each->ticket, now, out);
  }
  if (const auto* const each = std::get_if<SwapDoneEvent>(&what)) {
    return scheduler.on_swap_done(each->swap, each->succeeded, now, out);
  }
  if (const auto* const each = std::get_if<ModelStateEvent>(&what)) {
    return scheduler.on_model_state(each->model, each->state, now, out);
  }
  if (const auto* const each = std::get_if<StoppedEvent>(&what)) return scheduler.on_stopped(each->stop, now, out);
  if (std::holds_alternative<TimerEvent>(what)) scheduler.on_timer(now, out);
  if (std::holds_alternative<ShutdownEvent>(what)) scheduler.on_shutdown(now, out);
  return 0;
}

}  // namespace penstock::testing
