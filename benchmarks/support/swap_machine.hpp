// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/swap_options.hpp"
#include "penstock/swap/swap_scheduler.hpp"

namespace bench {

/// So many models of which one runs at a time, and one more, "z", which is in nobody's way.
inline penstock::SwapSchedulerOptions swap_options(std::size_t models) {
  penstock::SwapSchedulerOptions options{.name = "bench"};
  penstock::ModelGroup turns{.name = "turns", .swap = true, .exclusive = false};
  for (std::size_t model = 0; model != models; ++model) {
    const std::string digits = std::to_string(100'000'000 + model).substr(1);  // so that they are in the order of names
    options.models.push_back({.name = "m" + digits, .concurrency_limit = 1'000'000'000});
    turns.members.push_back("m" + digits);
  }
  options.models.push_back({.name = "z", .concurrency_limit = 1'000'000'000});
  penstock::ModelGroup apart{.name = "apart", .swap = false, .exclusive = false, .persistent = true, .members = {"z"}};
  options.planner = penstock::group_planner({.groups = {std::move(turns), std::move(apart)}});
  return options;
}

/// A `SwapScheduler`, or something with the same members, as swap_workloads.hpp wants it. Its clock goes on by a
/// microsecond with each event.
template <class Machine>
class SwapMachine {
 public:
  using Ticket = penstock::TicketId;

  explicit SwapMachine(std::size_t models) : machine_(swap_options(models)) {}

  Ticket request(std::uint32_t model) {
    const Ticket ticket = machine_.on_request({.model = penstock::ModelId{model}}, next(), actions_);
    look();
    return ticket;
  }
  bool is_granted(Ticket ticket) { return machine_.state(ticket) == penstock::TicketState::kGranted; }
  void serve_done(Ticket ticket) {
    machine_.on_serve_done(ticket, next(), actions_);
    look();
  }
  void cancel(Ticket ticket) {
    machine_.on_cancel(ticket, next(), actions_);
    look();
  }
  std::size_t position(Ticket ticket) { return machine_.position(ticket).value_or(0); }
  std::optional<std::uint32_t> begun() { return std::exchange(begun_, std::nullopt); }
  void swap_done(std::uint32_t target) {
    for (const penstock::ModelId each : evict_) {
      report(static_cast<std::uint32_t>(each), penstock::ModelState::kStopped);
    }
    evict_.clear();
    report(target, penstock::ModelState::kStarting);
    report(target, penstock::ModelState::kReady);
    machine_.on_swap_done(swap_, true, next(), actions_);
    look();
  }
  /// The process of `model` does something else.
  void report(std::uint32_t model, penstock::ModelState state) {
    machine_.on_model_state(penstock::ModelId{model}, state, next(), actions_);
    look();
  }
  Machine& machine() { return machine_; }

 private:
  penstock::TimePoint next() { return now_ += std::chrono::microseconds(1); }
  void look() {
    for (const penstock::SwapAction& action : actions_) {
      if (const auto* start = std::get_if<penstock::StartSwap>(&action)) {
        swap_ = start->swap;
        begun_ = static_cast<std::uint32_t>(start->target);
        const std::span<const penstock::ModelId> evict = actions_.models(start->evict);
        evict_.assign(evict.begin(), evict.end());
      }
    }
    actions_.clear();
  }

  Machine machine_;
  penstock::SwapActions actions_;
  penstock::TimePoint now_{};
  penstock::SwapId swap_{};
  std::vector<penstock::ModelId> evict_;
  std::optional<std::uint32_t> begun_;
};

}  // namespace bench
