// SPDX-License-Identifier: MIT
// What an event costs a swap scheduler, and a question, by how many requests wait and for how many models. One group of
// models takes turns, and the one that runs is kept busy, so that all others wait. The rival is the decision table
// written down as it is, which the tests compare ours with: it looks at each request that waits.
//
// Ideal: what lets nobody through takes some ten ns, however long the queue; a request that is let through some ten ns
// more; a place, the logarithm of the queue's length. Of the largest queues nearly nothing is in a cache.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/swap/swap_scheduler.hpp"
#include "support/median_time.hpp"
#include "support/swap_crowd.hpp"
#include "support/swap_machine.hpp"
#include "swap/reference_scheduler.hpp"

namespace {

using bench::measure_median;
using penstock::ModelId;
using penstock::ModelState;
using penstock::SwapScheduler;
using penstock::TicketId;
using penstock::testing::ReferenceScheduler;

template <class Scheduler>
using Crowd = bench::SwapCrowd<bench::SwapMachine<Scheduler>>;

/// The same for all benchmarks of that size: the largest take a while to fill.
template <class Scheduler>
Crowd<Scheduler>& crowd_of(const benchmark::State& state) {
  static std::map<std::pair<std::int64_t, std::int64_t>, std::unique_ptr<Crowd<Scheduler>>> all;
  auto& one = all[{state.range(0), state.range(1)}];
  if (!one) {
    one = std::make_unique<Crowd<Scheduler>>(static_cast<std::size_t>(state.range(1)),
                                             static_cast<std::size_t>(state.range(0)));
  }
  return *one;
}

/// Of a reference that needs milliseconds, or seconds, a single call has to do. No more than half of those that wait.
template <class Scheduler>
std::size_t calls_in_a_row(const benchmark::State& state) {
  if (std::is_same_v<Scheduler, ReferenceScheduler> && state.range(0) > 10'000) return 3;
  return static_cast<std::size_t>(std::clamp(state.range(0) / 2, std::int64_t{1}, std::int64_t{63}));
}

constexpr auto nothing = [] {};

// What: a request for the model that is up has been served, and others of that model are being served.
template <class Scheduler>
void serve_done_busy(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::vector<TicketId> tickets(calls_in_a_row<Scheduler>(state));
  const auto come = [&] {
    for (TicketId& ticket : tickets) ticket = crowd.scheduler.request(crowd.up());
  };
  measure_median(
      state, tickets.size(), come, [&](std::size_t i) { crowd.scheduler.serve_done(tickets[i]); }, nothing);
}

// What: a request for a model that is in nobody's way has been served, its only one: the queue has to be gone through,
// or has not.
template <class Scheduler>
void serve_done_idle(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  TicketId ticket{};
  measure_median(
      state, 1, [&] { ticket = crowd.scheduler.request(crowd.bystander()); },
      [&](std::size_t) { crowd.scheduler.serve_done(ticket); }, nothing);
}

// What: the process of such a model ends, starts, and is ready.
template <class Scheduler>
void state_report(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  const ModelState states[] = {ModelState::kStopped, ModelState::kStarting, ModelState::kReady};
  measure_median(
      state, 3, nothing, [&](std::size_t i) { crowd.scheduler.report(crowd.bystander(), states[i]); }, nothing);
}

// What: a model's turn. Those who are being served end; another model's swap begins, and ends; who waited for it is
// granted. Ideal: nothing that depends on how many others wait.
template <class Scheduler>
void promote(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::uint32_t target = 0;
  std::size_t turns = 0;
  std::size_t granted = 0;
  measure_median(
      state, 1, nothing,
      [&](std::size_t) {
        for (const TicketId ticket : crowd.busy) crowd.scheduler.serve_done(ticket);
        target = crowd.scheduler.begun().value();
        crowd.scheduler.swap_done(target);
      },
      [&] {
        ++turns;
        granted += crowd.turn(target);
      });
  state.counters["granted"] = static_cast<double>(granted) / static_cast<double>(turns);
}

// What: of that, the last of those who are being served ends, and the next swap begins.
template <class Scheduler>
void promote_begin(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::size_t joined = 0;
  std::size_t turns = 0;
  measure_median(
      state, 1,
      [&] {
        for (std::size_t i = 1; i != crowd.busy.size(); ++i) crowd.scheduler.serve_done(crowd.busy[i]);
      },
      [&](std::size_t) { crowd.scheduler.serve_done(crowd.busy.front()); },
      [&] {
        const std::uint32_t target = crowd.scheduler.begun().value();
        crowd.scheduler.swap_done(target);
        ++turns;
        joined += crowd.turn(target);
      });
  state.counters["granted"] = static_cast<double>(joined) / static_cast<double>(turns);
}

// What: of that, the old model's process has stopped, the new one's has started and is ready, the swap has ended.
template <class Scheduler>
void promote_end(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::uint32_t target = 0;
  std::size_t turns = 0;
  std::size_t granted = 0;
  measure_median(
      state, 1,
      [&] {
        for (const TicketId ticket : crowd.busy) crowd.scheduler.serve_done(ticket);
        target = crowd.scheduler.begun().value();
      },
      [&](std::size_t) { crowd.scheduler.swap_done(target); },
      [&] {
        ++turns;
        granted += crowd.turn(target);
      });
  state.counters["granted"] = static_cast<double>(granted) / static_cast<double>(turns);
}

// What: a request for a model that is not up; it waits.
template <class Scheduler>
void enqueue(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::vector<std::pair<std::uint32_t, TicketId>> requests(calls_in_a_row<Scheduler>(state));
  measure_median(
      state, requests.size(),
      [&] {
        for (auto& [model, ticket] : requests) model = crowd.random_model(crowd.up());
      },
      [&](std::size_t i) { requests[i].second = crowd.scheduler.request(requests[i].first); },
      [&] {
        for (const auto& [model, ticket] : requests) crowd.scheduler.cancel(ticket);
      });
  if constexpr (requires { crowd.scheduler.machine().memory_bytes(); }) {
    const std::size_t bytes = crowd.scheduler.machine().memory_bytes();
    const std::size_t idle = Crowd<Scheduler>(crowd.models, 0).scheduler.machine().memory_bytes();
    const auto queued = static_cast<double>(state.range(0));
    state.counters["bytes"] = static_cast<double>(bytes) / queued;
    state.counters["bytes_more"] = static_cast<double>(bytes - idle) / queued;  // than with nobody
  }
}

// What: somebody who waits, anywhere in the queue, goes.
template <class Scheduler>
void cancel(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  const std::size_t rows = calls_in_a_row<Scheduler>(state);
  measure_median(
      state, rows, [&] { crowd.choose(rows); }, [&](std::size_t i) { crowd.scheduler.cancel(crowd.chosen[i].ticket); },
      [&] { crowd.replace_chosen(); });
}

// What: a request for the model that is up. It is granted at once.
template <class Scheduler>
void request_ready(benchmark::State& state) {
  auto& crowd = crowd_of<Scheduler>(state);
  std::vector<TicketId> tickets(calls_in_a_row<Scheduler>(state));
  measure_median(
      state, tickets.size(), nothing, [&](std::size_t i) { tickets[i] = crowd.scheduler.request(crowd.up()); },
      [&] {
        for (const TicketId ticket : tickets) crowd.scheduler.serve_done(ticket);
      });
}

/// What: a question about somebody who waits, anywhere in the queue.
template <class Scheduler, class Ask>
void ask(benchmark::State& state, std::size_t rows, Ask ask) {
  auto& crowd = crowd_of<Scheduler>(state);
  measure_median(
      state, rows, [&] { crowd.choose(rows); },
      [&](std::size_t i) { benchmark::DoNotOptimize(ask(crowd.scheduler.machine(), crowd.chosen[i].ticket)); },
      nothing);
}
template <class Scheduler>
void position(benchmark::State& state) {
  ask<Scheduler>(state, calls_in_a_row<Scheduler>(state),
                 [](const Scheduler& scheduler, TicketId ticket) { return scheduler.position(ticket); });
}
// Ideal: whatever is in its model's way is known.
void explain(benchmark::State& state) {
  ask<SwapScheduler>(state, calls_in_a_row<SwapScheduler>(state), [](const SwapScheduler& scheduler, TicketId ticket) {
    return scheduler.explain(ticket, penstock::TimePoint{});
  });
}
// Ideal: the models that come before, once each.
void eta(benchmark::State& state) {
  ask<SwapScheduler>(state, 3, [](const SwapScheduler& scheduler, TicketId ticket) {
    return scheduler.eta(ticket, penstock::TimePoint{});
  });
}

void add(const std::string& name, void (*run)(benchmark::State&), bool to_the_largest) {
  benchmark::internal::Benchmark* one = benchmark::RegisterBenchmark(("swap_scheduler/" + name).c_str(), run);
  one->ArgNames({"queued", "models"})->UseManualTime()->Args({10, 10})->Args({1'000, 100});
  if (to_the_largest) one->Args({100'000, 1'000});
  if (to_the_largest && name.find('@') == std::string::npos) one->Args({1'000'000, 100'000});
}

using Run = void(benchmark::State&);

/// `is_quick`: leaves out what a minute is needed for, to fill the reference's largest queue.
void add_both(const std::string& name, Run* ours, Run* reference, bool is_quick) {
  add(name, ours, true);
  add(name + "@reference", reference, !is_quick);
}

void add_all(bool is_quick) {
  using Ours = SwapScheduler;
  using Reference = ReferenceScheduler;
  add_both("serve_done_busy", serve_done_busy<Ours>, serve_done_busy<Reference>, is_quick);
  add_both("serve_done_idle", serve_done_idle<Ours>, serve_done_idle<Reference>, is_quick);
  add_both("state_report", state_report<Ours>, state_report<Reference>, is_quick);
  add_both("promote", promote<Ours>, promote<Reference>, is_quick);
  add_both("promote_begin", promote_begin<Ours>, promote_begin<Reference>, is_quick);
  add_both("promote_end", promote_end<Ours>, promote_end<Reference>, is_quick);
  add_both("enqueue", enqueue<Ours>, enqueue<Reference>, is_quick);
  add_both("cancel", cancel<Ours>, cancel<Reference>, is_quick);
  add_both("request_ready", request_ready<Ours>, request_ready<Reference>, is_quick);
  add_both("position", position<Ours>, position<Reference>, is_quick);
  add("explain", explain, true);
  add("eta", eta, true);
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::string_view option = "--benchmark_min_time=";
  double min_seconds = 0.5;
  for (int i = 1; i != argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(option)) min_seconds = std::strtod(argv[i] + option.size(), nullptr);
  }
  bench::sample_time_limit =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(3 * min_seconds));
  add_all(min_seconds < 0.05);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
