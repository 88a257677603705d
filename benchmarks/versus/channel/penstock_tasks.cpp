// SPDX-License-Identifier: MIT
// Ours, on coroutines: `processors` threads run them.
#include <memory>
#include <numeric>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"

#include "penstock_workloads.hpp"

namespace versus {
namespace {

using penstock::Channel;
using penstock::JoinHandle;
using penstock::OpStatus;
using penstock::RunLoop;
using penstock::Task;
using penstock::WorkStealingExecutor;

template <class T>
Task<> send_all(Channel<T>& channel, std::size_t count, Span& span) {
  span.begin = now_ns();
  for (std::size_t number = 0; number != count; ++number) {
    check(co_await channel.async_send(T::of(number)) == OpStatus::kOk, "send failed");
  }
  span.end = now_ns();
}

template <class T>
Task<> receive_all(Channel<T>& channel, std::size_t count, std::uint64_t& sum, Span& span) {
  span.begin = now_ns();
  for (T value; count != 0; --count) {
    check(co_await channel.async_receive(value) == OpStatus::kOk, "receive failed");
    sum += value.sum();
  }
  span.end = now_ns();
}

template <class T>
Task<> ping(Channel<T>& there, Channel<T>& back, std::size_t count, std::uint64_t& sum, Span& span) {
  span.begin = now_ns();
  T value;
  for (std::size_t number = 0; number != count; ++number) {
    check(co_await there.async_send(T::of(number)) == OpStatus::kOk, "send failed");
    check(co_await back.async_receive(value) == OpStatus::kOk, "receive failed");
    sum += value.sum();
  }
  span.end = now_ns();
}

template <class T>
Task<> pong(Channel<T>& there, Channel<T>& back, std::size_t count, Span& span) {
  span.begin = now_ns();
  for (T value; count != 0; --count) {
    check(co_await there.async_receive(value) == OpStatus::kOk, "receive failed");
    check(co_await back.async_send(value) == OpStatus::kOk, "send failed");
  }
  span.end = now_ns();
}

/// Runs all of `tasks` to their end on `processors` threads.
Figures run_tasks(std::size_t items, std::vector<Task<>> tasks, const std::vector<Span>& spans,
                  std::size_t processors) {
  std::vector<JoinHandle<>> handles;
  if (processors == 1) {
    RunLoop loop;
    const Usage before = Usage::now();
    for (Task<>& task : tasks) handles.push_back(spawn(loop, std::move(task)));
    loop.run_ready();
    return figures_of(items, spans, before, Usage::now());
  }
  WorkStealingExecutor executor(processors, "versus");
  const Usage before = Usage::now();
  for (Task<>& task : tasks) handles.push_back(spawn(executor, std::move(task)));
  for (JoinHandle<>& handle : handles) handle.get();
  return figures_of(items, spans, before, Usage::now());
}

template <class T>
Figures throughput(const Arguments& arguments) {
  const std::size_t producers = arguments["producers"];
  const std::size_t consumers = arguments["consumers"];
  const std::size_t unit = std::lcm(producers, consumers);
  const std::size_t items = (arguments["items"] + unit - 1) / unit * unit;
  Channel<T> channel(arguments["capacity"]);
  std::vector<Span> spans(producers + consumers);
  std::vector<std::uint64_t> sums(consumers);
  std::vector<Task<>> tasks;
  for (std::size_t i = 0; i != consumers; ++i) {
    tasks.push_back(receive_all(channel, items / consumers, sums[i], spans[i]));
  }
  for (std::size_t i = 0; i != producers; ++i) {
    tasks.push_back(send_all(channel, items / producers, spans[consumers + i]));
  }
  const Figures figures = run_tasks(items, std::move(tasks), spans, arguments["processors"]);
  const std::uint64_t sum = std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
  check(sum == producers * sum_of_first(items / producers), "tasks_throughput: the sum is wrong");
  return figures;
}

template <class T>
Figures ping_pong(const Arguments& arguments) {
  Channel<T> there(arguments["capacity"]);
  Channel<T> back(arguments["capacity"]);
  const std::size_t items = arguments["items"];
  std::vector<Span> spans(2);
  std::uint64_t sum = 0;
  std::vector<Task<>> tasks;
  tasks.push_back(ping(there, back, items, sum, spans[0]));
  tasks.push_back(pong(there, back, items, spans[1]));
  const Figures figures = run_tasks(items, std::move(tasks), spans, arguments["processors"]);
  check(sum == sum_of_first(items), "tasks_ping_pong: the sum is wrong");
  return figures;
}

}  // namespace

Workloads task_workloads() {
  return {{"tasks_throughput",
           [](const Arguments& arguments) {
             return arguments["bytes"] == 64 ? throughput<Value<64>>(arguments) : throughput<Value<8>>(arguments);
           }},
          {"tasks_ping_pong", [](const Arguments& arguments) {
             return arguments["bytes"] == 64 ? ping_pong<Value<64>>(arguments) : ping_pong<Value<8>>(arguments);
           }}};
}

}  // namespace versus
