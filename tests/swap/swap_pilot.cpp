// SPDX-License-Identifier: MIT
#include "swap/swap_pilot.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace penstock::testing {
namespace {

Step state_of(ModelId model, ModelState state) {
  return {.what = Step::What::kState, .which = static_cast<std::uint32_t>(model), .value = static_cast<int>(state)};
}

}  // namespace

Step Pilot::next(const View& view) {
  Step step;
  const std::size_t waiting = view.scheduler.queued();
  if (waiting > world_.most_queued) floods_ = false;
  if (waiting < world_.most_queued / 4) floods_ = true;
  const std::size_t arrivals = world_.kind == WorldKind::kDeep ? (floods_ ? 960 : 300) : (floods_ ? 450 : 200);
  const std::size_t dice = random_.below(1000);
  if (world_.has_rough_ends && random_.below(6000) == 0) {
    step = {.what = Step::What::kShutdown};
  } else if (dice < arrivals) {
    step = request();
  } else {
    const std::size_t rest = random_.below(100);
    const std::size_t rough = world_.has_rough_ends ? 12 : 0;
    if (rest < rough) {
      switch (random_.below(4)) {
        case 0:
          step = unload();
          break;
        case 1:
          step = stale();
          break;
        default:
          step = report(view);
      }
    } else if (rest < 20) {
      step = leave(view, Step::What::kCancel);
    } else if (rest < 23) {
      step = {.what = Step::What::kTimer};
    } else if (rest < 26) {
      step = leave(view, Step::What::kRefuse);
    } else if (rest < 60 && !view.underway.granted.empty()) {
      step = leave(view, Step::What::kServed);
    } else if (rest < 66 && !view.underway.stops.empty()) {
      step = advance_stop(view);
    } else {
      step = advance_swap(view);
    }
  }
  step.after_us = random_.chance(50) ? 0 : static_cast<std::int64_t>(random_.below(200));
  return step;
}

Step Pilot::request() {
  Step step{.what = Step::What::kRequest, .which = any_model(), .name = requests_++};
  // Some are asked for more than others.
  if (random_.chance(40))
    step.which = static_cast<std::uint32_t>(random_.below(std::max<std::size_t>(models() / 3, 1)));
  if (random_.chance(1)) step.which = static_cast<std::uint32_t>(models() + random_.below(3));
  if (random_.chance(15)) step.value = static_cast<std::int32_t>(random_.below(7)) - 3;
  if (!world_.options.tenants.empty()) step.tenant = static_cast<std::uint32_t>(random_.below(5));
  if (world_.has_deadlines && random_.chance(60)) step.deadline_us = static_cast<std::int64_t>(random_.below(3000));
  return step;
}

/// Of those who wait, or are served, one; of the former, mostly a late one.
Step Pilot::leave(const View& view, Step::What what) {
  if (what != Step::What::kCancel && !view.underway.granted.empty()) {
    return {.what = what, .which = view.underway.granted[random_.below(view.underway.granted.size())]};
  }
  Step step{.what = Step::What::kCancel};
  for (int tries = 0; tries != 4 && requests_ != 0; ++tries) {
    step.which = requests_ - 1 - static_cast<std::uint32_t>(random_.below(std::min(requests_, 60U)));
    const TicketState state = view.scheduler.state(view.underway.tickets[step.which]);
    if (state == TicketState::kQueued || state == TicketState::kJoined) break;
  }
  return step;
}

/// One of the swaps goes on, step by step: its victims stop, its target starts, it is done.
Step Pilot::advance_swap(const View& view) {
  if (view.underway.swaps.empty()) return request();
  const Underway::Swap& swap = view.underway.swaps[random_.below(view.underway.swaps.size())];
  if (random_.chance(6)) return view.underway.end_of(swap, false);
  if (world_.has_rough_ends && random_.chance(4)) {  // it says so, and it is not true
    return view.underway.end_of(swap, true);
  }
  for (const ModelId each : swap.evict) {
    const ModelState state = view.scheduler.model_state(each);
    if (!is_running(state)) continue;
    const bool is_slow = state != ModelState::kStopping && random_.chance(40);
    return state_of(each, is_slow ? ModelState::kStopping : ModelState::kStopped);
  }
  const ModelState state = view.scheduler.model_state(swap.target);
  if (state == ModelState::kReady || state == ModelState::kUnknown) {
    return view.underway.end_of(swap, state == ModelState::kReady);
  }
  const bool is_slow = state != ModelState::kStarting && random_.chance(30);
  return state_of(swap.target, is_slow ? ModelState::kStarting : ModelState::kReady);
}

Step Pilot::advance_stop(const View& view) {
  const Underway::Stop& stop = view.underway.stops[random_.below(view.underway.stops.size())];
  if (random_.chance(85)) {
    for (const ModelId each : stop.models) {
      if (is_running(view.scheduler.model_state(each))) return state_of(each, ModelState::kStopped);
    }
  }
  return view.underway.end_of(stop);
}

/// A process does something by itself.
Step Pilot::report(const View& view) {
  const auto model = ModelId{any_model()};
  const ModelState state = view.scheduler.model_state(model);
  if (random_.chance(4)) return state_of(model, ModelState::kUnknown);
  if (random_.chance(30)) return state_of(model, static_cast<ModelState>(random_.below(5)));
  return state_of(model, is_running(state) ? ModelState::kStopped : ModelState::kReady);
}

Step Pilot::unload() {
  Step step{.what = Step::What::kUnload};
  for (std::size_t i = random_.below(5); i != 0; --i) step.models.push_back(ModelId{any_model()});
  if (random_.chance(10)) step.models.push_back(ModelId{static_cast<std::uint32_t>(models() + 3)});
  return step;
}

/// What has been said before, or never was.
Step Pilot::stale() {
  constexpr Step::What kWhat[] = {Step::What::kCancel, Step::What::kRefuse, Step::What::kServed, Step::What::kSwapDone,
                                  Step::What::kStopped};
  Step step{.what = kWhat[random_.below(std::size(kWhat))]};
  step.which = static_cast<std::uint32_t>(random_.chance(10) ? 1'000'000 : random_.below(requests_ + std::size_t{1}));
  if (step.what == Step::What::kSwapDone) step.which = any_model();
  step.name = static_cast<std::uint32_t>(random_.below(6));
  step.value = random_.chance(50) ? 1 : 0;
  return step;
}

std::optional<Step> Pilot::settle(const View& view) {
  const Underway& underway = view.underway;
  if (!underway.granted.empty()) return Step{.what = Step::What::kServed, .which = underway.granted.front()};
  if (!underway.stops.empty()) {
    const Underway::Stop& stop = underway.stops.front();
    for (const ModelId each : stop.models) {
      if (is_running(view.scheduler.model_state(each))) return state_of(each, ModelState::kStopped);
    }
    return underway.end_of(stop);
  }
  if (underway.swaps.empty()) {
    // Whoever still waits does so until the time of what may stay is over.
    if (view.scheduler.queued() == 0 || std::exchange(has_waited_, true)) return std::nullopt;
    return Step{.what = Step::What::kTimer, .after_us = 10'000};
  }
  has_waited_ = false;
  const Underway::Swap& swap = underway.swaps.front();
  for (const ModelId each : swap.evict) {
    if (is_running(view.scheduler.model_state(each))) return state_of(each, ModelState::kStopped);
  }
  const ModelState state = view.scheduler.model_state(swap.target);
  if (state != ModelState::kReady && state != ModelState::kUnknown) return state_of(swap.target, ModelState::kReady);
  return underway.end_of(swap, true);
}

}  // namespace penstock::testing
