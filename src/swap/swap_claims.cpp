// SPDX-License-Identifier: MIT

// Claims: who has waited for `max_wait`, or matters as much as `claim_priority`, and is queued, holds one on all that
// its model needs. It restrains everybody but those who came to hold one before it: they are not granted on, and do not
// bring up what would be in its way. They may join a swap that is under way, behind those of its model who hold claims:
// they are then granted with whom it is for, and nobody waits for longer. (If not, each would have a swap of its own.)
// And they are granted on a model for as long as it may stay anyway. Holders come one after the other in the order of
// the times from which on they hold, whatever their priorities, so nobody comes before one for ever; also those of one
// model, where each waits for its turn to be served, and where its start grants the first of them.
//
// All who wait for a model need the same, so the first claim on it stands for them: `claims_` has the models by that.
// While somebody holds a claim, a drain goes through the whole queue. Where one ends, by a grant as by a refusal, and
// has kept somebody, whom it has kept may have been passed by before: the queue is gone through once more, within the
// same event.

#include <algorithm>
#include <limits>
#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool SwapCore::has_claims() const noexcept {
  return options().max_wait != Duration::max() || options().claim_priority != kNoClaimPriority;
}

/// From when on a request holds a claim while it is queued, and its number among all; max(): never.
SwapCore::ClaimKey SwapCore::claim_of(std::uint32_t at) const noexcept {
  const Ticket& ticket = tickets_[at];
  return {ticket.is_urgent ? ticket.since : saturated_add(ticket.since, options().max_wait), ticket.key.sequence};
}

/// Of those who wait for `model`, the one with the first claim, whether it has begun or not, or `kNoIndex`.
std::uint32_t SwapCore::first_claimant_of(const ModelRecord& model) const noexcept {
  if (model.urgent.empty() || model.aging.empty()) return std::min(model.urgent.first(), model.aging.first());
  return claim_of(model.aging.first()) < claim_of(model.urgent.first()) ? model.aging.first() : model.urgent.first();
}

/// When the first of them has waited for `max_wait`, and its number; max(): never.
SwapCore::ClaimKey SwapCore::overdue_of(const ModelRecord& model) const noexcept {
  ClaimKey first{TimePoint::max(), 0};
  for (const std::uint32_t at : {model.urgent.first(), model.aging.first()}) {
    if (at == kNoIndex) continue;
    const Ticket& ticket = tickets_[at];
    first = std::min(first, {saturated_add(ticket.since, options().max_wait), ticket.key.sequence});
  }
  return first;
}

void SwapCore::settle_claim(std::uint32_t number) noexcept {
  const ModelRecord& model = models_[number];
  const std::uint32_t claimant = first_claimant_of(model);
  const ClaimKey first = claimant == kNoIndex ? ClaimKey{TimePoint::max(), 0} : claim_of(claimant);
  if (first.first == TimePoint::max()) {
    claims_.erase(number);
  } else if (!claims_.contains(number) || claims_.key(number) != first) {
    claims_.put(number, first);
  }
  if (!maturing_.has_room()) return;
  const ClaimKey oldest = overdue_of(model);
  if (oldest.first > now_ && oldest.first != TimePoint::max()) {
    maturing_.put(number, oldest);
  } else {
    maturing_.erase(number);
  }
}

/// It is queued from now on.
void SwapCore::watch_claim(std::uint32_t at) noexcept {
  ModelRecord& model = models_[tickets_[at].model];
  TicketsByAge& list = tickets_[at].is_urgent ? model.urgent : model.aging;
  // By arrival; who has gone back to the queue is among the oldest.
  const auto is_older = [this](std::uint32_t a, std::uint32_t b) {
    return tickets_[a].key.sequence < tickets_[b].key.sequence;
  };
  std::uint32_t next = kNoIndex;
  if (!list.empty() && is_older(at, list.last())) {
    next = list.first();
    while (is_older(next, at)) next = tickets_.age(next).next;
  }
  list.insert(tickets_, at, next);
  if (list.first() == at) settle_claim(tickets_[at].model);
}

/// It is not queued any more. Whom its claim has kept may go now, however it has ended.
void SwapCore::forget_claim(std::uint32_t at) noexcept {
  if (claim_of(at).first <= restrained_at_) claim_ended_ = true;
  ModelRecord& model = models_[tickets_[at].model];
  TicketsByAge& list = tickets_[at].is_urgent ? model.urgent : model.aging;
  const bool was_first = list.first() == at;
  list.erase(tickets_, at);
  if (was_first) settle_claim(tickets_[at].model);
}

bool SwapCore::has_holders() const noexcept { return !claims_.empty(0) && claims_.first(0).key.first <= now_; }

/// Whether a claim on `holder` keeps `model` from being granted on, or from being brought up and evicting `evict`.
/// False if the planner throws.
bool SwapCore::restrains(std::uint32_t holder, std::uint32_t model, bool starts,
                         const std::vector<ModelId>& evict) const {
  const auto is_in = [](ModelId each, const std::vector<ModelId>& all) {
    return std::binary_search(all.begin(), all.end(), each);
  };
  if (index_) {
    if (index_->evicts(holder, model)) return true;
    return std::any_of(evict.begin(), evict.end(), [&](ModelId each) {
      return each == ModelId{holder} || index_->evicts(holder, static_cast<std::uint32_t>(each));
    });
  }
  std::vector<ModelId> needs;
  if (!ask(holder, kNoModel, needs)) return false;
  if (is_in(ModelId{model}, needs)) return true;
  if (!starts) return false;
  if (is_in(ModelId{holder}, evict)) return true;
  if (std::any_of(evict.begin(), evict.end(), [&](ModelId each) { return is_in(each, needs); })) return true;
  // And were `model` running, too?
  std::vector<ModelId> then;
  return ask(holder, ModelId{model}, then) && !std::includes(needs.begin(), needs.end(), then.begin(), then.end());
}

/// The model with a claim that what the table allows has to wait for; `kNoModel`: it need not.
ModelId SwapCore::restrainer_of(std::uint32_t at, bool starts, const std::vector<ModelId>& evict, TimePoint now) const {
  const std::uint32_t model = tickets_[at].model;
  // Who brings it up is served first by it.
  const bool takes_turns = starts || options().limit_at == LimitAt::kService;
  const std::uint32_t first = first_claimant_of(models_[model]);
  if (takes_turns && first != kNoIndex && first != at && claim_of(first).first <= now) return ModelId{model};
  if (!starts && residents_.has_room() && residents_.contains(model)) return kNoModel;
  // Those who came to hold one after it do not count.
  const ClaimKey last = std::min(claim_of(at), {now, std::numeric_limits<std::uint64_t>::max()});
  const auto* const found = claims_.find_up_to(0, last, [&](const HeapEntry<ClaimKey>& each) {
    return each.item != model && restrains(each.item, model, starts, evict);
  });
  return found == nullptr ? kNoModel : ModelId{found->item};
}

/// Whether what the table allows has to wait for somebody with a claim. `victims_` is what a start would evict.
bool SwapCore::is_restrained(std::uint32_t at, Verdict verdict) {
  if (!has_holders()) return false;
  const bool starts = verdict == Verdict::kStart;
  if (index_) {
    victims_.clear();
    if (starts) index_->victims(tickets_[at].model, victims_);
  }
  if (restrainer_of(at, starts, victims_, now_) == kNoModel) return false;
  restrained_at_ = std::max(restrained_at_, now_);
  return true;
}

/// Its swap has begun: those who hold claims join it in their order, before others do, since who joins first is granted
/// first.
void SwapCore::join_claimants_of(std::uint32_t number) noexcept {
  const ModelRecord& model = models_[number];
  while (!model.queue.empty()) {
    const std::uint32_t next = first_claimant_of(model);
    if (claim_of(next).first > now_) return;
    join(next);
  }
}

/// Models that may stay for a while may not where somebody who has waited for too long needs them gone.
void SwapCore::lift_residencies() {
  while (maturing_.has_room() && !maturing_.empty(0) && maturing_.first(0).key.first <= now_) {
    maturing_.erase(maturing_.first(0).item);
  }
  if (residents_.empty(0) || !claims_.has_room() || !has_holders()) return;
  (void)claims_.find_up_to(0, {now_, std::numeric_limits<std::uint64_t>::max()}, [this](const auto& claim) {
    if (overdue_of(models_[claim.item]).first > now_) return false;
    for (const ModelId each : victims_of(claim.item)) {
      const auto number = static_cast<std::uint32_t>(each);
      if (!residents_.contains(number)) continue;
      residents_.erase(number);
      refresh(number);
      must_drain_ = true;
    }
    return residents_.empty(0);
  });
}

/// Request by request, in the order of the queue: two of a model may differ by their claims.
void SwapCore::drain_in_line() {
  in_line_.clear();
  in_line_.reserve(line_.size());
  line_.each([this](std::uint32_t at) {
    in_line_.push_back(at);
    return true;
  });
  const bool is_fair = is_cured() && !setup_->is_monotone;
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
