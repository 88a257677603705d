// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler is, as plainly as can be: the published decision table, walked row by row over the whole queue
/// at each event that may let somebody through. No index, no heap, no ids that are used again.
///
/// It has the events and the pulls of `SwapScheduler`, and is what that one is compared with.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "penstock/swap/swap_options.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "swap/planted_bug.hpp"

namespace penstock::testing {

class ReferenceScheduler {
 public:
  explicit ReferenceScheduler(SwapSchedulerOptions options, PlantedBug bug = PlantedBug::kNone);

  [[nodiscard]] const SwapSchedulerOptions& options() const noexcept { return options_; }
  [[nodiscard]] const ModelTable& models() const noexcept { return table_; }

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
  [[nodiscard]] ModelState model_state(ModelId model) const noexcept;
  [[nodiscard]] ModelLoad model_load(ModelId model) const noexcept;
  /// As long as no more models have somebody queued than a guess looks at.
  [[nodiscard]] std::optional<Duration> eta(TicketId ticket, TimePoint now);
  /// Nobody is queued who could go: planners whose victims become fewer as more models run, and the published conduct,
  /// leave some behind until something else happens.
  [[nodiscard]] bool is_work_conserving() const noexcept { return is_cured() && planner_->is_monotone(); }
  [[nodiscard]] bool is_so(const SwapExplanation& explanation, TicketId ticket);
  [[nodiscard]] bool is_shut_down() const noexcept { return shut_down_; }
  [[nodiscard]] std::size_t queued() const noexcept { return queue_.size(); }
  /// Without `plans`, `planner_misfits` and `planner_failures`, which count how often somebody thought.
  [[nodiscard]] const SwapStats& stats() const noexcept { return stats_; }

 private:
  /// Ascending, this is the order of the queue.
  using Key = std::tuple<std::int64_t, std::int64_t, std::uint64_t>;

  struct Request {
    SwapRequest what;
    Key key;
    TimePoint arrived{};
    TimePoint granted{};
    TicketState state = TicketState::kEnded;
  };
  struct Model {
    ModelState state = ModelState::kStopped;
    std::size_t limit = 0;
    std::size_t in_flight = 0;
    std::size_t reserved = 0;  // queued, joined or in flight
    int failures = 0;          // in a row
    TimePoint backs_off_until = TimePoint::min();
    TimePoint idle_since{};
    TimePoint stays_until = TimePoint::min();  // it is not evicted; min(): it may be
    Duration serve_time{};
  };
  struct Swap {
    SwapId id{};
    ModelId target = kNoModel;
    std::vector<ModelId> evict;
    std::vector<TicketId> waiters;
    TimePoint began{};
    bool is_orphan = false;  // called off: nobody joins it; its claims hold until it reports
  };
  struct Stop {
    StopId id{};
    std::vector<ModelId> models;
  };

  /// What the table says about a request for a model.
  enum class Row { kUnknown, kJoin, kPlannerFailed, kGrant, kFull, kCollides, kBusy, kRestrained, kStart };

  void begin(TimePoint now, SwapActions& out);
  void end();

  [[nodiscard]] Row row_of(TicketId ticket);
  [[nodiscard]] Row table_row_of(ModelId model);
  [[nodiscard]] bool plan(ModelId target, ModelId comes = kNoModel);
  [[nodiscard]] bool collides(ModelId target) const;
  [[nodiscard]] bool try_pass(TicketId ticket, SwapReason start_reason);
  void joins(TicketId ticket);
  [[nodiscard]] std::vector<TicketId> queued_for(ModelId model) const;
  [[nodiscard]] std::vector<TicketId> claimants_of(ModelId model) const;
  [[nodiscard]] bool try_pass_first_of(ModelId model, SwapReason start_reason);
  void pass_queued_of(ModelId model);
  void pass_queued_before(TicketId last);
  void drain();
  void walk();
  void after_leaving(ModelId model);
  void sweep();

  void enqueue(TicketId ticket);
  void grant(TicketId ticket, SwapReason reason);
  void reject(TicketId ticket, SwapReason reason, SwapId swap = SwapId{}, Duration retry_after = {});
  void release(TicketId ticket);
  [[nodiscard]] bool is_in_queue(TicketId ticket) const;
  void leave_queue(TicketId ticket);
  [[nodiscard]] Key key_of(const SwapRequest& request, std::uint64_t sequence);
  [[nodiscard]] std::optional<SwapReason> refusal_of(const SwapRequest& request) const;
  [[nodiscard]] std::optional<SwapReason> bound_of(const SwapRequest& request) const;
  void took(ModelId model, Duration time);
  [[nodiscard]] bool is_admitted(TicketId ticket);
  void failed(ModelId model);
  void expire();
  [[nodiscard]] bool has_claims() const noexcept;
  [[nodiscard]] bool is_urgent(TicketId ticket) const;
  [[nodiscard]] TimePoint claim_of(TicketId ticket) const;
  [[nodiscard]] std::optional<TimePoint> claims_since(TicketId ticket) const;
  [[nodiscard]] bool is_restrained(TicketId ticket, Row row, const std::vector<ModelId>& evict);
  void unload_idle();
  void end_residencies();
  [[nodiscard]] TimePoint residencies_end() const;
  void drain_by_cost();
  [[nodiscard]] bool is_late(TicketId ticket, Duration wait) const;
  [[nodiscard]] bool is_held(ModelId model) const;
  [[nodiscard]] Duration time_until_up(ModelId model, TimePoint now) const;
  [[nodiscard]] Duration wait_of(ModelId model, const Key& key, TimePoint now);
  [[nodiscard]] std::optional<TimePoint> idle_end(ModelId model) const;
  void call_off_unwanted();
  [[nodiscard]] TimePoint next_due() const;

  [[nodiscard]] bool is_cured() const noexcept { return options_.conduct == SwapConduct::kCured; }
  [[nodiscard]] Request& at(TicketId ticket) { return requests_[static_cast<std::size_t>(ticket)]; }
  [[nodiscard]] const Request& at(TicketId ticket) const { return requests_[static_cast<std::size_t>(ticket)]; }
  [[nodiscard]] Model& at(ModelId model) { return models_[static_cast<std::size_t>(model)]; }
  [[nodiscard]] const Model& at(ModelId model) const { return models_[static_cast<std::size_t>(model)]; }
  [[nodiscard]] bool is_known(TicketId ticket) const noexcept {
    return static_cast<std::size_t>(ticket) < requests_.size();
  }
  [[nodiscard]] Swap* swap_to_join(ModelId model);

  SwapSchedulerOptions options_;
  ModelTable table_;
  std::shared_ptr<const EvictionPlanner> planner_;
  PlantedBug bug_;

  std::vector<Request> requests_;  // by ticket; also those that have ended
  std::vector<Model> models_;
  std::vector<TicketId> queue_;
  std::vector<Swap> swaps_;  // the oldest first
  std::vector<Stop> stops_;
  std::uint64_t swaps_begun_ = 0;
  std::uint64_t stops_begun_ = 0;
  bool shut_down_ = false;

  std::uint64_t uses_ = 0;
  std::vector<std::uint64_t> last_used_;
  std::vector<Duration> start_times_;
  std::vector<bool> has_started_;
  std::int64_t virtual_time_ = 0;
  std::vector<std::int64_t> tenant_finish_;
  std::vector<std::uint64_t> tenant_rest_;

  TimePoint told_ = TimePoint::max();  // of the last `WakeAt`
  bool has_deadlines_ = false;
  // Since the last walk over the queue began: a claim has ended that was there when somebody was last kept by one.
  bool claim_ended_ = false;
  TimePoint restrained_at_ = TimePoint::min();
  SwapStats stats_;

  // Of the event that is under way.
  TimePoint now_{};
  SwapActions* out_ = nullptr;
  std::vector<ModelId> running_;
  std::vector<ModelId> planned_;
  std::vector<ModelId> evict_;
};

}  // namespace penstock::testing
