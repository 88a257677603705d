// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What holds of any swap scheduler after every event, whatever its policies.
///
/// | Law | What is checked                                                                                         |
/// |-----|---------------------------------------------------------------------------------------------------------|
/// | I1  | each request gets one grant or one refusal, unless it is cancelled before; none is lost                 |
/// | I2  | nothing is evicted that serves                                                                          |
/// | I3  | no two swaps need the same model, nor does one need what is being stopped; also of those called off     |
/// | I4  | one swap per target at a time                                                                           |
/// | I5  | who waits for a swap is granted in the order of joining; the queue is in order of priority and arrival  |
/// | I6  | as many are in flight as were granted and have not ended                                                |
/// | I7  | a planner is asked with models in ascending order, each once (`watched`)                                |
/// | I8  | the limit holds, where it is enforced                                                                   |
/// | I9  | the counters add up; one wish to be woken per event, and it is the last action                          |

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "penstock/swap/swap_event.hpp"
#include "penstock/swap/swap_options.hpp"
#include "penstock/swap/swap_scheduler.hpp"

namespace penstock::testing {

/// Told of each event and of what it brought about, it collects what is against a law.
class SwapInvariants {
 public:
  explicit SwapInvariants(const SwapSchedulerOptions& options);

  /// `event` has happened; `result` is what `apply` returned, `actions[first]` and all behind it is what it brought
  /// about. `scheduler` is what was told of it.
  /// Cost: O(actions + models), and some lookups for each request that waits for a swap.
  template <class Scheduler>
  void saw(const SwapEvent& event, std::uint64_t result, const SwapActions& actions, std::size_t first,
           const Scheduler& scheduler) {
    saw_event(event, result, actions, first);
    find_joined(event, result, [&](TicketId ticket) { return scheduler.state(ticket); });
    for (std::size_t i = 0; i != models_.size(); ++i) {
      const auto model = ModelId{static_cast<std::uint32_t>(i)};
      expect_equal(scheduler.model_load(model).in_flight, models_[i].in_flight, "I6: in flight", model);
    }
    check_stats(scheduler.stats());
  }

  /// Looks at everybody who waits. Cost: O(requests that wait), with their positions.
  template <class Scheduler>
  void look_at_queue(const Scheduler& scheduler) {
    std::map<std::size_t, TicketId> places;
    for (const auto& [id, ticket] : tickets_) {
      if (ticket.place == Place::kEnded) continue;
      check_place(id, scheduler.state(id));
      const auto place = scheduler.position(id);
      if (place.has_value() != (scheduler.state(id) == TicketState::kQueued)) violated("I5: a position", id);
      if (place && !places.emplace(*place, id).second) violated("I5: a position twice", id);
    }
    check_order(places, scheduler.queued());
  }

  /// Nothing more will come: everybody must have had an answer.
  void finish();

  /// What was against a law so far, one line each; empty: nothing.
  [[nodiscard]] const std::vector<std::string>& violations() const noexcept { return violations_; }

 private:
  enum class Place { kWaits, kGranted, kEnded };
  struct Ticket {
    ModelId model = kNoModel;
    std::int64_t priority = 0;
    std::uint64_t number = 0;     // of arrival
    std::uint64_t joined_at = 0;  // in the order of joining; 0: not
    Place place = Place::kWaits;
  };
  struct Model {
    ModelState state = ModelState::kStopped;
    ModelState state_before = ModelState::kStopped;  // this event, for what was due and came first
    std::size_t limit = 0;
    std::size_t in_flight = 0;
    std::size_t waiting = 0;                              // queued or joined
    std::set<std::pair<std::uint64_t, TicketId>> queued;  // by arrival
  };
  struct Claim {
    ModelId target = kNoModel;  // none: an order to stop
    std::vector<ModelId> models;
    std::vector<TicketId> joined;
    bool is_called_off = false;
  };

  void saw_event(const SwapEvent& event, std::uint64_t result, const SwapActions& actions, std::size_t first);
  void begin(const SwapEvent& event, std::uint64_t result);
  void did(const StartSwap& action, std::span<const ModelId> evict);
  void did(const CancelSwap& action);
  void did(const GrantTicket& action);
  void did(const RejectTicket& action);
  void did(const StopModels& action, std::span<const ModelId> models);
  void expect_waiting(TicketId id, ModelId model);
  template <class StateOf>
  void find_joined(const SwapEvent& event, std::uint64_t result, const StateOf& state_of);
  void joined(TicketId id);
  void leaves(TicketId id, Place place);
  void check_place(TicketId id, TicketState state);
  void check_order(const std::map<std::size_t, TicketId>& places, std::size_t queued);
  void check_stats(const SwapStats& stats);

  /// The order of the queue is that of priority and arrival.
  [[nodiscard]] bool is_plain() const noexcept {
    return options_.order == QueueOrder::kArrival && options_.aging_step == Duration::zero();
  }
  /// Those of a model may go in another order: who has waited for too long before who came first by priority.
  [[nodiscard]] bool has_claims() const noexcept {
    return options_.max_wait != Duration::max() || options_.claim_priority != std::numeric_limits<std::int32_t>::max();
  }
  [[nodiscard]] Model* find(ModelId model) {
    return static_cast<std::size_t>(model) < models_.size() ? &models_[static_cast<std::size_t>(model)] : nullptr;
  }
  void violated(const std::string& what, TicketId ticket);
  void violated(const std::string& what, ModelId model);
  void expect_equal(std::size_t got, std::size_t expected, const char* what, ModelId model) {
    if (got != expected) {
      violated(std::string(what) + ' ' + std::to_string(got) + ", not " + std::to_string(expected), model);
    }
  }

  SwapSchedulerOptions options_;
  ModelTable table_;
  std::vector<Model> models_;
  std::unordered_map<TicketId, Ticket> tickets_;
  std::map<SwapId, Claim> swaps_;
  std::map<StopId, Claim> stops_;
  std::set<SwapId> swaps_seen_;
  std::uint64_t arrived_ = 0;
  std::uint64_t joins_ = 0;
  std::uint64_t waiting_ = 0;
  std::uint64_t last_join_answered_ = 0;  // in this event
  bool shut_down_ = false;
  std::vector<std::string> violations_;
};

/// Asks another planner, and counts the questions that a scheduler must not put.
class WatchedPlanner final : public EvictionPlanner {
 public:
  WatchedPlanner(std::shared_ptr<const EvictionPlanner> planner, std::shared_ptr<std::uint64_t> bad_questions)
      : planner_(std::move(planner)), bad_questions_(std::move(bad_questions)) {}

  [[nodiscard]] std::string_view name() const noexcept override { return planner_->name(); }
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override {
    bool is_bad = !evict.empty();
    for (std::size_t i = 1; i < input.running.size(); ++i) {
      is_bad = is_bad || input.running[i - 1] >= input.running[i];
    }
    if (is_bad) ++*bad_questions_;
    planner_->plan(input, evict);
  }
  [[nodiscard]] const PairwiseEviction* pairwise() const noexcept override { return planner_->pairwise(); }
  [[nodiscard]] bool is_monotone() const noexcept override { return planner_->is_monotone(); }
  [[nodiscard]] bool uses_history() const noexcept override { return planner_->uses_history(); }

 private:
  std::shared_ptr<const EvictionPlanner> planner_;
  std::shared_ptr<std::uint64_t> bad_questions_;
};

/// What `factory` makes, watched: each bad question makes `*bad_questions` greater by one.
inline PlannerFactory watched(PlannerFactory factory, std::shared_ptr<std::uint64_t> bad_questions) {
  return [factory = std::move(factory), bad_questions = std::move(bad_questions)](const ModelTable& models) {
    return std::make_shared<WatchedPlanner>(factory(models), bad_questions);
  };
}

// --- implementation ---

template <class StateOf>
void SwapInvariants::find_joined(const SwapEvent& event, std::uint64_t result, const StateOf& state_of) {
  const bool is_arrival = std::holds_alternative<RequestEvent>(event);
  const auto arrived = is_arrival ? TicketId{result} : TicketId{};
  for (const auto& [id, swap] : swaps_) {
    if (swap.is_called_off) continue;
    // Those of one event in the order of the queue, if that is known here; who came with it, last.
    std::set<std::tuple<std::int64_t, std::uint64_t, TicketId>> newly;
    for (const auto& [number, ticket] : find(swap.target)->queued) {
      if (ticket == arrived || state_of(ticket) != TicketState::kJoined) continue;
      newly.emplace(-tickets_.at(ticket).priority, number, ticket);
    }
    ++joins_;
    for (const auto& [priority, number, ticket] : newly) joined(ticket);
  }
  ++joins_;
  if (is_arrival && state_of(arrived) == TicketState::kJoined) joined(arrived);
}

}  // namespace penstock::testing
