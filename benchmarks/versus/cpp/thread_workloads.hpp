// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a queue. An adapter is
///
///     template <class T>
///     struct Queue {
///       static bool supports(std::size_t capacity);
///       explicit Queue(std::size_t capacity);
///       void send(const T& value);   // waits while there are `capacity` values
///       T receive();                 // waits while there is none
///     };

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <thread>
#include <vector>

#include "measure.hpp"

namespace versus {

/// How workers are run, each in a thread unless an adapter has something else.
using Runner = Figures (*)(std::size_t items, const std::vector<std::function<void()>>& workers);

/// `producers` threads send `items` values to `consumers` threads. An item is a value.
template <template <class> class Queue, class T>
Figures throughput(const Arguments& arguments, Runner run = run_together) {
  const std::size_t producers = arguments["producers"];
  const std::size_t consumers = arguments["consumers"];
  const std::size_t unit = std::lcm(producers, consumers);
  const std::size_t items = (arguments["items"] + unit - 1) / unit * unit;
  Queue<T> queue(arguments["capacity"]);
  std::atomic<std::uint64_t> sum{0};
  std::vector<std::function<void()>> workers;
  for (std::size_t i = 0; i != consumers; ++i) {
    workers.emplace_back([&] {
      std::uint64_t own = 0;
      for (std::size_t left = items / consumers; left != 0; --left) own += queue.receive().sum();
      sum += own;
    });
  }
  for (std::size_t i = 0; i != producers; ++i) {
    workers.emplace_back([&] {
      for (std::size_t number = 0; number != items / producers; ++number) queue.send(T::of(number));
    });
  }
  const Figures figures = run(items, workers);
  check(sum == producers * sum_of_first(items / producers), "throughput: the sum is wrong");
  return figures;
}

/// A thread sends a value and receives it itself. An item is both.
template <template <class> class Queue, class T>
Figures self(const Arguments& arguments) {
  Queue<T> queue(arguments["capacity"]);
  std::uint64_t sum = 0;
  const std::size_t items = arguments["items"];
  const Figures figures = run_alone(items, [&] {
    for (std::size_t number = 0; number != items; ++number) {
      queue.send(T::of(number));
      sum += queue.receive().sum();
    }
  });
  check(sum == sum_of_first(items), "self: the sum is wrong");
  return figures;
}

/// A value goes to another thread and comes back. An item is a round trip.
template <template <class> class Queue, class T>
Figures ping_pong(const Arguments& arguments, Runner run = run_together) {
  Queue<T> there(arguments["capacity"]);
  Queue<T> back(arguments["capacity"]);
  std::uint64_t sum = 0;
  const std::size_t items = arguments["items"];
  const auto ping = [&] {
    for (std::size_t number = 0; number != items; ++number) {
      there.send(T::of(number));
      sum += back.receive().sum();
    }
  };
  const auto pong = [&] {
    for (std::size_t left = items; left != 0; --left) back.send(there.receive());
  };
  const Figures figures = run(items, {ping, pong});
  check(sum == sum_of_first(items), "ping_pong: the sum is wrong");
  return figures;
}

/// A receiver sleeps for `gap_us` before each value, which carries the time at which it was sent. An item is a value.
template <template <class> class Queue, class T>
Figures wake(const Arguments& arguments) {
  Queue<T> queue(arguments["capacity"]);
  const std::size_t items = arguments["items"];
  std::vector<std::uint64_t> latencies;
  latencies.reserve(items);
  const auto receiver = [&] {
    for (std::size_t left = items; left != 0; --left) {
      const std::uint64_t sent = queue.receive().words[0];
      latencies.push_back(now_ns() - sent);
    }
  };
  const auto sender = [&] {
    for (std::size_t left = items; left != 0; --left) {
      sleep_ns(arguments["gap_us"] * 1000);
      queue.send(T::of(now_ns()));
    }
  };
  Figures figures = run_together(items, {receiver, sender});
  figures.add_quantiles(latencies);
  return figures;
}

/// A receiver waits for `items` milliseconds, after a while to settle in. An item is a millisecond.
template <template <class> class Queue, class T>
Figures idle(const Arguments& arguments) {
  Queue<T> queue(arguments["capacity"]);
  std::uint64_t sum = 0;
  std::thread receiver([&] { sum = queue.receive().sum(); });
  sleep_ns(20000000);
  const Usage before = Usage::now();
  Span span{.begin = now_ns()};
  sleep_ns(arguments["items"] * 1000000);
  span.end = now_ns();
  const Usage after = Usage::now();
  queue.send(T::of(1));
  receiver.join();
  check(sum == 2, "idle: the value is wrong");
  return figures_of(arguments["items"], {span}, before, after);
}

/// Has `arguments["bytes"]` decide between two sizes of values, if `Queue` can have that capacity.
template <template <class> class Queue, class Small, class Large>
Workload by_size(Small small, Large large) {
  return [=](const Arguments& arguments) -> std::optional<Figures> {
    if (!Queue<Value<8>>::supports(arguments["capacity"])) return std::nullopt;
    return arguments["bytes"] == 64 ? large(arguments) : small(arguments);
  };
}

/// `throughput` and `ping_pong` for an adapter, run by `run`; their names begin with `prefix`.
template <template <class> class Queue>
Workloads workloads_run_by(Runner run, const std::string& prefix) {
  const auto bind = [=](auto workload) { return [=](const Arguments& arguments) { return workload(arguments, run); }; };
  return {
      {prefix + "throughput", by_size<Queue>(bind(throughput<Queue, Value<8>>), bind(throughput<Queue, Value<64>>))},
      {prefix + "ping_pong", by_size<Queue>(bind(ping_pong<Queue, Value<8>>), bind(ping_pong<Queue, Value<64>>))}};
}

/// All of these for an adapter.
template <template <class> class Queue>
Workloads thread_workloads() {
  Workloads workloads = workloads_run_by<Queue>(run_together, "");
  workloads["self"] = by_size<Queue>(self<Queue, Value<8>>, self<Queue, Value<64>>);
  workloads["wake"] = by_size<Queue>(wake<Queue, Value<8>>, wake<Queue, Value<64>>);
  workloads["idle"] = by_size<Queue>(idle<Queue, Value<8>>, idle<Queue, Value<64>>);
  return workloads;
}

}  // namespace versus
