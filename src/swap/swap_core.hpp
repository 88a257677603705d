// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The state of a `SwapScheduler`, and the steps that its events are made of.
///
/// An event begins with what is due, does its own part, and ends with a *drain* if it may have let somebody through:
/// whoever is queued and can go goes, in the order of the queue. All memory for the event's own part is taken before
/// anything changes. A drain is made of steps, each of which takes its memory first: without memory it stops between
/// two of them, and goes on with the next event, for which it asks at once.
///
/// What decides whether a model's requests can go is in its `ModelRecord`; whoever changes a record calls `refresh`,
/// which brings the index up to date.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "indexed_heap.hpp"
#include "model_queue.hpp"
#include "pairwise_index.hpp"
#include "penstock/swap/detail/ranked_queue.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "ticket_store.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What does not change, shared by all copies.
struct SwapSetup {
  SwapSchedulerOptions options;
  ModelTable table;
  std::shared_ptr<const EvictionPlanner> planner;
  bool is_monotone = false;  // the planner: asked once, since it may be the user's
};

/// What is known of a model. What most events touch comes first, and is one line of a cache.
struct alignas(64) ModelRecord {
  ModelQueue queue;
  bool called_off = false;          // its swap: nobody joins it
  bool is_live = false;             // it runs, or is brought up
  bool is_hot = false;              // and must not be stopped now
  bool is_parked = false;           // ready, nothing in its way, and serving as many as it may
  bool is_listed_parked = false;    // it is in `parked_`
  bool has_left_behind = false;     // some are queued although its swap could be joined
  bool is_listed_unwanted = false;  // it is in `unwanted_`
  bool is_marked = false;           // while a list of models is gone through
  ModelState state = ModelState::kStopped;
  bool has_come_once = false;  // its start time has been measured
  std::uint32_t in_flight = 0;
  std::uint32_t reserved = 0;  // queued, joined or in flight
  std::uint32_t limit = 0;
  std::uint32_t stoppers = 0;           // swaps and stops that stop it
  std::uint32_t open_for = kNoIndex;    // the first of its queue, as the index has it
  std::uint32_t waiting_at = kNoIndex;  // its place in `waiting_`
  SwapId swap{};                        // brings it up; 0: none
  TicketList joined;                    // wait for its swap
  TicketsByAge urgent;  // with claims only: all who are queued, by arrival; they hold theirs from then on
  TicketsByAge aging;   // the others of them
  Duration pause{};     // after the last failure; 0: it was none
  TimePoint backs_off_until = TimePoint::min();
  TimePoint used{};                  // when it became ready, or last served, the later
  Duration serve_time{};             // what a request takes, as far as is known
  std::uint64_t waiting_weight = 0;  // of all who are queued, by cost only
  std::uint64_t waiting_since = 0;   // the sum of the weights times the arrivals, in ticks, modulo 2^64
};
static_assert(offsetof(ModelRecord, joined) == 64);

/// From `from` until `to`, whatever these are; 0 if that comes first.
[[nodiscard]] inline Duration time_between(TimePoint from, TimePoint to) noexcept {
  if (to <= from) return Duration::zero();
  const auto begin = static_cast<std::uint64_t>(from.time_since_epoch().count());
  const auto end = static_cast<std::uint64_t>(to.time_since_epoch().count());
  return Duration(
      static_cast<Duration::rep>(std::min(end - begin, static_cast<std::uint64_t>(Duration::max().count()))));
}

inline constexpr std::int32_t kNoClaimPriority = std::numeric_limits<std::int32_t>::max();

class SwapCore {
 public:
  explicit SwapCore(SwapSchedulerOptions options);
  /// For a copy: the room that no event must have to ask for, which vectors do not copy. Throws: std::bad_alloc.
  void take_room();

  [[nodiscard]] const SwapSetup& setup() const noexcept { return *setup_; }

  TicketId on_request(const SwapRequest& request, TimePoint now, SwapActions& out);
  bool on_cancel(TicketId ticket, TimePoint now, SwapActions& out);
  bool on_grant_refused(TicketId ticket, TimePoint now, SwapActions& out);
  bool on_serve_done(TicketId ticket, TimePoint now, SwapActions& out);
  bool on_swap_done(SwapId swap, bool succeeded, TimePoint now, SwapActions& out);
  bool on_model_state(ModelId model, ModelState state, TimePoint now, SwapActions& out);
  std::optional<StopId> on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now, SwapActions& out);
  bool on_stopped(StopId stop, TimePoint now, SwapActions& out);
  void on_timer(TimePoint now, SwapActions& out);
  void on_shutdown(TimePoint now, SwapActions& out);

  [[nodiscard]] TicketState state(TicketId ticket) const noexcept;
  [[nodiscard]] std::optional<std::size_t> position(TicketId ticket) const noexcept;
  [[nodiscard]] SwapExplanation explain(TicketId ticket, TimePoint now) const;
  [[nodiscard]] std::optional<Duration> eta(TicketId ticket, TimePoint now) const;
  [[nodiscard]] ModelState model_state(ModelId model) const noexcept;
  [[nodiscard]] ModelLoad model_load(ModelId model) const noexcept;
  [[nodiscard]] bool is_shut_down() const noexcept { return shut_down_; }
  [[nodiscard]] std::size_t queued() const noexcept { return stats_.queued; }
  [[nodiscard]] const SwapStats& stats() const noexcept { return stats_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  struct Swap {
    ModelId target = kNoModel;
    std::vector<ModelId> evict;
    TimePoint began{};
  };
  struct Stop {
    std::vector<ModelId> models;
  };
  struct TenantShare {
    std::size_t waiting = 0;
    std::int64_t finish = 0;  // of its last request, in virtual time
    std::uint64_t rest = 0;   // what its weight left over
  };
  using ClaimKey = std::pair<TimePoint, std::uint64_t>;
  /// What the decision table says about a request for a model.
  enum class Verdict : std::uint8_t { kUnknown, kJoin, kPlannerFailed, kGrant, kFull, kStay, kStart };

  // Events (swap_events.cpp, swap_leave.cpp).
  void begin(TimePoint now, SwapActions& out);
  void finish() noexcept;
  bool ignore() noexcept;
  void room(std::size_t actions, std::size_t models = 0) { out_->reserve(actions + 1, models); }  // and for a WakeAt
  [[nodiscard]] bool leave_service(TicketId ticket, std::uint64_t& counter);
  void queue_surplus_of(ModelRecord& model);
  void refuse_queued_of(std::span<const ModelId> models, SwapReason reason, Duration retry_after) noexcept;

  // The decision table and the walk (swap_drain.cpp).
  [[nodiscard]] Verdict judge(std::uint32_t model);
  [[nodiscard]] bool plan(std::uint32_t target);
  [[nodiscard]] std::optional<std::size_t> ask(std::uint32_t target, ModelId also, std::vector<ModelId>& victims) const;
  [[nodiscard]] bool pass(std::uint32_t at, SwapReason start_reason);
  void start(std::uint32_t at, SwapReason reason);
  [[nodiscard]] bool pass_first_of(const ModelRecord& model, SwapReason start_reason);
  [[nodiscard]] bool pass_queued_of(std::uint32_t model);
  void drain() noexcept;
  void drain_pairwise();
  void drain_general();
  void leave_behind(std::uint32_t model) noexcept;
  void join_left_behind() noexcept;
  void join_queued_of(std::uint32_t model) noexcept;
  void grant_next_of(std::uint32_t model) noexcept;

  // Where a request is (swap_core.cpp). None but `grant` and `refuse` needs memory, which `room` has taken.
  void refresh(std::uint32_t model) noexcept;
  void enqueue(std::uint32_t at) noexcept;
  void join(std::uint32_t at) noexcept;
  void grant(std::uint32_t at, SwapReason reason);
  void refuse(std::uint32_t at, SwapReason reason, SwapId swap = SwapId{}, Duration retry_after = {});
  void fetch_around(std::uint32_t at) const noexcept;
  void take_out(std::uint32_t at) noexcept;
  void end_ticket(std::uint32_t at) noexcept;
  void claim(const std::vector<ModelId>& models) noexcept;
  void give_up(const std::vector<ModelId>& models) noexcept;

  // What goes beyond the table (swap_policy.cpp).
  [[nodiscard]] std::optional<SwapReason> refusal_of(const SwapRequest& request) const noexcept;
  [[nodiscard]] std::optional<SwapReason> bound_of(const Ticket& ticket) const noexcept;
  [[nodiscard]] bool is_admitted(std::uint32_t at);
  [[nodiscard]] std::uint16_t tenant_of(const SwapRequest& request) const noexcept;
  [[nodiscard]] OrderKey key_of(const SwapRequest& request) noexcept;
  void failed(std::uint32_t model) noexcept;
  void expire();
  void call_off_unwanted();
  [[nodiscard]] TimePoint next_due() const noexcept;
  [[nodiscard]] bool is_late(std::uint32_t at, Duration wait) const noexcept;

  // Claims (swap_claims.cpp).
  [[nodiscard]] bool has_claims() const noexcept;
  [[nodiscard]] bool has_holders() const noexcept;
  [[nodiscard]] ClaimKey claim_of(std::uint32_t at) const noexcept;
  [[nodiscard]] std::uint32_t first_claimant_of(const ModelRecord& model) const noexcept;
  [[nodiscard]] ClaimKey overdue_of(const ModelRecord& model) const noexcept;
  void settle_claim(std::uint32_t model) noexcept;
  void watch_claim(std::uint32_t at) noexcept;
  void forget_claim(std::uint32_t at) noexcept;
  [[nodiscard]] bool restrains(std::uint32_t holder, std::uint32_t model, bool starts,
                               const std::vector<ModelId>& evict) const;
  [[nodiscard]] ModelId restrainer_of(std::uint32_t at, bool starts, const std::vector<ModelId>& evict,
                                      TimePoint now) const;
  [[nodiscard]] bool is_restrained(std::uint32_t at, Verdict verdict);
  void lift_residencies();
  void join_claimants_of(std::uint32_t model) noexcept;
  void drain_in_line();

  // Times, and what they bring about (swap_times.cpp).
  void became_ready(std::uint32_t model) noexcept;
  void has_come(std::uint32_t model, TimePoint began) noexcept;
  void has_served(std::uint32_t at) noexcept;
  void watch_idle(std::uint32_t model) noexcept;
  void unload_idle();
  void end_residencies() noexcept;
  [[nodiscard]] StopId begin_stop(const std::vector<ModelId>& models);

  // Explanations and guesses (swap_explain.cpp, swap_eta.cpp).
  [[nodiscard]] SwapExplanation stopper_of(ModelId model) const noexcept;
  [[nodiscard]] SwapExplanation hold_of(ModelId model) const noexcept;
  [[nodiscard]] std::vector<ModelId> victims_of(std::uint32_t model) const;
  [[nodiscard]] Duration time_until_up(const ModelRecord& model, TimePoint now) const noexcept;
  [[nodiscard]] Duration wait_of(std::uint32_t model, const OrderKey& key, TimePoint now) const;
  void watch_deadline(std::uint32_t at, TimePoint deadline) noexcept;
  void forget_deadline(std::uint32_t at) noexcept;

  // Which model comes next, by cost (swap_batching.cpp).
  void drain_by_cost();
  void count_wait(const Ticket& ticket, bool waits) noexcept;
  [[nodiscard]] double cost_of_waiting(std::uint32_t model) const noexcept;

  [[nodiscard]] std::int64_t priority_of(const SwapRequest& request) const noexcept {
    return std::int64_t{setup_->table[request.model].priority} + request.priority;
  }
  [[nodiscard]] std::uint64_t weight_of(std::size_t tenant) const noexcept {
    return tenant < options().tenants.size() ? options().tenants[tenant].weight : 1;
  }
  [[nodiscard]] const SwapSchedulerOptions& options() const noexcept { return setup_->options; }
  [[nodiscard]] bool is_cured() const noexcept { return options().conduct == SwapConduct::kCured; }
  [[nodiscard]] ModelRecord& record(ModelId model) noexcept { return models_[static_cast<std::size_t>(model)]; }
  [[nodiscard]] bool has_swap_to_join(const ModelRecord& record) const noexcept {
    return record.swap != SwapId{} && !record.called_off;
  }
  [[nodiscard]] bool is_full(const ModelRecord& record) const noexcept {
    return options().limit_at == LimitAt::kService && record.in_flight >= record.limit;
  }

  std::shared_ptr<const SwapSetup> setup_;

  TicketStore tickets_;
  RankedQueue<TicketStore> line_;  // all that are queued
  std::vector<ModelRecord, LargePages<ModelRecord>> models_;
  std::vector<std::uint32_t> waiting_;  // models with somebody queued
  std::map<SwapId, Swap> swaps_;
  std::map<StopId, Stop> stops_;
  std::uint64_t swaps_begun_ = 0;
  std::uint64_t stops_begun_ = 0;
  bool shut_down_ = false;
  bool must_drain_ = false;  // a model may be evicted again, or a drain ran out of memory
  // Since the last walk over the queue began: a claim has ended that was there when somebody was last kept by one.
  bool claim_ended_ = false;
  TimePoint restrained_at_ = TimePoint::min();

  // One of both, as the planner is.
  std::optional<PairwiseIndex> index_;
  std::vector<ModelId> live_;               // in ascending order
  HeapForest<OrderKey> unknown_;            // models that are not known any more and have somebody queued
  std::vector<std::uint32_t> left_behind_;  // models of which `has_left_behind`
  std::vector<std::uint32_t> parked_;       // models that are, or were, parked
  std::vector<std::uint32_t> unwanted_;     // models whose swap has lost the last one who waited for it
  bool live_grew_ = false;                  // since the parked ones were looked at

  std::vector<HeapEntry<std::pair<TimePoint, std::uint64_t>>> deadlines_;  // of those who wait, by arrival then
  HeapForest<ClaimKey> claims_;                                            // models, by the first claim on each
  HeapForest<ClaimKey> maturing_;  // with residencies too: those of which nobody has waited for too long yet

  std::vector<TenantShare> tenants_;
  std::int64_t virtual_time_ = 0;
  std::uint64_t uses_ = 0;
  std::vector<std::uint64_t> last_used_;
  std::vector<Duration> start_times_;                          // as measured, or as set up
  HeapForest<std::pair<TimePoint, std::uint32_t>> idle_;       // models that nobody uses, by when they are to go
  HeapForest<std::pair<TimePoint, std::uint32_t>> residents_;  // models that may stay, by when they may not any more
  TimePoint told_ = TimePoint::max();                          // of the last `WakeAt`
  SwapStats stats_;

  // Of the event that is under way.
  TimePoint now_{};
  SwapActions* out_ = nullptr;
  std::vector<ModelId> victims_;
  std::vector<ModelId> targets_;
  std::vector<HeapEntry<OrderKey>> walk_;  // a heap of models, by where they come next
  std::vector<std::uint32_t> passed_;      // models that had to stay
  std::vector<std::uint32_t> in_line_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
