// SPDX-License-Identifier: MIT

// Threads that have nothing to do: who is taken next, and who ends when.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "exec/thread_manager_support.hpp"
#include "penstock/channel/channel.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::TestManager;

namespace {

/// Has `count` threads made, and waits for them to be idle.
void make_idle(TestManager& manager, ManualClock& clock, int count) {
  Gate gate;
  for (int i = 0; i < count; ++i) REQUIRE(manager->spawn("x", [&] { gate.pass(); }).ok());
  REQUIRE(gate.await(count));
  gate.open();
  REQUIRE(manager.is_at_rest());
  REQUIRE(eventually([&] { return clock.armed() == static_cast<std::size_t>(count); }));
}

/// What all threads of this process have used so far.
Duration processor_time() {
  std::timespec used{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

/// What the process uses in 100 ms in which this thread waits; the least of a few looks, since others may be at work.
Duration use_while_waiting() {
  Duration least = Duration::max();
  for (int i = 0; i < 5 && least > 5ms; ++i) {
    const Duration before = processor_time();
    Channel<int> never(0);
    static_cast<void>(never.receive(Context::background().with_timeout(100ms)));
    least = std::min(least, processor_time() - before);
  }
  return least;
}

}  // namespace

TEST_CASE("ThreadManager: where nothing is at work nothing uses the processor", "[exec][thread_manager]") {
  ThreadManagerOptions options{.max_threads = 4, .idle_timeout = 1h, .health_interval = 1ns};
  options.on_stuck = [](const ThreadInfo&) {};
  TestManager manager(std::move(options));
  CHECK(use_while_waiting() <= 20ms);
  for (int i = 0; i < 4; ++i) REQUIRE(manager->spawn("x", [] {}).ok());
  REQUIRE(manager.is_at_rest());
  CHECK(use_while_waiting() <= 20ms);
}

TEST_CASE("ThreadManager: an idle thread is used again", "[exec][thread_manager]") {
  testing::Recorder<std::thread::id> threads;
  TestManager manager({.max_threads = 4});
  for (int i = 0; i < 10; ++i) {
    REQUIRE(manager->spawn("x", [&] { threads.record(std::this_thread::get_id()); }).ok());
    REQUIRE(manager.is_at_rest());
  }
  REQUIRE(threads.size() == 10);
  CHECK(threads.count(threads.events()[0]) == 10);
  CHECK(manager->stats().reused == 9);
  CHECK(manager->stats().live == 1);
}

TEST_CASE("ThreadManager: the thread that became idle last is used first", "[exec][thread_manager]") {
  ManualClock clock;
  Gate first;
  Gate second;
  testing::Recorder<std::thread::id> threads;
  TestManager manager({.max_threads = 2, .idle_timeout = 10s, .clock = &clock});
  const auto pass = [&threads](Gate& gate) {
    threads.record(std::this_thread::get_id());
    gate.pass();
  };
  REQUIRE(manager->spawn("a", [&] { pass(first); }).ok());
  REQUIRE(first.await(1));
  REQUIRE(manager->spawn("b", [&] { pass(second); }).ok());
  REQUIRE(second.await(1));
  second.open();
  REQUIRE(eventually([&] { return manager->stats().idle == 1; }));
  first.open();
  REQUIRE(manager.is_at_rest());
  for (int i = 0; i < 3; ++i) {
    REQUIRE(manager->spawn("c", [&] { threads.record(std::this_thread::get_id()); }).ok());
    REQUIRE(manager.is_at_rest());
  }
  const auto seen = threads.events();
  REQUIRE(seen.size() == 5);
  for (int i = 2; i < 5; ++i) CHECK(seen[static_cast<std::size_t>(i)] == seen[0]);
}

TEST_CASE("ThreadManager: an idle thread ends exactly when its time is up", "[exec][thread_manager]") {
  ManualClock clock;
  const std::size_t before = testing::system_threads();
  TestManager manager({.max_threads = 2, .idle_timeout = 10s, .clock = &clock});
  make_idle(manager, clock, 1);
  clock.advance(10s - 1ns);
  CHECK(clock.armed() == 1);
  CHECK(manager->stats().idle == 1);
  clock.advance(1ns);
  REQUIRE(eventually([&] { return manager->stats().live == 0; }));
  REQUIRE(eventually([&] { return testing::system_threads() == before; }));
  const ThreadManagerStats stats = manager->stats();
  CHECK(stats.idle_expired == 1);
  CHECK(stats.idle == 0);
}

TEST_CASE("ThreadManager: use gives a thread all its time again, and what a burst left over ends",
          "[exec][thread_manager]") {
  ManualClock clock;
  TestManager manager({.max_threads = 8, .idle_timeout = 10s, .clock = &clock});
  make_idle(manager, clock, 5);
  for (int i = 0; i < 4; ++i) {
    clock.advance(4s);
    REQUIRE(manager->spawn("steady", [] {}).ok());
    REQUIRE(manager.is_at_rest());
    REQUIRE(eventually([&] { return clock.armed() == manager->stats().idle; }));
  }
  REQUIRE(eventually([&] { return manager->stats().live == 1; }));
  CHECK(manager->stats().idle_expired == 4);
  CHECK(manager->stats().reused == 4);
}

TEST_CASE("ThreadManager: the last threads stay", "[exec][thread_manager]") {
  ManualClock clock;
  TestManager manager({.max_threads = 8, .min_threads = 2, .idle_timeout = 10s, .clock = &clock});
  CHECK(manager->stats().live == 0);  // none is started ahead
  make_idle(manager, clock, 5);
  clock.advance(1h);
  REQUIRE(eventually([&] { return manager->stats().live == 2 && clock.armed() == 0; }));
  CHECK(manager->stats().idle_expired == 3);
  clock.advance(1h);
  CHECK(manager->stats().idle == 2);

  make_idle(manager, clock, 3);  // uses those two, and one more
  clock.advance(10s);
  REQUIRE(eventually([&] { return manager->stats().live == 2 && clock.armed() == 0; }));
  CHECK(manager->stats().idle_expired == 4);
}

TEST_CASE("ThreadManager: without time to be idle a thread ends with its function", "[exec][thread_manager]") {
  TestManager manager({.max_threads = 4, .idle_timeout = 0s});
  REQUIRE(manager->spawn("x", [] {}).ok());
  REQUIRE(eventually([&] { return manager->stats().idle_expired == 1; }));
  CHECK(manager->stats().live == 0);
}

TEST_CASE("ThreadManager: idle threads end in real time, too", "[exec][thread_manager]") {
  Gate gate;
  TestManager manager({.max_threads = 4, .min_threads = 1, .idle_timeout = 2ms});
  for (int i = 0; i < 4; ++i) REQUIRE(manager->spawn("x", [&] { gate.pass(); }).ok());
  gate.open();
  REQUIRE(eventually([&] { return manager->stats().idle_expired == 3; }));
  CHECK(manager->stats().live == 1);
}

TEST_CASE("ThreadManager: the time to be idle may have no end", "[exec][thread_manager]") {
  ManualClock clock;
  TestManager manager({.max_threads = 4, .idle_timeout = Duration::max(), .clock = &clock});
  REQUIRE(manager->spawn("x", [] {}).ok());
  REQUIRE(manager.is_at_rest());
  clock.advance(Duration::max());
  CHECK(manager->stats().idle == 1);
}

TEST_CASE("ThreadManager: a spawn at the very end of an idle thread's time runs", "[exec][thread_manager]") {
  ManualClock clock;
  std::atomic<int> ran{0};
  TestManager manager({.max_threads = 1, .idle_timeout = 1s, .clock = &clock});
  for (int i = 1; i <= 200; ++i) {
    std::thread advancer([&] { clock.advance(1s); });
    REQUIRE(manager->spawn("x", [&] { ++ran; }).ok());
    advancer.join();
    REQUIRE(eventually([&] { return ran == i; }));
    REQUIRE(manager.is_at_rest());
  }
  CHECK(testing::discrepancies(manager->stats()).empty());
}

TEST_CASE("ThreadManager: hooks run at the begin and the end of each thread", "[exec][thread_manager]") {
  ManualClock clock;
  testing::Recorder<std::pair<std::string, std::size_t>> calls;
  ThreadManagerOptions options{.max_threads = 2, .idle_timeout = 10s, .clock = &clock};
  options.on_thread_start = [&](std::size_t slot) { calls.record({"start", slot}); };
  options.on_thread_stop = [&](std::size_t slot) { calls.record({"stop", slot}); };
  TestManager manager(std::move(options));
  make_idle(manager, clock, 2);
  CHECK(calls.size() == 2);
  CHECK(calls.contains({"start", 0}));
  CHECK(calls.contains({"start", 1}));
  make_idle(manager, clock, 2);
  CHECK(calls.size() == 2);
  clock.advance(10s);
  REQUIRE(eventually([&] { return calls.size() == 4; }));
  CHECK(calls.contains({"stop", 0}));
  CHECK(calls.contains({"stop", 1}));
}
