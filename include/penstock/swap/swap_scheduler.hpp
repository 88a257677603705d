// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which model runs: a decision, without a clock, a lock, a callback or a thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_action.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_options.hpp"
#include "penstock/swap/swap_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
class SwapCore;
}

struct SwapRequest {
  ModelId model = kNoModel;
  std::int32_t priority = 0;  ///< Added to that of the model.
  TenantId tenant{};
  TimePoint deadline = TimePoint::max();
};

/// Where a request is.
enum class TicketState : std::uint8_t {
  kQueued,   ///< it waits until nothing is in its way
  kJoined,   ///< it waits for a swap that is under way
  kGranted,  ///< it is served
  kEnded,    ///< it was served, refused or cancelled; or there never was one
};

/// Decides which models are brought up and which have to go for them, and when each request is let through.
///
/// Requests for a model that is ready are granted at once; those for one that is being brought up join that swap; a
/// swap starts as soon as nothing that it would evict serves or is part of another swap. All others wait in one queue,
/// by priority and arrival, and whenever something ends, the queue is gone through in its order. Since all requests for
/// a model are granted together once it is up, six requests A B C A B C on a machine with room for one model make three
/// swaps.
///
/// This is the FIFO scheduler of llama-swap (2026), decision for decision, with an index in place of its scans: it asks
/// for each model that might go next, and not for each request. With a pairwise planner an event that lets nobody
/// through takes the same time, however long the queue; not so while somebody has waited for `max_wait` or has
/// `claim_priority`, nor with `by_cost`, which look at all who wait, or at all their models.
///
/// Events come in through `on_*`, in any order, each with the time; what has to be done is appended to `out`, in the
/// order in which it was decided, and nothing is called. Every long activity has an id, so a report that comes late,
/// twice, or for nothing, changes nothing, is counted in `stats().ignored`, and is answered with false. Each request
/// gets exactly one answer: a grant or a refusal, unless it was cancelled before.
///
/// A copy is a scheduler in the same state that goes its own way.
///
/// Threads: none of its own; the caller's lock covers all its members.
class SwapScheduler {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()` or of the planner; std::bad_alloc.
  explicit SwapScheduler(SwapSchedulerOptions options);
  SwapScheduler(const SwapScheduler& other);
  SwapScheduler(SwapScheduler&&) noexcept;
  SwapScheduler& operator=(const SwapScheduler& other);
  SwapScheduler& operator=(SwapScheduler&&) noexcept;
  ~SwapScheduler();

  [[nodiscard]] const SwapSchedulerOptions& options() const noexcept;
  [[nodiscard]] const ModelTable& models() const noexcept;
  /// Whether its planner is: then no event asks it.
  [[nodiscard]] bool is_pairwise() const noexcept;

  // Events. An event that throws std::bad_alloc has not happened, but for a request, which then has ended.

  /// A request has come. Returns: its ticket, which may have ended already, with the refusal among the actions.
  TicketId on_request(const SwapRequest& request, TimePoint now, SwapActions& out);
  /// Whoever made the request has gone; no answer is given any more. Returns: false if it was granted, or had ended.
  bool on_cancel(TicketId ticket, TimePoint now, SwapActions& out);
  /// Nobody took the grant: it does not count. Returns: false if it was not granted, or had ended.
  bool on_grant_refused(TicketId ticket, TimePoint now, SwapActions& out);
  /// A request that was granted has been served. Returns: false if it was not granted, or had ended.
  bool on_serve_done(TicketId ticket, TimePoint now, SwapActions& out);
  /// A swap has ended: its target is ready, or could not be made so. Also of one that was called off. Its models'
  /// states are to be reported before. Returns: false if there is no such swap.
  bool on_swap_done(SwapId swap, bool succeeded, TimePoint now, SwapActions& out);
  /// A process does something else from now on. Returns: false if there is no such model.
  bool on_model_state(ModelId model, ModelState state, TimePoint now, SwapActions& out);
  /// Stop these models and refuse all who wait for them. Swaps that bring them up are called off, and keep their claims
  /// until they report. Requests that are being served go on; they end with their process. Unknown and doubled models
  /// are left out. Returns at once; the stop's end is an event. `timeout` is handed on.
  /// Returns: the stop's id; nothing if there is nothing to stop.
  std::optional<StopId> on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now, SwapActions& out);
  /// The models of a stop have stopped. Returns: false if there is no such stop.
  bool on_stopped(StopId stop, TimePoint now, SwapActions& out);
  /// The time of a `WakeAt` has come. Harmless at any other time.
  void on_timer(TimePoint now, SwapActions& out);
  /// Refuses all who wait, and from now on everybody. Further calls do nothing.
  void on_shutdown(TimePoint now, SwapActions& out);

  // What is pulled. None of this changes anything.

  [[nodiscard]] TicketState state(TicketId ticket) const noexcept;
  /// Its place in the queue, from 1 on; nothing unless it is queued. Cost: O(log of the queue's length).
  [[nodiscard]] std::optional<std::size_t> position(TicketId ticket) const noexcept;
  /// What it waits for. Cost: some lookups; for a planner that is not pairwise, it is asked.
  [[nodiscard]] SwapExplanation explain(TicketId ticket, TimePoint now) const;
  /// A guess at how long it still waits until it is granted; zero if it is, nothing if it has ended. Made of what swaps
  /// and services have taken so far (an EWMA each), and of the models whose turn comes before.
  /// Cost: some lookups, and one for each of at most 256 models that somebody waits for; of more, these stand for all.
  [[nodiscard]] std::optional<Duration> eta(TicketId ticket, TimePoint now) const;

  [[nodiscard]] ModelState model_state(ModelId model) const noexcept;
  [[nodiscard]] ModelLoad model_load(ModelId model) const noexcept;
  [[nodiscard]] bool is_shut_down() const noexcept;
  [[nodiscard]] std::size_t queued() const noexcept;
  [[nodiscard]] const SwapStats& stats() const noexcept;
  /// All memory that it holds, in bytes. Cost: O(1).
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  std::unique_ptr<detail::SwapCore> core_;
};

}  // namespace penstock::inline PENSTOCK_ABI
