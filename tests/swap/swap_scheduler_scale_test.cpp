// SPDX-License-Identifier: MIT
// What a long queue costs, and what those in it see.
#include <time.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "penstock/swap/swap_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/swap_scheduler_support.hpp"

namespace penstock {
namespace {

using testing::SwapBench;
using namespace std::chrono_literals;

/// The time that this thread has run: what else runs on the machine does not count.
Duration thread_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

SwapSchedulerOptions many_models(std::size_t count) {
  SwapSchedulerOptions options{.limit_at = LimitAt::kGrant};
  for (std::size_t i = 0; i != count; ++i) {
    options.models.push_back({.name = "m" + std::to_string(i), .concurrency_limit = 1'000'000});
  }
  return options;
}

/// What it takes to queue so many requests, to tell each its place, twice, and to cancel them.
Duration time_of(std::size_t requests) {
  SwapScheduler scheduler(many_models(100));
  SwapActions out;
  std::vector<TicketId> tickets;
  tickets.reserve(requests);
  const Duration began = thread_time();
  std::size_t sum = 0;
  for (std::size_t i = 0; i != requests; ++i) {
    out.clear();
    const ModelId model{static_cast<std::uint32_t>(i % 100)};
    const auto priority = static_cast<std::int32_t>(i % 7);
    tickets.push_back(scheduler.on_request({.model = model, .priority = priority}, TimePoint(1s), out));
    sum += scheduler.position(tickets.back()).value_or(0);
  }
  CHECK(scheduler.queued() > requests * 9 / 10);
  for (const TicketId ticket : tickets) {
    sum += scheduler.position(ticket).value_or(0);
    out.clear();
    scheduler.on_cancel(ticket, TimePoint(2s), out);
  }
  const Duration took = thread_time() - began;
  CHECK(sum > requests);
  CHECK(scheduler.queued() == 0);
  return took;
}

}  // namespace

TEST_CASE("SwapScheduler: ten times as many who wait cost hardly more than ten times as much",
          "[swap][swap_scheduler]") {
  // With a look at all who wait for each, it would be a hundred times.
  const Duration few = time_of(10'000);
  CHECK(time_of(100'000) < 40 * few);
}

TEST_CASE("SwapScheduler: a copy of a long queue goes on as the original", "[swap][swap_scheduler]") {
  const Duration max_wait = GENERATE(Duration::max(), Duration(1h));
  SwapSchedulerOptions options = many_models(3);
  options.max_wait = max_wait;
  SwapScheduler scheduler(options);
  SwapActions out;
  std::vector<TicketId> tickets;
  const auto request = [&](SwapScheduler& from) {
    out.clear();
    const ModelId model{static_cast<std::uint32_t>(tickets.size() % 3)};
    return from.on_request({.model = model}, TimePoint(1s), out);
  };
  const auto cancel_some = [&](SwapScheduler& from) {
    for (std::size_t i = 0; i < tickets.size(); i += 7) {
      out.clear();
      if (from.state(tickets[i]) == TicketState::kEnded || !from.on_cancel(tickets[i], TimePoint(2s), out)) FAIL(i);
    }
  };
  const auto add_some = [&](SwapScheduler& to) {
    for (std::size_t i = 0; i != 30'000; ++i) {
      if (to.state(request(to)) == TicketState::kEnded) FAIL(i);
    }
  };
  while (tickets.size() != 100'000) tickets.push_back(request(scheduler));
  SwapScheduler copy = scheduler;
  add_some(copy);  // where it has no room yet
  cancel_some(copy);
  CHECK(scheduler.queued() + scheduler.stats().joined == tickets.size());
  cancel_some(scheduler);
  add_some(scheduler);
  CHECK(scheduler.queued() == copy.queued());
  for (std::size_t i = 1; i < tickets.size(); i += 97) {
    if (i % 7 == 0) continue;
    if (scheduler.position(tickets[i]) != copy.position(tickets[i]) && i % 3 == 2) FAIL(i);
    if (copy.state(tickets[i]) != scheduler.state(tickets[i])) FAIL(i);
  }
}

TEST_CASE("SwapScheduler: a place is from 1 on, and never gets worse but for who matters more",
          "[swap][swap_scheduler]") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    SwapBench bench(many_models(5));
    struct Waiting {
      TicketId ticket;
      std::int32_t priority;
      std::size_t place;
    };
    std::vector<Waiting> waiting;
    std::vector<TicketId> granted;
    for (int step = 0; step != 400; ++step) {
      bench.out.clear();
      std::optional<std::int32_t> came;
      const auto what = random() % 10;
      if (what < 6) {
        came = static_cast<std::int32_t>(random() % 3);
        const ModelId model{static_cast<std::uint32_t>(random() % 5)};
        const TicketId ticket = bench.scheduler.on_request({.model = model, .priority = *came}, bench.now, bench.out);
        waiting.push_back({ticket, *came, bench.scheduler.queued()});
      } else if (what == 6 && !waiting.empty()) {
        bench.scheduler.on_cancel(waiting[random() % waiting.size()].ticket, bench.now, bench.out);
      } else if (what == 7 && !granted.empty()) {
        bench.scheduler.on_serve_done(granted.back(), bench.now, bench.out);
        granted.pop_back();
      } else if (what == 8) {
        for (std::uint32_t model = 0; model != 5; ++model) {
          const std::string name = "m" + std::to_string(model);
          if (bench.scheduler.model_load(ModelId{model}).swap == SwapId{}) continue;
          bench.up(name.c_str());
          break;
        }
      }
      bench.note();
      for (const SwapAction& action : bench.out) {
        if (const auto* grant = std::get_if<GrantTicket>(&action)) granted.push_back(grant->ticket);
      }
      std::vector<bool> taken(bench.scheduler.queued());
      std::erase_if(waiting, [&](const Waiting& each) { return !bench.scheduler.position(each.ticket); });
      for (Waiting& each : waiting) {
        const std::size_t place = *bench.scheduler.position(each.ticket);
        if (place < 1 || place > taken.size() || taken[place - 1]) FAIL("place " << place << " at step " << step);
        taken[place - 1] = true;
        const bool may_be_worse = came && *came > each.priority;
        if (place > each.place + (may_be_worse ? 1 : 0)) FAIL("from place " << each.place << " to " << place);
        each.place = place;
      }
      REQUIRE(waiting.size() == bench.scheduler.queued());
    }
  }
}

}  // namespace penstock
