// SPDX-License-Identifier: MIT

// Guesses at waiting times: of what starts and services have taken so far.

#include <algorithm>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMostLookedAt = 256;

}  // namespace

/// Who would have to go for it now; nobody if the planner throws.
std::vector<ModelId> SwapCore::victims_of(std::uint32_t number) const {
  std::vector<ModelId> victims;
  if (index_) {
    index_->victims(number, victims);
    return victims;
  }
  (void)ask(number, kNoModel, victims);
  return victims;
}

/// How long a model that a swap brings up still takes.
Duration SwapCore::time_until_up(const ModelRecord& model, TimePoint now) const noexcept {
  const auto found = swaps_.find(model.swap);
  if (found == swaps_.end()) return Duration::zero();
  const Duration whole = start_times_[static_cast<std::size_t>(found->second.target)];
  return time_between(now, saturated_add(found->second.began, whole));
}

/// What is in the way now, then all models whose turn comes before and that take its place, then its own start.
Duration SwapCore::wait_of(std::uint32_t number, const OrderKey& key, TimePoint now) const {
  const ModelRecord& own = models_[number];
  const auto plus = [](Duration a, Duration b) { return saturated_add(TimePoint(a), b).time_since_epoch(); };
  if (has_swap_to_join(own)) return time_until_up(own, now);
  Duration wait = time_until_up(own, now);
  for (const ModelId each : victims_of(number)) {
    const ModelRecord& other = models_[static_cast<std::size_t>(each)];
    if (!other.is_hot) continue;
    wait = std::max(wait, plus(time_until_up(other, now), other.serve_time));
  }
  // Of many, some stand for all.
  const std::size_t looked_at = std::min(waiting_.size(), kMostLookedAt);
  Duration before = Duration::zero();
  for (const std::uint32_t each : std::span(waiting_).first(looked_at)) {
    if (each == number || !(tickets_[models_[each].queue.first(tickets_)].key < key)) continue;
    if (index_ && !index_->evicts(number, each) && !index_->evicts(each, number)) continue;
    before = plus(before, plus(start_times_[each], models_[each].serve_time));
  }
  if (looked_at != waiting_.size()) {
    const double times = static_cast<double>(waiting_.size()) / static_cast<double>(looked_at);
    before = saturated(std::chrono::duration<double, std::nano>(static_cast<double>(before.count()) * times));
  }
  wait = plus(wait, before);
  if (own.state != ModelState::kReady) return plus(wait, start_times_[number]);
  if (is_full(own)) {
    const Duration::rep rounds = own.queue.size() / std::max(own.limit, 1U) + 1U;
    wait = plus(wait, own.serve_time > Duration::max() / rounds ? Duration::max() : own.serve_time * rounds);
  }
  return wait;
}

std::optional<Duration> SwapCore::eta(TicketId id, TimePoint now) const {
  const std::uint32_t at = tickets_.find(id);
  if (at == kNoIndex) return std::nullopt;
  const Ticket& ticket = tickets_[at];
  if (ticket.state == TicketState::kGranted) return Duration::zero();
  if (ticket.state == TicketState::kJoined) return time_until_up(models_[ticket.model], now);
  // All of its model go with the first of them.
  return wait_of(ticket.model, tickets_[models_[ticket.model].queue.first(tickets_)].key, now);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
