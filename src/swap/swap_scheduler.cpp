// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_scheduler.hpp"

#include <utility>

#include "swap_core.hpp"

namespace penstock::inline PENSTOCK_ABI {

SwapScheduler::SwapScheduler(SwapSchedulerOptions options)
    : core_(std::make_unique<detail::SwapCore>(std::move(options))) {}
SwapScheduler::SwapScheduler(const SwapScheduler& other) : core_(std::make_unique<detail::SwapCore>(*other.core_)) {
  core_->take_room();
}
SwapScheduler::SwapScheduler(SwapScheduler&&) noexcept = default;
SwapScheduler& SwapScheduler::operator=(const SwapScheduler& other) {
  if (this != &other) *this = SwapScheduler(other);
  return *this;
}
SwapScheduler& SwapScheduler::operator=(SwapScheduler&&) noexcept = default;
SwapScheduler::~SwapScheduler() = default;

const SwapSchedulerOptions& SwapScheduler::options() const noexcept { return core_->setup().options; }
const ModelTable& SwapScheduler::models() const noexcept { return core_->setup().table; }
bool SwapScheduler::is_pairwise() const noexcept { return core_->setup().planner->pairwise() != nullptr; }

TicketId SwapScheduler::on_request(const SwapRequest& request, TimePoint now, SwapActions& out) {
  return core_->on_request(request, now, out);
}
bool SwapScheduler::on_cancel(TicketId ticket, TimePoint now, SwapActions& out) {
  return core_->on_cancel(ticket, now, out);
}
bool SwapScheduler::on_grant_refused(TicketId ticket, TimePoint now, SwapActions& out) {
  return core_->on_grant_refused(ticket, now, out);
}
bool SwapScheduler::on_serve_done(TicketId ticket, TimePoint now, SwapActions& out) {
  return core_->on_serve_done(ticket, now, out);
}
bool SwapScheduler::on_swap_done(SwapId swap, bool succeeded, TimePoint now, SwapActions& out) {
  return core_->on_swap_done(swap, succeeded, now, out);
}
bool SwapScheduler::on_model_state(ModelId model, ModelState state, TimePoint now, SwapActions& out) {
  return core_->on_model_state(model, state, now, out);
}
std::optional<StopId> SwapScheduler::on_unload(std::span<const ModelId> models, Duration timeout, TimePoint now,
                                               SwapActions& out) {
  return core_->on_unload(models, timeout, now, out);
}
bool SwapScheduler::on_stopped(StopId stop, TimePoint now, SwapActions& out) {
  return core_->on_stopped(stop, now, out);
}
void SwapScheduler::on_timer(TimePoint now, SwapActions& out) { core_->on_timer(now, out); }
void SwapScheduler::on_shutdown(TimePoint now, SwapActions& out) { core_->on_shutdown(now, out); }

TicketState SwapScheduler::state(TicketId ticket) const noexcept { return core_->state(ticket); }
std::optional<std::size_t> SwapScheduler::position(TicketId ticket) const noexcept { return core_->position(ticket); }
SwapExplanation SwapScheduler::explain(TicketId ticket, TimePoint now) const { return core_->explain(ticket, now); }
std::optional<Duration> SwapScheduler::eta(TicketId ticket, TimePoint now) const { return core_->eta(ticket, now); }
ModelState SwapScheduler::model_state(ModelId model) const noexcept { return core_->model_state(model); }
ModelLoad SwapScheduler::model_load(ModelId model) const noexcept { return core_->model_load(model); }
bool SwapScheduler::is_shut_down() const noexcept { return core_->is_shut_down(); }
std::size_t SwapScheduler::queued() const noexcept { return core_->queued(); }
const SwapStats& SwapScheduler::stats() const noexcept { return core_->stats(); }
std::size_t SwapScheduler::memory_bytes() const noexcept { return core_->memory_bytes(); }

}  // namespace penstock::inline PENSTOCK_ABI
