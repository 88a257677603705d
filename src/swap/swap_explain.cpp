// SPDX-License-Identifier: MIT

// What a scheduler tells about itself.

#include <algorithm>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

TicketState SwapCore::state(TicketId id) const noexcept {
  const std::uint32_t at = tickets_.find(id);
  return at == kNoIndex ? TicketState::kEnded : tickets_[at].state;
}

std::optional<std::size_t> SwapCore::position(TicketId id) const noexcept {
  const std::uint32_t at = tickets_.find(id);
  if (at == kNoIndex || tickets_[at].state != TicketState::kQueued) return std::nullopt;
  return line_.rank(tickets_, at) + 1;
}

ModelState SwapCore::model_state(ModelId id) const noexcept {
  return setup_->table.contains(id) ? models_[static_cast<std::size_t>(id)].state : ModelState::kUnknown;
}

ModelLoad SwapCore::model_load(ModelId id) const noexcept {
  if (!setup_->table.contains(id)) return {};
  const ModelRecord& model = models_[static_cast<std::size_t>(id)];
  return {.queued = model.queue.size(),
          .joined = model.joined.size(),
          .in_flight = model.in_flight,
          .swap = has_swap_to_join(model) ? model.swap : SwapId{},
          .swap_time = start_times_[static_cast<std::size_t>(id)],
          .serve_time = model.serve_time};
}

/// Which swap or stop stops `model`.
SwapExplanation SwapCore::stopper_of(ModelId model) const noexcept {
  const auto names = [model](const std::vector<ModelId>& list) {
    return std::find(list.begin(), list.end(), model) != list.end();
  };
  for (const auto& [id, swap] : swaps_) {
    if (names(swap.evict)) return {.obstacle = SwapObstacle::kEvicted, .model = swap.target, .swap = id};
  }
  for (const auto& [id, stop] : stops_) {
    if (names(stop.models)) return {.obstacle = SwapObstacle::kStopping, .model = model, .stop = id};
  }
  return {};
}

/// Why a model that would have to go cannot go now.
SwapExplanation SwapCore::hold_of(ModelId id) const noexcept {
  const ModelRecord& model = models_[static_cast<std::size_t>(id)];
  if (model.swap != SwapId{}) return {.obstacle = SwapObstacle::kSwapTarget, .model = id, .swap = model.swap};
  if (model.stoppers != 0) {
    const SwapExplanation stopper = stopper_of(id);
    if (stopper.obstacle == SwapObstacle::kStopping) return stopper;
    return {.obstacle = SwapObstacle::kSharedVictim, .model = id, .swap = stopper.swap};
  }
  if (model.in_flight != 0) {
    return {.obstacle = SwapObstacle::kBusyModel, .model = id, .in_flight = model.in_flight};
  }
  return {
      .obstacle = SwapObstacle::kResidency, .model = id, .until = residents_.key(static_cast<std::uint32_t>(id)).first};
}

SwapExplanation SwapCore::explain(TicketId id, TimePoint now) const {
  const std::uint32_t at = tickets_.find(id);
  if (at == kNoIndex || tickets_[at].state == TicketState::kGranted) return {};
  const std::uint32_t number = tickets_[at].model;
  const ModelRecord& model = models_[number];
  if (model.swap != SwapId{}) {
    return {.obstacle = SwapObstacle::kOwnSwap, .model = ModelId{number}, .swap = model.swap};
  }
  if (model.stoppers != 0) return stopper_of(ModelId{number});
  const std::vector<ModelId> victims = victims_of(number);
  for (const ModelId each : victims) {
    if (models_[static_cast<std::size_t>(each)].is_hot) return hold_of(each);
  }
  if (model.state == ModelState::kReady && victims.empty() && is_full(model)) {
    return {.obstacle = SwapObstacle::kLimit, .model = ModelId{number}, .in_flight = model.in_flight};
  }
  if (claims_.has_room()) {
    const bool starts = model.state != ModelState::kReady || !victims.empty();
    const ModelId holder = restrainer_of(at, starts, victims, now);
    if (holder != kNoModel) return {.obstacle = SwapObstacle::kClaim, .model = holder};
  }
  return {};
}

std::size_t SwapCore::memory_bytes() const noexcept {
  const auto bytes = [](const auto& held) { return held.capacity() * sizeof(held[0]); };
  std::size_t sum = sizeof(SwapCore) + tickets_.memory_bytes() + line_.memory_bytes() + bytes(models_) +
                    bytes(waiting_) + bytes(live_) + bytes(left_behind_) + bytes(parked_) + bytes(deadlines_) +
                    bytes(tenants_) + bytes(unwanted_) + bytes(last_used_) + bytes(start_times_) + bytes(victims_) +
                    bytes(targets_) + bytes(walk_) + bytes(passed_) + unknown_.memory_bytes() + idle_.memory_bytes() +
                    residents_.memory_bytes() + claims_.memory_bytes() + maturing_.memory_bytes();
  if (index_) sum += index_->memory_bytes();
  // A node of a tree has three links and a colour beside its entry. A model is in at most one swap's list.
  constexpr std::size_t kNode = 4 * sizeof(void*);
  sum += swaps_.size() * (kNode + sizeof(SwapId) + sizeof(Swap)) + stats_.swaps_active * sizeof(ModelId);
  sum += stops_.size() * (kNode + sizeof(StopId) + sizeof(Stop));
  return sum;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
