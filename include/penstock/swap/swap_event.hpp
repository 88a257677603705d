// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler is told, as values: to be recorded, replayed, simulated and watched.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_action.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_scheduler.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// `SwapScheduler::on_request`.
struct RequestEvent {
  SwapRequest request;
};

/// `SwapScheduler::on_cancel`.
struct CancelEvent {
  TicketId ticket{};
};

/// `SwapScheduler::on_grant_refused`.
struct GrantRefusedEvent {
  TicketId ticket{};
};

/// `SwapScheduler::on_serve_done`.
struct ServeDoneEvent {
  TicketId ticket{};
};

/// `SwapScheduler::on_swap_done`.
struct SwapDoneEvent {
  SwapId swap{};
  bool succeeded = false;
};

/// `SwapScheduler::on_model_state`.
struct ModelStateEvent {
  ModelId model = kNoModel;
  ModelState state = ModelState::kStopped;
};

/// `SwapScheduler::on_unload`. The models are somebody else's, and have to stay as long as the event is used.
struct UnloadEvent {
  std::span<const ModelId> models;
  Duration timeout{};
};

/// `SwapScheduler::on_stopped`.
struct StoppedEvent {
  StopId stop{};
};

/// `SwapScheduler::on_timer`.
struct TimerEvent {};

/// `SwapScheduler::on_shutdown`.
struct ShutdownEvent {};

/// The order is part of the decision log's format: add at the end only.
using SwapEvent = std::variant<RequestEvent, CancelEvent, GrantRefusedEvent, ServeDoneEvent, SwapDoneEvent,
                               ModelStateEvent, UnloadEvent, StoppedEvent, TimerEvent, ShutdownEvent>;

/// The name of the event, such as "serve_done".
std::string_view name_of(const SwapEvent& event) noexcept;

/// Tells `scheduler`, a `SwapScheduler` or what has the same events, of `event`.
///
/// Returns: what its function returned, as a number: that of the ticket; 1 for true; that of the stop, 0 for none; 0 if
/// it returns nothing.
template <class Scheduler>
std::uint64_t apply(Scheduler& scheduler, const SwapEvent& event, TimePoint now, SwapActions& out);

/// Watches each event that a scheduler is told of, and what it brought about: a decision log, a test, a trace.
///
/// Threads: one event after the other; must not wait. By a `SwapRunner`, called on its thread; if it is quick, also on
/// those of clients.
class SwapObserver {
 public:
  virtual ~SwapObserver() = default;

  /// `result` is what `apply` returns; what the event brought about is `actions[first]` and all behind it. Both are
  /// valid during the call.
  virtual void on_decision(const SwapEvent& event, TimePoint now, std::uint64_t result, const SwapActions& actions,
                           std::size_t first) noexcept = 0;

  /// Whether it takes no longer than some microseconds, and calls nobody's code: then a client may be made to call it.
  /// Always the same.
  [[nodiscard]] virtual bool is_quick() const noexcept { return false; }
};

// --- implementation ---

namespace detail {

/// Calls the function of the scheduler that an event stands for.
template <class Scheduler>
struct ApplyEvent {
  Scheduler& scheduler;
  TimePoint now;
  SwapActions& out;

  std::uint64_t operator()(const RequestEvent& event) const {
    return static_cast<std::uint64_t>(scheduler.on_request(event.request, now, out));
  }
  std::uint64_t operator()(const CancelEvent& event) const { return scheduler.on_cancel(event.ticket, now, out); }
  std::uint64_t operator()(const GrantRefusedEvent& event) const {
    return scheduler.on_grant_refused(event.ticket, now, out);
  }
  std::uint64_t operator()(const ServeDoneEvent& event) const {
    return scheduler.on_serve_done(event.ticket, now, out);
  }
  std::uint64_t operator()(const SwapDoneEvent& event) const {
    return scheduler.on_swap_done(event.swap, event.succeeded, now, out);
  }
  std::uint64_t operator()(const ModelStateEvent& event) const {
    return scheduler.on_model_state(event.model, event.state, now, out);
  }
  std::uint64_t operator()(const UnloadEvent& event) const {
    return static_cast<std::uint64_t>(scheduler.on_unload(event.models, event.timeout, now, out).value_or(StopId{}));
  }
  std::uint64_t operator()(const StoppedEvent& event) const { return scheduler.on_stopped(event.stop, now, out); }
  std::uint64_t operator()(const TimerEvent&) const {
    scheduler.on_timer(now, out);
    return 0;
  }
  std::uint64_t operator()(const ShutdownEvent&) const {
    scheduler.on_shutdown(now, out);
    return 0;
  }
};

}  // namespace detail

template <class Scheduler>
std::uint64_t apply(Scheduler& scheduler, const SwapEvent& event, TimePoint now, SwapActions& out) {
  return std::visit(detail::ApplyEvent<Scheduler>{scheduler, now, out}, event);
}

}  // namespace penstock::inline PENSTOCK_ABI
