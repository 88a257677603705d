// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The processes of a simulation. They do as they are told by the actions of a scheduler, take their time, and report.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <vector>

#include "penstock/swap/swap_simulator.hpp"
#include "simulated_load.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class SimulatedBackend {
 public:
  /// `ended(model)` is called when a process has ended, with all that it served.
  SimulatedBackend(const SwapSimulation& simulation, const ModelTable& models, SimulationAgenda& agenda,
                   std::function<void(std::uint32_t)> ended);

  void start(const StartSwap& swap, std::span<const ModelId> evict, TimePoint now);
  void call_off(const CancelSwap& swap, TimePoint now);
  void stop(const StopModels& stop, std::span<const ModelId> models, TimePoint now);

  /// A start or stop has taken its time.
  void on_process(std::uint32_t model, std::uint32_t round, TimePoint now);
  void on_crash(std::uint32_t model, std::uint32_t round, TimePoint now);

  [[nodiscard]] bool is_ready(std::uint32_t model) const { return processes_[model].state == ModelState::kReady; }

  /// What the scheduler has to be told, in this order; taken by the caller.
  std::deque<SwapEvent> reports;

  /// Adds what has happened until `now`.
  void add_to(SwapSimulationReport& report, TimePoint now) const;

 private:
  struct Waiter {
    bool is_swap = false;
    std::uint64_t id = 0;  // else of a stop
  };
  struct Process {
    SimulatedModel how;
    Duration known_start{};  // if none is given
    RandomUnit random{0};
    ModelState state = ModelState::kStopped;
    std::uint32_t round = 0;  // of its state
    bool will_fail = false;
    std::vector<std::uint64_t> starting_for;  // swaps
    std::vector<Waiter> stopping_for;
  };
  struct Swap {
    std::uint32_t target = 0;
    std::size_t stopping = 0;  // processes that have to end first
    bool is_called_off = false;
  };

  void change(std::uint32_t model, ModelState state);
  void begin_stop(std::uint32_t model, TimePoint now, Duration timeout);
  void bring_up(std::uint64_t swap, TimePoint now);
  void has_stopped(std::uint32_t model, TimePoint now);
  void has_started(std::uint32_t model, TimePoint now);
  void finish(std::uint64_t swap, bool succeeded, TimePoint now);
  [[nodiscard]] bool is_out(const Process& process, TimePoint now) const;

  SimulationAgenda& agenda_;
  const std::function<void(std::uint32_t)> ended_;
  std::vector<Process> processes_;
  std::map<std::uint64_t, Swap> swaps_;
  std::map<std::uint64_t, std::size_t> stops_;  // processes that have to end
  TimePoint swapping_since_{};
  Duration swapping_{};
  SwapSimulationReport counts_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
