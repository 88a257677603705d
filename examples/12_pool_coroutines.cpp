// SPDX-License-Identifier: MIT
// A hundred thousand calls under way at once, on a pool of four threads: each is a coroutine that waits for its answer,
// and a coroutine that waits holds no thread. The pool resumes them; what resumes is never refused, however full its
// queue of jobs is.
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"

using namespace penstock;

constexpr int kCalls = 100'000;

// One call: it waits for the provider, in a worker of the pool whenever it runs, and comes back with what that has
// said.
Task<int> call(Channel<int>& provider) {
  int answer = 0;
  co_await provider.async_receive(answer);
  co_return answer;
}

int main() {
  auto pool = WorkerPool::create({.name = "calls", .workers = 4, .queue_capacity = 0});
  if (!pool.ok()) return 1;
  Channel<int> provider(0);

  std::vector<JoinHandle<int>> calls;
  calls.reserve(kCalls);
  for (int i = 0; i < kCalls; ++i) calls.push_back(spawn(**pool, call(provider)));

  // All of them wait at the same time before the first one gets its answer.
  while (provider.stats().blocked_receivers != kCalls) std::this_thread::yield();
  long expected = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int answer = 1; answer <= kCalls; ++answer) {
    if (provider.send(answer) != OpStatus::kOk) return 1;
    expected += answer;
  }
  long sum = 0;
  for (JoinHandle<int>& one : calls) sum += one.get();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;

  std::printf("%d calls waited at once on 4 threads, and %s answered\n", kCalls,
              sum == expected ? "all were" : "not all were");
  std::fprintf(stderr, "answered in %.0f ms\n", took.count());
  return sum == expected ? 0 : 1;
}
