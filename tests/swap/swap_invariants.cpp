// SPDX-License-Identifier: MIT
#include "swap/swap_invariants.hpp"

#include <algorithm>

namespace penstock::testing {
namespace {

constexpr std::size_t kDefaultLimit = 10;

bool contains(std::span<const ModelId> all, ModelId each) {
  return std::find(all.begin(), all.end(), each) != all.end();
}

bool intersect(std::span<const ModelId> a, std::span<const ModelId> b) {
  return std::any_of(a.begin(), a.end(), [&](ModelId each) { return contains(b, each); });
}

}  // namespace

SwapInvariants::SwapInvariants(const SwapSchedulerOptions& options)
    : options_(options), table_(options.models), models_(table_.size()) {
  for (std::size_t i = 0; i != models_.size(); ++i) {
    const std::int32_t limit = table_.all()[i].concurrency_limit;
    models_[i].limit = limit > 0 ? static_cast<std::size_t>(limit) : kDefaultLimit;
  }
}

void SwapInvariants::saw_event(const SwapEvent& event, std::uint64_t result, const SwapActions& actions,
                               std::size_t first) {
  last_join_answered_ = 0;
  for (Model& each : models_) each.state_before = each.state;
  begin(event, result);
  for (std::size_t i = first; i != actions.size(); ++i) {
    const SwapAction& action = actions[i];
    if (const auto* const start = std::get_if<StartSwap>(&action)) did(*start, actions.models(start->evict));
    if (const auto* const cancel = std::get_if<CancelSwap>(&action)) did(*cancel);
    if (const auto* const grant = std::get_if<GrantTicket>(&action)) did(*grant);
    if (const auto* const reject = std::get_if<RejectTicket>(&action)) did(*reject);
    if (const auto* const stop = std::get_if<StopModels>(&action)) did(*stop, actions.models(stop->models));
    if (std::holds_alternative<WakeAt>(action) && i + 1 != actions.size()) {
      violated("I9: a wish to be woken that is not the last action", kNoModel);
    }
  }
  if (std::holds_alternative<ShutdownEvent>(event)) shut_down_ = true;  // what was due before has come first
  if (options_.limit_at != LimitAt::kArrival) return;
  if (const auto* const request = std::get_if<RequestEvent>(&event)) {
    const Model* const model = find(request->request.model);
    if (model != nullptr && model->waiting + model->in_flight > model->limit) {
      violated("I8: more are let in than may", request->request.model);
    }
  }
}

void SwapInvariants::begin(const SwapEvent& event, std::uint64_t result) {
  if (const auto* const request = std::get_if<RequestEvent>(&event)) {
    const auto id = TicketId{result};
    ++arrived_;
    Ticket ticket{.model = request->request.model, .priority = request->request.priority, .number = arrived_};
    if (Model* const model = find(ticket.model)) {
      ticket.priority += table_[ticket.model].priority;
      ++model->waiting;
      model->queued.emplace(ticket.number, id);
    }
    ++waiting_;
    if (!tickets_.emplace(id, ticket).second) violated("I1: a number given twice", id);
  }
  if (const auto* const cancel = std::get_if<CancelEvent>(&event); cancel != nullptr && result != 0) {
    expect_waiting(cancel->ticket, kNoModel);
    leaves(cancel->ticket, Place::kEnded);
  }
  const auto ends = [&](TicketId id) {
    const auto found = tickets_.find(id);
    const bool was_granted = found != tickets_.end() && found->second.place == Place::kGranted;
    if (was_granted != (result != 0)) violated("I6: an end that was answered wrongly", id);
    if (was_granted) leaves(id, Place::kEnded);
  };
  if (const auto* const done = std::get_if<ServeDoneEvent>(&event)) ends(done->ticket);
  if (const auto* const refused = std::get_if<GrantRefusedEvent>(&event)) ends(refused->ticket);
  if (const auto* const done = std::get_if<SwapDoneEvent>(&event)) {
    const auto found = swaps_.find(done->swap);
    if ((found != swaps_.end()) != (result != 0)) violated("I4: the end of a swap was answered wrongly", kNoModel);
    if (found != swaps_.end()) {
      // Whoever is not granted now is queued again.
      for (const TicketId each : found->second.joined) {
        Ticket& ticket = tickets_.at(each);
        if (ticket.place != Place::kWaits) continue;
        find(ticket.model)->queued.emplace(ticket.number, each);
        ticket.joined_at = 0;
      }
      swaps_.erase(found);
    }
  }
  if (const auto* const stopped = std::get_if<StoppedEvent>(&event)) {
    if ((stops_.erase(stopped->stop) != 0) != (result != 0)) violated("a stop's end was answered wrongly", kNoModel);
  }
  if (const auto* const change = std::get_if<ModelStateEvent>(&event)) {
    Model* const model = find(change->model);
    if ((model != nullptr) != (result != 0)) violated("a state was answered wrongly", change->model);
    if (model != nullptr) {
      model->state_before = model->state;
      model->state = change->state;
    }
  }
}

void SwapInvariants::did(const StartSwap& action, std::span<const ModelId> evict) {
  if (!swaps_seen_.insert(action.swap).second) violated("I4: a swap's number given twice", action.target);
  if (find(action.target) == nullptr) return violated("I1: a swap to no model", action.target);
  if (shut_down_) violated("I1: a swap after the end", action.target);
  for (std::size_t i = 0; i != evict.size(); ++i) {
    const Model* const victim = find(evict[i]);
    if (victim == nullptr || evict[i] == action.target || (i > 0 && evict[i - 1] >= evict[i])) {
      violated("I2: a victim that makes no sense", evict[i]);
    } else {
      if (victim->in_flight > 0) violated("I2: a victim that serves", evict[i]);
      if (!is_running(victim->state) && !is_running(victim->state_before))
        violated("I2: a victim that does not run", evict[i]);
    }
  }
  for (const auto& [id, swap] : swaps_) {
    if (swap.target == action.target) violated("I4: a second swap to one model", action.target);
    if (contains(evict, swap.target)) violated("I3: the target of another swap is evicted", swap.target);
    if (contains(swap.models, action.target)) violated("I3: the victim of another swap comes up", action.target);
    if (intersect(evict, swap.models)) violated("I3: two swaps with one victim", action.target);
  }
  for (const auto& [id, stop] : stops_) {
    if (contains(stop.models, action.target) || intersect(evict, stop.models)) {
      violated("I3: a swap needs what is being stopped", action.target);
    }
  }
  swaps_[action.swap] = {.target = action.target, .models = {evict.begin(), evict.end()}, .joined = {}};
}

void SwapInvariants::did(const CancelSwap& action) {
  const auto found = swaps_.find(action.swap);
  if (found == swaps_.end() || found->second.is_called_off || found->second.target != action.target) {
    return violated("I4: a swap is called off that is none", action.target);
  }
  found->second.is_called_off = true;
  for (const TicketId each : found->second.joined) {
    if (tickets_.at(each).place == Place::kWaits) violated("I1: a swap is called off that somebody waits for", each);
  }
}

void SwapInvariants::did(const GrantTicket& action) {
  expect_waiting(action.ticket, action.model);
  Model* const model = find(action.model);
  if (model == nullptr) return violated("I1: a grant for no model", action.ticket);
  if (shut_down_) violated("I1: a grant after the end", action.ticket);
  if (model->in_flight >= model->limit) violated("I8: more are granted than may", action.model);
  const bool must_be_ready = action.reason == SwapReason::kReady || options_.conduct == SwapConduct::kCured;
  if (must_be_ready && model->state != ModelState::kReady && model->state_before != ModelState::kReady) {
    violated("I1: a grant of what is not ready", action.ticket);
  }
  if (const auto found = tickets_.find(action.ticket);
      found != tickets_.end() && action.reason == SwapReason::kSwapped) {
    // Who joined in this very event, when something was due first, has not been seen joining.
    const std::uint64_t joined_at = found->second.joined_at == 0 ? joins_ + 1 : found->second.joined_at;
    if (joined_at < last_join_answered_) violated("I5: granted before who joined first", action.ticket);
    last_join_answered_ = joined_at;
  }
  leaves(action.ticket, Place::kGranted);
}

void SwapInvariants::did(const RejectTicket& action) {
  expect_waiting(action.ticket, action.model);
  if (shut_down_ && action.reason != SwapReason::kShutdown) violated("I1: refused for what reason?", action.ticket);
  leaves(action.ticket, Place::kEnded);
}

void SwapInvariants::did(const StopModels& action, std::span<const ModelId> models) {
  if (!stops_.emplace(action.stop, Claim{.models = {models.begin(), models.end()}, .joined = {}}).second) {
    violated("I3: a stop's number given twice", kNoModel);
  }
  if (models.empty()) violated("I3: a stop of nothing", kNoModel);
}

void SwapInvariants::joined(TicketId id) {
  Ticket& ticket = tickets_.at(id);
  if (ticket.place != Place::kWaits) return violated("I1: joined a swap, having had an answer", id);
  ticket.joined_at = is_plain() && !has_claims() ? ++joins_ : joins_;
  find(ticket.model)->queued.erase({ticket.number, id});
  for (auto& [swap_id, swap] : swaps_) {
    if (swap.target == ticket.model) swap.joined.push_back(id);
  }
}

void SwapInvariants::expect_waiting(TicketId id, ModelId model) {
  const auto found = tickets_.find(id);
  if (found == tickets_.end()) return violated("I1: an answer to nobody", id);
  if (found->second.place != Place::kWaits) violated("I1: a second answer", id);
  if (model != kNoModel && found->second.model != model) violated("I1: an answer with another's model", id);
}

void SwapInvariants::leaves(TicketId id, Place place) {
  const auto found = tickets_.find(id);
  if (found == tickets_.end()) return;
  Ticket& ticket = found->second;
  Model* const model = find(ticket.model);
  if (ticket.place == Place::kWaits) {
    --waiting_;
    if (model != nullptr) {
      --model->waiting;
      model->queued.erase({ticket.number, id});
    }
  } else if (ticket.place == Place::kGranted && model != nullptr) {
    --model->in_flight;
  }
  ticket.place = place;
  if (place == Place::kGranted && model != nullptr) ++model->in_flight;
}

void SwapInvariants::check_place(TicketId id, TicketState state) {
  const Place place = tickets_.at(id).place;
  const bool waits = state == TicketState::kQueued || state == TicketState::kJoined;
  if (waits != (place == Place::kWaits) || (state == TicketState::kGranted) != (place == Place::kGranted)) {
    violated("I1: a state", id);
  }
}

void SwapInvariants::check_order(const std::map<std::size_t, TicketId>& places, std::size_t queued) {
  expect_equal(places.size(), queued, "I5: positions", kNoModel);
  const Ticket* before = nullptr;
  std::size_t expected = 1;
  for (const auto& [place, id] : places) {
    if (place != expected++) violated("I5: a gap before a position", id);
    const Ticket& ticket = tickets_.at(id);
    if (is_plain() && before != nullptr &&
        std::pair(-before->priority, before->number) > std::pair(-ticket.priority, ticket.number)) {
      violated("I5: out of order in the queue", id);
    }
    before = &ticket;
  }
}

void SwapInvariants::check_stats(const SwapStats& stats) {
  std::uint64_t refused = 0;
  for (const std::uint64_t each : stats.refused) refused += each;
  const std::uint64_t sum =
      stats.queued + stats.joined + stats.in_flight + stats.served + stats.grants_refused + stats.cancelled + refused;
  if (stats.arrived != arrived_ || sum != arrived_) violated("I9: the counters do not add up", kNoModel);
  expect_equal(stats.queued + stats.joined, waiting_, "I1: waiting", kNoModel);
  if (waiting_ > options_.max_queued) violated("I5: more wait than may", kNoModel);
  expect_equal(stats.swaps_active, swaps_.size(), "I4: swaps", kNoModel);
  expect_equal(stats.stops_active, stops_.size(), "I3: stops", kNoModel);
}

void SwapInvariants::finish() {
  for (const auto& [id, ticket] : tickets_) {
    if (ticket.place == Place::kWaits) violated("I1: no answer", id);
  }
}

void SwapInvariants::violated(const std::string& what, TicketId ticket) {
  violations_.push_back(what + ": request " + std::to_string(static_cast<std::uint64_t>(ticket)));
}

void SwapInvariants::violated(const std::string& what, ModelId model) {
  violations_.push_back(model == kNoModel ? what
                                          : what + ": model " + std::to_string(static_cast<std::uint32_t>(model)));
}

}  // namespace penstock::testing
