// SPDX-License-Identifier: MIT

// Unloading, and the end.

#include <algorithm>
#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

std::optional<StopId> SwapCore::on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now,
                                          SwapActions& out) {
  begin(now, out);
  targets_.clear();
  targets_.reserve(std::min(models.size(), models_.size()));
  std::size_t waiters = 0;
  for (const ModelId each : models) {
    if (!setup_->table.contains(each) || std::exchange(record(each).is_marked, true)) continue;
    targets_.push_back(each);
    waiters += std::size_t{record(each).queue.size()} + record(each).joined.size();
  }
  for (const ModelId each : targets_) record(each).is_marked = false;
  if (targets_.empty()) {
    finish();
    return std::nullopt;
  }
  room(waiters + targets_.size() + 1, targets_.size());
  const StopId id = begin_stop(targets_);
  for (const ModelId each : targets_) {
    ModelRecord& model = record(each);
    if (!has_swap_to_join(model)) continue;
    model.called_off = true;
    while (!model.joined.empty()) refuse(model.joined.first(), SwapReason::kUnloaded);
    out.add(CancelSwap{.swap = model.swap, .target = each, .reason = SwapReason::kUnloaded});
  }
  refuse_queued_of(targets_, SwapReason::kUnloaded, Duration::zero());
  out.add(StopModels{.stop = id, .models = out.keep(targets_), .timeout = timeout, .reason = SwapReason::kUnloaded});
  stats_.unloads += targets_.size();
  claim(targets_);
  drain();
  finish();
  return id;
}

/// Its models are to be claimed. The last step that may need memory.
StopId SwapCore::begin_stop(const std::vector<ModelId>& models) {
  const StopId id{stops_begun_ + 1};
  stops_.try_emplace(id, Stop{.models = models});
  ++stops_begun_;
  ++stats_.stops_active;
  return id;
}

/// In the order of the queue. `room` is taken.
void SwapCore::refuse_queued_of(std::span<const ModelId> models, SwapReason reason, Duration retry_after) noexcept {
  const auto later = [](const auto& a, const auto& b) { return b.key < a.key; };
  const auto push_next = [&](std::uint32_t model) {
    if (models_[model].queue.empty()) return;
    walk_.push_back({.key = tickets_[models_[model].queue.first(tickets_)].key, .item = model});
    std::push_heap(walk_.begin(), walk_.end(), later);
  };
  walk_.clear();
  for (const ModelId each : models) push_next(static_cast<std::uint32_t>(each));
  while (!walk_.empty()) {
    const std::uint32_t model = walk_.front().item;
    std::pop_heap(walk_.begin(), walk_.end(), later);
    walk_.pop_back();
    refuse(models_[model].queue.first(tickets_), reason, SwapId{}, retry_after);
    push_next(model);
  }
}

bool SwapCore::on_stopped(StopId id, TimePoint now, SwapActions& out) {
  begin(now, out);
  const auto found = stops_.find(id);
  if (found == stops_.end()) return ignore();
  const Stop stop = std::move(found->second);
  stops_.erase(found);
  --stats_.stops_active;
  give_up(stop.models);
  drain();
  finish();
  return true;
}

void SwapCore::on_shutdown(TimePoint now, SwapActions& out) {
  begin(now, out);
  room(stats_.queued + stats_.joined);
  shut_down_ = true;
  for (const auto& [id, swap] : swaps_) {
    ModelRecord& model = record(swap.target);
    while (!model.joined.empty()) refuse(model.joined.first(), SwapReason::kShutdown);
  }
  while (!line_.empty()) refuse(line_.first(), SwapReason::kShutdown);
  finish();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
