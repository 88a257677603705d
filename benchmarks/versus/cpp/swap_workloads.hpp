// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a scheduler has to do that lets models take turns, of which only one runs at a time. What an adapter has to
/// have is told at `bench::SwapWorld`.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <malloc.h>

#include "measure.hpp"
#include "support/swap_world.hpp"

namespace versus {

using bench::SwapWorld;

/// A request for the model that runs, and its end; it stays busy. An item is that.
template <class Scheduler>
Figures swap_ready(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.fill(arguments["queued"]);
  return run_alone(arguments["items"], [&] {
    for (std::size_t left = arguments["items"]; left != 0; --left) {
      const auto ticket = world.scheduler.request(0);
      check(world.scheduler.is_granted(ticket), "ready: not granted");
      world.scheduler.serve_done(ticket);
    }
  });
}

/// A request for the model that is in nobody's way, and its end. It then serves nothing, which might let somebody
/// through, and does not. An item is that.
template <class Scheduler>
Figures swap_unrelated(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.fill(arguments["queued"]);
  const Figures figures = run_alone(arguments["items"], [&] {
    for (std::size_t left = arguments["items"]; left != 0; --left) {
      const auto ticket = world.scheduler.request(world.bystander());
      check(world.scheduler.is_granted(ticket), "unrelated: not granted");
      world.scheduler.serve_done(ticket);
    }
  });
  check(!world.scheduler.begun(), "unrelated: a swap was begun");
  return figures;
}

/// One of those that wait gives up, and another one comes. An item is that.
template <class Scheduler>
Figures swap_come_and_go(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.fill(arguments["queued"]);
  const Figures figures = run_alone(arguments["items"], [&] {
    for (std::size_t left = arguments["items"]; left != 0; --left) {
      auto& one = world.waiting[world.mixer.below(world.waiting.size())];
      world.scheduler.cancel(one.ticket);
      one.model = world.random_model(0);
      one.ticket = world.scheduler.request(one.model);
    }
  });
  check(world.scheduler.position(world.waiting.front().ticket) <= arguments["queued"], "come_and_go: too many wait");
  return figures;
}

/// One of those that wait is told its place. An item is that.
template <class Scheduler>
Figures swap_position(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.fill(arguments["queued"]);
  std::size_t sum = 0;
  const Figures figures = run_alone(arguments["items"], [&] {
    for (std::size_t left = arguments["items"]; left != 0; --left) {
      sum += world.scheduler.position(world.waiting[world.mixer.below(world.waiting.size())].ticket);
    }
  });
  check(sum >= arguments["items"], "position: somebody has none");
  check(world.scheduler.position(world.waiting.back().ticket) == arguments["queued"], "position: it is another one");
  return figures;
}

/// The whole life of a request: it waits in the queue, its model is brought up, it is granted and served. For each one
/// that has been served another one comes, for any model but the one that runs. An item is a request; the swaps between
/// them take no time.
template <class Scheduler>
Figures swap_life(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.fill(arguments["queued"]);
  using Ticket = typename SwapWorld<Scheduler>::Ticket;
  std::vector<std::vector<Ticket>> waiting(world.models);
  for (const auto& [ticket, model] : world.waiting) waiting[model].push_back(ticket);
  std::size_t served = 0;
  Figures figures = run_alone(0, [&] {
    while (served < arguments["items"]) {
      for (const Ticket& ticket : world.busy) world.scheduler.serve_done(ticket);
      const std::optional<std::uint32_t> next = world.scheduler.begun();
      check(next.has_value(), "life: nobody comes next");
      world.scheduler.swap_done(*next);
      world.busy.clear();
      std::swap(world.busy, waiting[*next]);
      for (const Ticket& ticket : world.busy) check(world.scheduler.is_granted(ticket), "life: not granted");
      for (std::size_t left = world.busy.size(); left != 0; --left) {
        const std::uint32_t model = world.random_model(*next);
        waiting[model].push_back(world.scheduler.request(model));
      }
      served += world.busy.size();
    }
  });
  figures.items = served;
  return figures;
}

/// The memory of those that wait. An item is one of them.
template <class Scheduler>
Figures swap_memory(const Arguments& arguments) {
  SwapWorld<Scheduler> world(arguments["models"]);
  world.waiting.reserve(arguments["queued"]);
  const std::size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  Figures figures = run_alone(arguments["queued"], [&] { world.fill(arguments["queued"]); });
  const std::size_t after = mallinfo2().uordblks + mallinfo2().hblkhd;
  figures.more.emplace_back("bytes", static_cast<double>(after - before) / static_cast<double>(arguments["queued"]));
  return figures;
}

/// All of these for an adapter; their names begin with `prefix`.
template <class Scheduler>
Workloads swap_workloads(const std::string& prefix = "") {
  return {{prefix + "ready", swap_ready<Scheduler>},
          {prefix + "unrelated", swap_unrelated<Scheduler>},
          {prefix + "come_and_go", swap_come_and_go<Scheduler>},
          {prefix + "position", swap_position<Scheduler>},
          {prefix + "life", swap_life<Scheduler>},
          {prefix + "memory", swap_memory<Scheduler>}};
}

}  // namespace versus
