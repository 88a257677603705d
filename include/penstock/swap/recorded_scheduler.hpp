// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A swap scheduler and its decision log in one, where no runner records.

#include <cstdint>
#include <optional>
#include <span>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/swap_event.hpp"
#include "penstock/swap/swap_scheduler.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A scheduler as it was before an event: where a replay may begin.
struct SwapCheckpoint {
  std::uint64_t event = 0;  ///< for `ReplayRange::from_event`
  SwapScheduler scheduler;
};

/// Has the events of a `SwapScheduler`, passes them on, and records them. One that throws is not recorded.
///
/// Threads: none of its own, but for the log.
class RecordedScheduler {
 public:
  /// Throws: as `SwapScheduler` and `DecisionLog`.
  explicit RecordedScheduler(const SwapSchedulerOptions& options, DecisionLogOptions log = {});
  /// Goes on from a checkpoint, with a log of its own that begins there.
  explicit RecordedScheduler(SwapCheckpoint checkpoint, DecisionLogOptions log = {});

  /// Each as in `SwapScheduler`.
  TicketId on_request(const SwapRequest& request, TimePoint now, SwapActions& out) {
    return TicketId{tell(RequestEvent{request}, now, out)};
  }
  bool on_cancel(TicketId ticket, TimePoint now, SwapActions& out) { return tell(CancelEvent{ticket}, now, out) != 0; }
  bool on_grant_refused(TicketId ticket, TimePoint now, SwapActions& out) {
    return tell(GrantRefusedEvent{ticket}, now, out) != 0;
  }
  bool on_serve_done(TicketId ticket, TimePoint now, SwapActions& out) {
    return tell(ServeDoneEvent{ticket}, now, out) != 0;
  }
  bool on_swap_done(SwapId swap, bool succeeded, TimePoint now, SwapActions& out) {
    return tell(SwapDoneEvent{swap, succeeded}, now, out) != 0;
  }
  bool on_model_state(ModelId model, ModelState state, TimePoint now, SwapActions& out) {
    return tell(ModelStateEvent{model, state}, now, out) != 0;
  }
  std::optional<StopId> on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now, SwapActions& out) {
    const std::uint64_t stop = tell(UnloadEvent{models, timeout}, now, out);
    return stop == 0 ? std::nullopt : std::optional(StopId{stop});
  }
  bool on_stopped(StopId stop, TimePoint now, SwapActions& out) { return tell(StoppedEvent{stop}, now, out) != 0; }
  void on_timer(TimePoint now, SwapActions& out) { tell(TimerEvent{}, now, out); }
  void on_shutdown(TimePoint now, SwapActions& out) { tell(ShutdownEvent{}, now, out); }

  /// Any event; as `apply`.
  std::uint64_t tell(const SwapEvent& event, TimePoint now, SwapActions& out);

  [[nodiscard]] const SwapScheduler& scheduler() const noexcept { return scheduler_; }
  [[nodiscard]] DecisionLog& log() noexcept { return log_; }
  [[nodiscard]] const DecisionLog& log() const noexcept { return log_; }
  /// Cost: copies the scheduler.
  [[nodiscard]] SwapCheckpoint checkpoint() const { return {events_, scheduler_}; }

 private:
  std::uint64_t events_;
  SwapScheduler scheduler_;
  DecisionLog log_;
};

}  // namespace penstock::inline PENSTOCK_ABI
