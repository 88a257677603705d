// SPDX-License-Identifier: MIT

// Claims: who has waited for `max_wait`, or matters as much as `claim_priority`, and is queued, holds one on all that
// its model needs. It restrains everybody but those who came to hold one before it: they are not granted
// on, and do not bring up what would be in its way. They may join a swap that is under way: they are then granted with
// whom it is for, and nobody waits for longer. (If not, each would have a swap of its own.) Holders come one after the
// other in the order of the times from which on they hold, whatever their priorities, so nobody comes before one for
// ever.
//
// While somebody holds a claim, a drain goes through the whole queue.

#include <algorithm>
#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool SwapCore::has_claims() const noexcept {
  return options().max_wait != Duration::max() || options().claim_priority != kNoClaimPriority;
}

/// From when on a request holds a claim while it is queued; max(): never.
TimePoint SwapCore::claims_since(std::uint32_t at) const noexcept {
  return tickets_[at].is_urgent ? tickets_[at].since : saturated_add(tickets_[at].since, options().max_wait);
}

/// It is queued from now on.
void SwapCore::watch_claim(std::uint32_t at) noexcept {
  TicketsByAge& list = tickets_[at].is_urgent ? urgent_ : aging_;
  // By arrival; who has gone back to the queue is among the oldest.
  const auto is_older = [this](std::uint32_t a, std::uint32_t b) {
    return tickets_[a].key.sequence < tickets_[b].key.sequence;
  };
  std::uint32_t next = kNoIndex;
  if (!list.empty() && is_older(at, list.last())) {
    next = list.first();
    while (is_older(next, at)) next = tickets_[next].age.next;
  }
  list.insert(tickets_, at, next);
}

void SwapCore::forget_claim(std::uint32_t at) noexcept {
  (tickets_[at].is_urgent ? urgent_ : aging_).erase(tickets_, at);
}

bool SwapCore::has_holders() const noexcept {
  if (!urgent_.empty()) return true;
  return !aging_.empty() && claims_since(aging_.first()) <= now_;
}

/// The models that claims are held for, each with the first of its claims.
void SwapCore::find_holders() noexcept {
  holders_.clear();
  const auto add = [this](std::uint32_t at) {
    const std::uint32_t model = tickets_[at].model;
    if (!std::exchange(models_[model].is_marked, true)) {
      holders_.push_back({.key = {claims_since(at), tickets_[at].key.sequence}, .item = model});
    }
  };
  const auto unmark = [this] {
    for (const auto& each : holders_) models_[each.item].is_marked = false;
  };
  for (std::uint32_t at = urgent_.first(); at != kNoIndex && holders_.size() != waiting_.size();
       at = tickets_[at].age.next) {
    add(at);
  }
  unmark();
  const std::size_t urgent = holders_.size();
  std::size_t seen = 0;
  for (std::uint32_t at = aging_.first(); at != kNoIndex && seen != waiting_.size() && claims_since(at) <= now_;
       at = tickets_[at].age.next) {
    ModelRecord& model = models_[tickets_[at].model];
    if (model.is_marked) continue;
    add(at);
    ++seen;
  }
  for (std::size_t i = urgent; i != holders_.size(); ++i) models_[holders_[i].item].is_marked = false;
}

/// Whether what the table allows has to wait for somebody with a claim. `victims_` is what a start would evict.
bool SwapCore::is_restrained(std::uint32_t at, Verdict verdict) {
  if (!has_holders()) return false;
  find_holders();
  const std::uint32_t model = tickets_[at].model;
  const std::pair<TimePoint, std::uint64_t> own{claims_since(at), tickets_[at].key.sequence};
  const bool holds = own.first <= now_ && own.first != TimePoint::max();
  const bool starts = verdict == Verdict::kStart;
  if (starts && index_) {
    victims_.clear();
    index_->victims(model, victims_);
  }
  const std::vector<ModelId> evict = starts ? victims_ : std::vector<ModelId>();
  const auto restrains = [&](std::uint32_t holder) {
    if (!index_) return restrains_asked(holder, model, starts, evict);
    if (index_->evicts(holder, model)) return true;
    return std::any_of(evict.begin(), evict.end(), [&](ModelId each) {
      return each == ModelId{holder} || index_->evicts(holder, static_cast<std::uint32_t>(each));
    });
  };
  const bool is_held = std::any_of(holders_.begin(), holders_.end(), [&](const auto& holder) {
    return holder.item != model && !(holds && own < holder.key) && restrains(holder.item);
  });
  victims_ = evict;
  return is_held;
}

/// As `is_restrained`, where the planner has to be asked what a holder needs.
bool SwapCore::restrains_asked(std::uint32_t holder, std::uint32_t model, bool starts,
                               const std::vector<ModelId>& evict) {
  if (!plan(holder)) return false;
  const std::vector<ModelId> needs = victims_;
  const auto is_needed = [&](ModelId each) { return std::binary_search(needs.begin(), needs.end(), each); };
  if (is_needed(ModelId{model})) return true;
  if (!starts) return false;
  if (std::binary_search(evict.begin(), evict.end(), ModelId{holder})) return true;
  if (std::any_of(evict.begin(), evict.end(), is_needed)) return true;
  // And were `model` running, too?
  return plan(holder, ModelId{model}) && !std::includes(needs.begin(), needs.end(), victims_.begin(), victims_.end());
}

/// Models that may stay for a while may not where a holder of a claim needs them gone.
void SwapCore::lift_residencies() {
  if (residents_.empty(0) || aging_.empty() || claims_since(aging_.first()) > now_) return;
  find_holders();
  for (const auto& holder : holders_) {
    if (holder.key.first == TimePoint::max()) continue;
    for (const ModelId each : victims_of(holder.item)) {
      const auto number = static_cast<std::uint32_t>(each);
      if (!residents_.contains(number)) continue;
      residents_.erase(number);
      refresh(number);
      must_drain_ = true;
    }
  }
}

/// Request by request, in the order of the queue: two of a model may differ by their claims.
void SwapCore::drain_in_line() {
  in_line_.clear();
  in_line_.reserve(line_.size());
  line_.each([this](std::uint32_t at) {
    in_line_.push_back(at);
    return true;
  });
  const bool is_fair = is_cured() && !setup_->planner->is_monotone();
  for (const std::uint32_t at : in_line_) {
    const std::uint32_t model = tickets_[at].model;
    if (is_fair) {
      // Those of its model who are in front of it go first, as long as they can.
      for (std::uint32_t first = models_[model].queue.first(tickets_); first != kNoIndex && first != at;
           first = models_[model].queue.first(tickets_)) {
        if (tickets_[at].state != TicketState::kQueued || !pass(first, SwapReason::kDrained)) break;
      }
    }
    if (tickets_[at].state == TicketState::kQueued) (void)pass(at, SwapReason::kDrained);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
