// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_event.hpp"

#include <iterator>
#include <optional>

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Calls the function of the scheduler that an event stands for.
struct Apply {
  SwapScheduler& scheduler;
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
    const std::optional<StopId> stop = scheduler.on_unload(event.models, event.timeout, now, out);
    return stop ? static_cast<std::uint64_t>(*stop) : 0;
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

}  // namespace

std::string_view name_of(const SwapEvent& event) noexcept {
  static constexpr std::string_view kNames[] = {"request",     "cancel", "grant_refused", "serve_done", "swap_done",
                                                "model_state", "unload", "stopped",       "timer",      "shutdown"};
  static_assert(std::size(kNames) == std::variant_size_v<SwapEvent>);
  return kNames[event.index()];
}

std::uint64_t apply(SwapScheduler& scheduler, const SwapEvent& event, TimePoint now, SwapActions& out) {
  return std::visit(Apply{scheduler, now, out}, event);
}

}  // namespace penstock::inline PENSTOCK_ABI
