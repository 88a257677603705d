// SPDX-License-Identifier: MIT
#include "swap_core.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint32_t kDefaultLimit = 10;

std::shared_ptr<const SwapSetup> set_up(SwapSchedulerOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(text_of(status)));
  }
  auto setup = std::make_shared<SwapSetup>();
  setup->table = ModelTable(options.models);
  setup->planner = options.planner(setup->table);
  if (setup->planner == nullptr) {
    throw std::invalid_argument("swap scheduler '" + options.name + "': options.planner made no planner");
  }
  setup->is_monotone = setup->planner->is_monotone();
  setup->options = std::move(options);
  return setup;
}

}  // namespace

SwapCore::SwapCore(SwapSchedulerOptions options)
    : setup_(set_up(std::move(options))),
      tickets_(has_claims()),
      models_(setup_->table.size()),
      unknown_(1, std::vector<std::uint32_t>(models_.size())),
      tenants_(setup_->options.tenants.size() + 1),
      last_used_(models_.size()),
      start_times_(models_.size()) {
  for (std::size_t at = 0; at != models_.size(); ++at) {
    const std::int32_t limit = setup_->table.all()[at].concurrency_limit;
    models_[at].limit = limit > 0 ? static_cast<std::uint32_t>(limit) : kDefaultLimit;
    start_times_[at] = setup_->table.all()[at].start_time;
  }
  const auto is_unloaded = [](const SwapModel& model) { return model.idle_unload != Duration::max(); };
  const std::span<const SwapModel> all = setup_->table.all();
  const std::vector<std::uint32_t> one_heap(models_.size());
  if (std::any_of(all.begin(), all.end(), is_unloaded)) idle_ = {1, one_heap};
  if (setup_->options.batching.min_residency > Duration::zero()) residents_ = {1, one_heap};
  if (has_claims()) claims_ = {1, one_heap};
  if (has_claims() && residents_.has_room()) maturing_ = {1, one_heap};
  take_room();
  if (const PairwiseEviction* const relation = setup_->planner->pairwise(); relation != nullptr) {
    index_.emplace(*relation, models_.size());
  }
}

void SwapCore::take_room() {
  const std::size_t models = models_.size();
  for (std::vector<std::uint32_t>* const each : {&waiting_, &left_behind_, &parked_, &passed_, &unwanted_})
    each->reserve(models);
  live_.reserve(models);
  walk_.reserve(models);
}

void SwapCore::refresh(std::uint32_t at) noexcept {
  ModelRecord& model = models_[at];
  const bool is_live = is_running(model.state) || model.swap != SwapId{};
  const bool is_hot = is_live && (model.swap != SwapId{} || model.stoppers != 0 || model.in_flight != 0 ||
                                  (residents_.has_room() && residents_.contains(at)));
  if (is_live != model.is_live || is_hot != model.is_hot) {
    if (is_live && !model.is_live) live_grew_ = true;
    if (index_) {
      if (!is_hot) index_->set_hot(at, false);
      index_->set_live(at, is_live);
      if (is_hot) index_->set_hot(at, true);
    } else if (is_live != model.is_live) {
      const auto place = std::lower_bound(live_.begin(), live_.end(), ModelId{at});
      if (is_live) {
        live_.insert(place, ModelId{at});
      } else {
        live_.erase(place);
      }
    }
    model.is_live = is_live;
    model.is_hot = is_hot;
  }

  const std::uint32_t first = model.queue.first(tickets_);
  const bool is_unknown = model.state == ModelState::kUnknown;
  if (idle_.has_room()) watch_idle(at);
  if ((first != kNoIndex) != (model.waiting_at != kNoIndex)) {
    if (first != kNoIndex) {
      model.waiting_at = static_cast<std::uint32_t>(waiting_.size());
      waiting_.push_back(at);
    } else {
      models_[waiting_.back()].waiting_at = model.waiting_at;
      waiting_[model.waiting_at] = waiting_.back();
      waiting_.pop_back();
      model.waiting_at = kNoIndex;
    }
  }
  if (!index_) return;
  const bool is_open = !is_unknown && model.stoppers == 0 && model.swap == SwapId{} && !model.is_parked;
  const std::uint32_t open_for = is_open ? first : kNoIndex;
  if (open_for != model.open_for) {
    model.open_for = open_for;
    if (open_for != kNoIndex) {
      index_->open(at, tickets_[open_for].key);
    } else {
      index_->close(at);
    }
  }
  if (is_unknown && first != kNoIndex) {
    unknown_.put(at, tickets_[first].key);
  } else if (!unknown_.empty(0)) {
    unknown_.erase(at);
  }
}

void SwapCore::enqueue(std::uint32_t at) noexcept {
  Ticket& ticket = tickets_[at];
  ModelRecord& model = models_[ticket.model];
  ticket.state = TicketState::kQueued;
  line_.insert(tickets_, at);
  model.queue.push(tickets_, at);
  if (has_claims()) watch_claim(at);
  if (options().batching.by_cost) count_wait(ticket, true);
  ++tenants_[ticket.tenant].waiting;
  stats_.queued_high_water = std::max(stats_.queued_high_water, ++stats_.queued);
  refresh(ticket.model);
}

void SwapCore::join(std::uint32_t at) noexcept {
  take_out(at);
  Ticket& ticket = tickets_[at];
  ticket.state = TicketState::kJoined;
  models_[ticket.model].joined.push_back(tickets_, at);
  ++tenants_[ticket.tenant].waiting;
  ++stats_.joined;
}

void SwapCore::grant(std::uint32_t at, SwapReason reason) {
  Ticket& ticket = tickets_[at];
  ModelRecord& model = models_[ticket.model];
  if (options().limit_at == LimitAt::kGrant && model.in_flight >= model.limit) {
    return refuse(at, SwapReason::kConcurrencyLimit);
  }
  room(1);
  const bool was_queued = ticket.state == TicketState::kQueued;
  take_out(at);
  forget_deadline(at);
  if (options().order == QueueOrder::kFairShare) {
    virtual_time_ = std::max(virtual_time_, ticket.key.middle);
  }
  ticket.state = TicketState::kGranted;
  ticket.since = now_;
  ++model.in_flight;
  ++stats_.in_flight;
  ++stats_.granted;
  last_used_[ticket.model] = ++uses_;
  out_->add(GrantTicket{.ticket = tickets_.id(at), .model = ModelId{ticket.model}, .reason = reason});
  if (was_queued || model.in_flight == 1) refresh(ticket.model);
}

void SwapCore::refuse(std::uint32_t at, SwapReason reason, SwapId swap, Duration retry_after) {
  room(1);
  ++stats_.refused[static_cast<std::size_t>(reason)];
  out_->add(RejectTicket{.ticket = tickets_.id(at),
                         .model = ModelId{tickets_[at].model},
                         .reason = reason,
                         .swap = swap,
                         .retry_after = retry_after});
  end_ticket(at);
}

/// What `end_ticket` of one that waits touches lies anywhere: it is all on its way before the first of it is needed.
void SwapCore::fetch_around(std::uint32_t at) const noexcept {
  const Ticket& ticket = tickets_[at];
  __builtin_prefetch(&models_[ticket.model], 1);
  if (ticket.state == TicketState::kQueued) line_.prefetch(tickets_, at);
  if (ticket.line.next != kNoIndex) __builtin_prefetch(&tickets_[ticket.line.next], 1);
  if (ticket.line.previous != kNoIndex) __builtin_prefetch(&tickets_[ticket.line.previous], 1);
}

void SwapCore::take_out(std::uint32_t at) noexcept {
  Ticket& ticket = tickets_[at];
  ModelRecord& model = models_[ticket.model];
  if (ticket.state == TicketState::kQueued) {
    line_.erase(tickets_, at);
    model.queue.erase(tickets_, at);
    if (has_claims()) forget_claim(at);
    if (options().batching.by_cost) count_wait(ticket, false);
    --tenants_[ticket.tenant].waiting;
    --stats_.queued;
  } else if (ticket.state == TicketState::kJoined) {
    model.joined.erase(tickets_, at);
    --tenants_[ticket.tenant].waiting;
    --stats_.joined;
    if (options().cancel_unwanted && model.joined.empty() && has_swap_to_join(model) &&
        !std::exchange(model.is_listed_unwanted, true)) {
      unwanted_.push_back(ticket.model);
    }
  } else if (ticket.state == TicketState::kGranted) {
    --model.in_flight;
    --stats_.in_flight;
    model.used = now_;
    model.is_parked = false;
  }
  ticket.state = TicketState::kEnded;
}

void SwapCore::end_ticket(std::uint32_t at) noexcept {
  const std::uint32_t number = tickets_[at].model;
  ModelRecord& model = models_[number];
  const bool was_granted = tickets_[at].state == TicketState::kGranted;
  const bool was_parked = model.is_parked;
  take_out(at);
  forget_deadline(at);
  --model.reserved;
  tickets_.give(at);
  if (!was_granted || was_parked || model.in_flight == 0) refresh(number);
}

void SwapCore::claim(const std::vector<ModelId>& models) noexcept {
  for (const ModelId each : models) {
    ++record(each).stoppers;
    refresh(static_cast<std::uint32_t>(each));
  }
}

void SwapCore::give_up(const std::vector<ModelId>& models) noexcept {
  for (const ModelId each : models) {
    --record(each).stoppers;
    refresh(static_cast<std::uint32_t>(each));
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
