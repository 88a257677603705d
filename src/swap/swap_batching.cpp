// SPDX-License-Identifier: MIT

// Which of the models that could be brought up comes next, by what waiting for it has cost.

#include <algorithm>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// 2^16 ns, so that the sums of some 10^5 requests of the largest weight fit for hours.
std::uint64_t ticks(TimePoint when) noexcept {
  return static_cast<std::uint64_t>(when.time_since_epoch().count() >> 16);
}

}  // namespace

/// It is queued from now on, or not any more. What all have waited so far is then a difference of two products, whose
/// overflows cancel out.
void SwapCore::count_wait(const Ticket& ticket, bool waits) noexcept {
  ModelRecord& model = models_[ticket.model];
  const std::uint64_t weight = weight_of(ticket.tenant);
  model.waiting_weight += waits ? weight : 0 - weight;
  model.waiting_since += waits ? weight * ticks(ticket.since) : 0 - weight * ticks(ticket.since);
}

/// What its requests have waited, by their tenants' weights, for each nanosecond of its start.
double SwapCore::cost_of_waiting(std::uint32_t number) const noexcept {
  const ModelRecord& model = models_[number];
  const auto waited = static_cast<std::int64_t>(model.waiting_weight * ticks(now_) - model.waiting_since);
  const Duration start = std::max(start_times_[number], Duration(1));
  return static_cast<double>(waited) / static_cast<double>(start.count());
}

/// Who needs no swap goes in the order of the queue; then the dearest model is brought up; and so on.
void SwapCore::drain_by_cost() {
  const auto later = [](const auto& a, const auto& b) { return b.key < a.key; };
  const auto push = [&](std::uint32_t model) {
    if (models_[model].queue.empty()) return;
    walk_.push_back({.key = tickets_[models_[model].queue.first(tickets_)].key, .item = model});
    std::push_heap(walk_.begin(), walk_.end(), later);
  };
  for (;;) {
    if (index_ && !index_->first() && unknown_.empty(0) && left_behind_.empty()) return;
    join_left_behind();
    walk_.clear();
    for (const std::uint32_t each : waiting_) push(each);
    std::uint32_t dearest = kNoIndex;
    double most = 0;
    while (!walk_.empty()) {
      const std::uint32_t number = walk_.front().item;
      std::pop_heap(walk_.begin(), walk_.end(), later);
      walk_.pop_back();
      const std::uint32_t at = models_[number].queue.first(tickets_);
      const Verdict verdict = judge(number);
      if (verdict != Verdict::kStart || is_late(at, start_times_[number])) {
        if (verdict != Verdict::kStay && verdict != Verdict::kFull && pass(at, SwapReason::kDrained)) push(number);
      } else if (const double cost = cost_of_waiting(number); dearest == kNoIndex || cost > most) {
        dearest = number;  // of equal ones, the first in the queue
        most = cost;
      }
    }
    // A grant on the way may have put somebody into its way.
    if (dearest == kNoIndex) return;
    if (!pass(models_[dearest].queue.first(tickets_), SwapReason::kDrained)) continue;
    if (has_swap_to_join(models_[dearest])) join_queued_of(dearest);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
