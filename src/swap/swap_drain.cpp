// SPDX-License-Identifier: MIT

// The decision table, and the walk over all who are queued.
//
// With a pairwise planner the index names the next one who can go, and after each step the next. That is the walk in
// the order of the queue, since in its course nobody is let through who had to stay before: starts and grants only make
// models hot. With any other planner each model is asked for once, where its first request is in the queue; and, if
// more running models may make fewer evictions, again at its next request behind each start or grant.

#include <algorithm>
#include <new>
#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

struct Later {
  bool operator()(const HeapEntry<OrderKey>& a, const HeapEntry<OrderKey>& b) const noexcept { return b.key < a.key; }
};

}  // namespace

SwapCore::Verdict SwapCore::judge(std::uint32_t at) {
  const ModelRecord& model = models_[at];
  if (model.state == ModelState::kUnknown) return Verdict::kUnknown;
  if (has_swap_to_join(model)) return Verdict::kJoin;
  const bool is_held = model.stoppers != 0 || model.swap != SwapId{};
  bool evicts_any = false;
  if (index_) {
    if (is_held || index_->blocked(at)) return Verdict::kStay;
    evicts_any = index_->evicts_any(at);
  } else {
    if (!plan(at)) return Verdict::kPlannerFailed;
    const auto is_hot = [this](ModelId each) { return record(each).is_hot; };
    if (is_held || std::any_of(victims_.begin(), victims_.end(), is_hot)) return Verdict::kStay;
    evicts_any = !victims_.empty();
  }
  if (model.state != ModelState::kReady || evicts_any) return Verdict::kStart;
  return is_full(model) ? Verdict::kFull : Verdict::kGrant;
}

/// Asks the planner; `victims_` is its answer, without what makes no sense. False if it threw.
bool SwapCore::plan(std::uint32_t at) {
  ++stats_.plans;
  const std::optional<std::size_t> misfits = ask(at, kNoModel, victims_);
  misfits ? stats_.planner_misfits += *misfits : ++stats_.planner_failures;
  return misfits.has_value();
}

/// What has to go for a model, if `also` ran, too. Returns how much of the planner's answer made no sense; nothing if
/// it threw.
std::optional<std::size_t> SwapCore::ask(std::uint32_t at, ModelId also, std::vector<ModelId>& victims) const {
  const ModelId target{at};
  const ModelRecord& model = models_[at];
  const bool runs = is_running(model.state) && !(is_cured() && model.state == ModelState::kStopping);
  std::vector<ModelId> changed;
  std::span<const ModelId> running = live_;
  const bool adds = also != kNoModel && !models_[static_cast<std::size_t>(also)].is_live;
  if (adds || (model.is_live && !runs)) {
    changed = live_;
    if (!runs) std::erase(changed, target);
    if (adds) changed.insert(std::upper_bound(changed.begin(), changed.end(), also), also);
    running = changed;
  }
  victims.clear();
  try {
    setup_->planner->plan({.target = target, .running = running, .last_used = last_used_, .start_times = start_times_},
                          victims);
  } catch (...) {
    victims.clear();
    return std::nullopt;
  }
  const std::size_t named = victims.size();
  std::sort(victims.begin(), victims.end());
  victims.erase(std::unique(victims.begin(), victims.end()), victims.end());
  std::erase_if(victims, [&](ModelId each) {
    return each == target || !std::binary_search(running.begin(), running.end(), each);
  });
  return named - victims.size();
}

/// Does what the table says; false if the request has to wait in the queue.
bool SwapCore::pass(std::uint32_t at, SwapReason start_reason) {
  const std::uint32_t model = tickets_[at].model;
  const Verdict verdict = judge(model);
  const bool may_be_held = verdict == Verdict::kGrant || verdict == Verdict::kStart;
  if (may_be_held && has_claims() && is_restrained(at, verdict)) return false;
  switch (verdict) {
    case Verdict::kUnknown:
      refuse(at, SwapReason::kUnknownModel);
      return true;
    case Verdict::kPlannerFailed:
      refuse(at, SwapReason::kPlannerFailed);
      return true;
    case Verdict::kJoin:
      if (options().reject_late && tickets_[at].state != TicketState::kQueued &&
          is_late(at, time_until_up(models_[model], now_))) {
        refuse(at, SwapReason::kTooLate);
      } else if (is_admitted(at)) {
        join(at);
        refresh(model);
      }
      return true;
    case Verdict::kGrant:
      grant(at, SwapReason::kReady);
      return true;
    case Verdict::kStart:
      if (is_late(at, start_times_[model])) {
        refuse(at, SwapReason::kTooLate);
      } else if (is_admitted(at)) {
        start(at, start_reason);
      }
      return true;
    case Verdict::kFull:
    case Verdict::kStay:
      break;
  }
  return false;
}

/// Begins a swap, which evicts `victims_`, or whatever the index says.
void SwapCore::start(std::uint32_t at, SwapReason reason) {
  const std::uint32_t number = tickets_[at].model;
  if (index_) {
    victims_.clear();
    index_->victims(number, victims_);
  }
  room(1, victims_.size());
  const SwapId id{swaps_begun_ + 1};
  const Swap& swap =
      swaps_.try_emplace(id, Swap{.target = ModelId{number}, .evict = victims_, .began = now_}).first->second;
  ++swaps_begun_;
  claim(swap.evict);
  models_[number].swap = id;
  join(at);
  if (has_claims()) join_claimants_of(number);
  refresh(number);
  ++stats_.swaps_started;
  ++stats_.swaps_active;
  stats_.evictions += swap.evict.size();
  if (has_claims() && !models_[number].queue.empty()) leave_behind(number);
  out_->add(StartSwap{.swap = id, .target = swap.target, .evict = out_->keep(swap.evict), .reason = reason});
}

/// The first of those who are queued for `model`; or, if somebody's claim keeps that one, who has waited the longest:
/// its claim may be older. False if neither can go.
bool SwapCore::pass_first_of(const ModelRecord& model, SwapReason start_reason) {
  return pass(model.queue.first(tickets_), start_reason) ||
         (has_claims() && pass(first_claimant_of(model), start_reason));
}

/// Before a new request of `number` is looked at: those who have come before it go first. False if one of them has to
/// stay, and so has the new one.
bool SwapCore::pass_queued_of(std::uint32_t number) {
  const ModelRecord& model = models_[number];
  while (!model.queue.empty()) {
    if (!pass_first_of(model, SwapReason::kRequested)) return false;
  }
  return true;
}

/// One less is in flight, and more may be served: the next ones of `model`, and nobody else.
void SwapCore::grant_next_of(std::uint32_t number) noexcept {
  const ModelRecord& model = models_[number];
  try {
    while (!model.queue.empty() && judge(number) == Verdict::kGrant) {
      if (!pass_first_of(model, SwapReason::kNone)) return;
    }
  } catch (const std::bad_alloc&) {
    must_drain_ = true;
  }
}

void SwapCore::join_queued_of(std::uint32_t number) noexcept {
  ModelRecord& model = models_[number];
  // They are spread over the whole line: what each of them needs of it is on its way while the next ones are looked up.
  model.queue.each_in_order(tickets_, [this](std::uint32_t at) { line_.prefetch(tickets_, at); });
  while (!model.queue.empty()) join(model.queue.first(tickets_));
  refresh(number);
}

void SwapCore::leave_behind(std::uint32_t model) noexcept {
  if (!std::exchange(models_[model].has_left_behind, true)) left_behind_.push_back(model);
}

/// Whoever was queued when somebody else's request began the swap of its model.
void SwapCore::join_left_behind() noexcept {
  for (const std::uint32_t each : left_behind_) {
    models_[each].has_left_behind = false;
    if (has_swap_to_join(models_[each]) && models_[each].state != ModelState::kUnknown) join_queued_of(each);
  }
  left_behind_.clear();
}

void SwapCore::drain() noexcept {
  must_drain_ = true;
  try {
    do {
      claim_ended_ = false;
      restrained_at_ = TimePoint::min();
      if (has_claims() && has_holders()) {
        drain_in_line();
      } else if (options().batching.by_cost) {
        drain_by_cost();
      } else if (index_) {
        drain_pairwise();
      } else {
        drain_general();
      }
    } while (claim_ended_);  // whom it has kept may have been passed by before
    must_drain_ = false;
  } catch (const std::bad_alloc&) {
    // It goes on with the next event, which `finish` asks for.
  }
}

void SwapCore::drain_pairwise() {
  join_left_behind();
  if (std::exchange(live_grew_, false)) {
    // What was ready and full may have somebody to evict first by now.
    for (const std::uint32_t each : parked_) {
      models_[each].is_parked = models_[each].is_listed_parked = false;
      refresh(each);
    }
    parked_.clear();
  }
  for (;;) {
    std::optional<HeapEntry<OrderKey>> next = index_->first();
    if (!unknown_.empty(0) && (!next || unknown_.first(0).key < next->key)) next = unknown_.first(0);
    if (!next) return;
    ModelRecord& model = models_[next->item];
    if (pass(model.queue.first(tickets_), SwapReason::kDrained)) {
      if (has_swap_to_join(model) && model.state != ModelState::kUnknown) join_queued_of(next->item);
      continue;
    }
    model.is_parked = true;
    if (!std::exchange(model.is_listed_parked, true)) parked_.push_back(next->item);
    refresh(next->item);
  }
}

void SwapCore::drain_general() {
  const auto push = [this](const OrderKey& key, std::uint32_t model) {
    walk_.push_back({.key = key, .item = model});  // each model is in it once, and there is room for all
    std::push_heap(walk_.begin(), walk_.end(), Later());
  };
  walk_.clear();
  passed_.clear();
  for (const std::uint32_t each : waiting_) push(tickets_[models_[each].queue.first(tickets_)].key, each);
  while (!walk_.empty()) {
    const OrderKey here = walk_.front().key;
    const std::uint32_t number = walk_.front().item;
    std::pop_heap(walk_.begin(), walk_.end(), Later());
    walk_.pop_back();
    ModelRecord& model = models_[number];
    // As published, who was passed by in this walk stays behind those who come later.
    std::uint32_t at = model.queue.first(tickets_);
    if (!is_cured() && tickets_[at].key < here) at = model.queue.first_at_or_behind(tickets_, here);
    const std::uint64_t changes = stats_.granted + stats_.swaps_started;
    if (!pass(at, SwapReason::kDrained)) {
      passed_.push_back(number);
      continue;
    }
    const auto push_next = [&](std::uint32_t each) {
      std::uint32_t next = models_[each].queue.first(tickets_);
      if (next == kNoIndex) return;
      if (tickets_[next].key < here) next = models_[each].queue.first_at_or_behind(tickets_, here);
      if (next != kNoIndex) push(tickets_[next].key, each);
    };
    push_next(number);
    if (setup_->is_monotone || stats_.granted + stats_.swaps_started == changes) continue;
    for (const std::uint32_t each : passed_) push_next(each);
    passed_.clear();
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
