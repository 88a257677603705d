// SPDX-License-Identifier: MIT
// Twelve tasks that wait for each other: on a pool of a fixed size they would wait for ever. This one makes a worker
// for each, uses one for many short tasks, and lets go of those that nobody needs.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <latch>
#include <thread>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"

using namespace std::chrono_literals;
using penstock::Context;
using penstock::ElasticEnd;
using penstock::ElasticPool;
using penstock::Job;
using penstock::JobContext;
using penstock::LowWater;
using penstock::OpStatus;

int main() {
  penstock::ManualClock clock;  // so that nobody has to wait for the pool to shrink
  ElasticPool pool({.name = "streams", .trim = LowWater{.window = 10s, .fraction = 0.5, .floor = 1}, .clock = &clock});

  std::latch everybody(12);
  for (int task = 0; task != 12; ++task) {
    if (pool.execute([&everybody] { everybody.arrive_and_wait(); }) != OpStatus::kOk) return 1;
  }
  everybody.wait();
  const std::size_t grown = pool.worker_count();
  std::printf("12 tasks that wait for each other: %zu workers\n", grown);

  std::atomic<int> hits{0};
  for (int task = 0; task != 10'000; ++task) {
    if (pool.execute([&hits] { ++hits; }) != OpStatus::kOk) return 1;
  }
  const Job<int> last = pool.submit([] { return 1; }).value();  // a handle, where the answer matters
  while (hits != 10'000 || !last.is_done() || pool.stats().busy != 0) std::this_thread::yield();
  std::printf("10000 short tasks: no more than a handful of new ones: %s\n",
              pool.worker_count() <= grown + 5 ? "yes" : "no");

  // What was idle all through a window was not needed in it.
  for (int window = 1; window <= 6; ++window) {
    clock.advance(10s);
    if (window % 2 == 0) std::printf("after %d s of silence: %zu\n", window * 10, pool.worker_count());
  }
  const bool has_shrunk = pool.worker_count() == 1;

  // The end: what runs is asked to stop, and the report says what became of everything.
  std::atomic<bool> begun{false};
  Job<absl::Status> stream = pool.submit([&begun](const JobContext& job) {
                                   begun = true;
                                   while (job.context.status() == OpStatus::kOk) std::this_thread::yield();
                                   return job.context.cause();
                                 })
                                 .value();
  while (!begun) std::this_thread::yield();
  const penstock::ElasticShutdownReport report = pool.shutdown(Context::background(), ElasticEnd::kCancel);
  std::printf("end: in time: %s, ran %d, dropped %d\n", report.in_time ? "yes" : "no", static_cast<int>(report.ran),
              static_cast<int>(report.dropped));
  std::printf("the stream: %s\n", std::string(stream.get().message()).c_str());
  const OpStatus late = pool.execute([] {});
  std::printf("one more: %s\n", std::string(penstock::to_string(late)).c_str());
  return grown == 12 && has_shrunk && report.in_time && late == OpStatus::kClosed ? 0 : 1;
}
