// SPDX-License-Identifier: MIT
#include "simulated_backend.hpp"

#include <algorithm>
#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint64_t kProcessPurpose = 7;

}  // namespace

SimulatedBackend::SimulatedBackend(const SwapSimulation& simulation, const ModelTable& models, SimulationAgenda& agenda,
                                   std::function<void(std::uint32_t)> ended)
    : agenda_(agenda), ended_(std::move(ended)), processes_(models.size()) {
  for (std::size_t id = 0; id != models.size(); ++id) {
    processes_[id].known_start = models.all()[id].start_time;
    processes_[id].random = random_stream(simulation.seed, id, kProcessPurpose);
  }
  for (const SimulatedModel& model : simulation.models) {
    processes_[static_cast<std::size_t>(*models.find(model.name))].how = model;
  }
}

void SimulatedBackend::change(std::uint32_t model, ModelState state) {
  Process& process = processes_[model];
  process.state = state;
  ++process.round;
  reports.emplace_back(ModelStateEvent{ModelId{model}, state});
}

void SimulatedBackend::start(const StartSwap& swap, std::span<const ModelId> evict, TimePoint now) {
  if (swaps_.empty()) swapping_since_ = now;
  const auto id = static_cast<std::uint64_t>(swap.swap);
  Swap& made = swaps_[id];
  made.target = static_cast<std::uint32_t>(swap.target);
  ++counts_.swaps;
  counts_.evictions += evict.size();
  for (const ModelId victim : evict) {
    const auto model = static_cast<std::uint32_t>(victim);
    if (processes_[model].state == ModelState::kStopped) continue;
    ++made.stopping;
    processes_[model].stopping_for.push_back({true, id});
    begin_stop(model, now, Duration::zero());
  }
  if (made.stopping == 0) bring_up(id, now);
}

void SimulatedBackend::begin_stop(std::uint32_t model, TimePoint now, Duration timeout) {
  Process& process = processes_[model];
  if (process.state == ModelState::kStopping) return;
  change(model, ModelState::kStopping);
  const std::vector<std::uint64_t> aborted = std::exchange(process.starting_for, {});
  for (const std::uint64_t swap : aborted) finish(swap, false, now);
  Duration takes = draw(process.how.stop, process.random);
  if (timeout > Duration::zero()) takes = std::min(takes, timeout);
  agenda_.plan(saturated_add(now, takes), SimulationAgenda::What::kProcess, model, process.round);
}

void SimulatedBackend::bring_up(std::uint64_t swap, TimePoint now) {
  const Swap& made = swaps_.at(swap);
  if (made.is_called_off) return finish(swap, false, now);
  const std::uint32_t model = made.target;
  Process& process = processes_[model];
  if (process.state == ModelState::kReady) return finish(swap, true, now);
  if (process.state == ModelState::kStopping) {
    ++swaps_.at(swap).stopping;
    process.stopping_for.push_back({true, swap});
    return;
  }
  process.starting_for.push_back(swap);
  if (process.state == ModelState::kStarting) return;
  change(model, ModelState::kStarting);
  // The same numbers are drawn whatever happens, so that an outage changes nothing after it.
  Duration takes = process.how.start ? draw(*process.how.start, process.random) : process.known_start;
  process.will_fail = process.random.next() < process.how.start_failure;
  if (process.random.next() < process.how.start_hang) takes = Duration::max();
  if (takes >= process.how.start_timeout) {
    takes = process.how.start_timeout;
    process.will_fail = true;
  }
  if (is_out(process, now)) process.will_fail = true;
  agenda_.plan(saturated_add(now, takes), SimulationAgenda::What::kProcess, model, process.round);
}

bool SimulatedBackend::is_out(const Process& process, TimePoint now) const {
  return std::any_of(process.how.outages.begin(), process.how.outages.end(), [now](const auto& outage) {
    return outage.from <= now.time_since_epoch() && now.time_since_epoch() < outage.until;
  });
}

void SimulatedBackend::on_process(std::uint32_t model, std::uint32_t round, TimePoint now) {
  Process& process = processes_[model];
  if (process.round != round) return;
  if (process.state == ModelState::kStopping || process.will_fail) return has_stopped(model, now);
  has_started(model, now);
}

void SimulatedBackend::has_started(std::uint32_t model, TimePoint now) {
  Process& process = processes_[model];
  change(model, ModelState::kReady);
  const std::vector<std::uint64_t> swaps = std::exchange(process.starting_for, {});
  for (const std::uint64_t swap : swaps) finish(swap, true, now);
  if (process.how.mean_time_to_crash == Duration::max()) return;
  const RandomDuration until{process.how.mean_time_to_crash, RandomDuration::Shape::kExponential};
  agenda_.plan(saturated_add(now, draw(until, process.random)), SimulationAgenda::What::kCrash, model, process.round);
}

void SimulatedBackend::on_crash(std::uint32_t model, std::uint32_t round, TimePoint now) {
  if (processes_[model].round != round) return;
  ++counts_.crashes;
  has_stopped(model, now);
}

void SimulatedBackend::has_stopped(std::uint32_t model, TimePoint now) {
  Process& process = processes_[model];
  process.will_fail = false;
  change(model, ModelState::kStopped);
  ended_(model);
  const std::vector<std::uint64_t> failed = std::exchange(process.starting_for, {});
  for (const std::uint64_t swap : failed) finish(swap, false, now);
  const std::vector<Waiter> waiters = std::exchange(process.stopping_for, {});
  for (const Waiter& waiter : waiters) {
    if (waiter.is_swap) {
      if (--swaps_.at(waiter.id).stopping == 0) bring_up(waiter.id, now);
    } else if (--stops_.at(waiter.id) == 0) {
      stops_.erase(waiter.id);
      reports.emplace_back(StoppedEvent{StopId{waiter.id}});
    }
  }
}

void SimulatedBackend::finish(std::uint64_t swap, bool succeeded, TimePoint now) {
  if (!succeeded) ++counts_.swaps_failed;
  swaps_.erase(swap);
  if (swaps_.empty()) swapping_ += now - swapping_since_;
  reports.emplace_back(SwapDoneEvent{SwapId{swap}, succeeded});
}

void SimulatedBackend::call_off(const CancelSwap& swap, TimePoint now) {
  const auto id = static_cast<std::uint64_t>(swap.swap);
  const auto found = swaps_.find(id);
  if (found == swaps_.end()) return;  // it has ended, and the report is on its way
  ++counts_.swaps_called_off;
  found->second.is_called_off = true;
  const std::uint32_t model = found->second.target;
  Process& process = processes_[model];
  const auto place = std::find(process.starting_for.begin(), process.starting_for.end(), id);
  if (place == process.starting_for.end()) return;  // once its victims have ended, it ends
  process.starting_for.erase(place);
  if (!process.starting_for.empty()) return finish(id, false, now);
  ++found->second.stopping;
  process.stopping_for.push_back({true, id});
  begin_stop(model, now, Duration::zero());
}

void SimulatedBackend::stop(const StopModels& stop, std::span<const ModelId> models, TimePoint now) {
  const auto id = static_cast<std::uint64_t>(stop.stop);
  std::size_t stopping = 0;
  for (const ModelId each : models) {
    const auto model = static_cast<std::uint32_t>(each);
    ++counts_.unloads;
    if (processes_[model].state == ModelState::kStopped) continue;
    ++stopping;
    processes_[model].stopping_for.push_back({false, id});
    begin_stop(model, now, stop.timeout);
  }
  if (stopping == 0) {
    reports.emplace_back(StoppedEvent{stop.stop});
  } else {
    stops_[id] = stopping;
  }
}

void SimulatedBackend::add_to(SwapSimulationReport& report, TimePoint now) const {
  report.swaps = counts_.swaps;
  report.swaps_failed = counts_.swaps_failed;
  report.swaps_called_off = counts_.swaps_called_off;
  report.evictions = counts_.evictions;
  report.unloads = counts_.unloads;
  report.crashes = counts_.crashes;
  const Duration swapping = swapping_ + (swaps_.empty() ? Duration::zero() : now - swapping_since_);
  const Duration passed = now.time_since_epoch();
  if (passed > Duration::zero()) {
    report.swap_time_share = static_cast<double>(swapping.count()) / static_cast<double>(passed.count());
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
