// SPDX-License-Identifier: MIT

// What a manager knows of its threads: states and times, who is stuck, events, and what has ended.

#include <atomic>
#include <chrono>
#include <new>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/thread_manager_support.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::Steps;
using testing::TestManager;
using testing::text_of;

namespace {

std::size_t index(ThreadState state) { return static_cast<std::size_t>(state); }

}  // namespace

TEST_CASE("ThreadManager: states and the time in each, to the nanosecond", "[exec][thread_manager]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Steps steps;
  TestManager manager({.max_threads = 1, .clock = &clock});
  REQUIRE(manager->spawn("x", [&] { steps.serve(); }).ok());
  std::optional<ThreadManager::Blocking> blocking;
  std::optional<ThreadManager::Waiting> waiting;
  std::optional<ThreadManager::Maintenance> maintenance;

  steps.run([] {});
  clock.advance(1s);
  CHECK(manager.only().state == ThreadState::kRunning);
  steps.run([&] { blocking.emplace(); });
  clock.advance(20s);
  CHECK(manager.only().state == ThreadState::kBlocking);
  CHECK(manager.only().in_state == 20s);
  steps.run([&] { waiting.emplace(); });
  clock.advance(300s);
  CHECK(manager.only().state == ThreadState::kWaiting);
  CHECK(manager.only().since == start + 21s);
  steps.run([&] { waiting.reset(); });
  clock.advance(4000s);
  CHECK(manager.only().state == ThreadState::kBlocking);
  steps.run([&] { blocking.reset(); });
  CHECK(manager.only().state == ThreadState::kRunning);
  steps.run([&] { maintenance.emplace(); });
  clock.advance(50000s);
  const ThreadInfo info = manager.only();
  CHECK(info.state == ThreadState::kMaintenance);
  CHECK(info.id == 1);
  CHECK(info.name == "x");
  CHECK(info.started == start);
  CHECK(info.age == 54321s);
  CHECK(info.time_in[index(ThreadState::kRunning)] == 1s);
  CHECK(info.time_in[index(ThreadState::kBlocking)] == 4020s);
  CHECK(info.time_in[index(ThreadState::kWaiting)] == 300s);
  CHECK(info.time_in[index(ThreadState::kMaintenance)] == 50000s);
  CHECK(std::accumulate(info.time_in.begin(), info.time_in.end(), Duration{}) == info.age);
  CHECK(manager->stats().by_state[index(ThreadState::kMaintenance)] == 1);
  steps.run([&] { maintenance.reset(); });
  steps.end();
  REQUIRE(manager.is_at_rest());
  CHECK(manager->snapshot().empty());
}

TEST_CASE("ThreadManager: a scope does nothing on a thread that is not managed, or that runs something else",
          "[exec][thread_manager]") {
  {
    ThreadManager::Waiting waiting;
    ThreadManager::Blocking blocking;
  }
  ManualClock clock;
  TestManager manager({.max_threads = 1, .clock = &clock});
  std::optional<ThreadManager::Blocking> forgotten;
  REQUIRE(manager->spawn("a", [&] { forgotten.emplace(); }).ok());
  REQUIRE(manager.is_at_rest());
  Steps steps;
  REQUIRE(manager->spawn("b", [&] { steps.serve(); }).ok());
  steps.run([] {});
  CHECK(manager.only().state == ThreadState::kRunning);
  steps.run([&] { forgotten.reset(); });
  CHECK(manager.only().state == ThreadState::kRunning);
  steps.end();
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: a thread is created until its function begins, and terminated while that is destroyed",
          "[exec][thread_manager]") {
  ManualClock clock;
  Gate start;
  Gate end;
  ThreadManagerOptions options{.max_threads = 1, .clock = &clock};
  options.on_thread_start = [&](std::size_t) { start.pass(); };
  TestManager manager(std::move(options));
  REQUIRE(manager
              ->spawn("x", [last = std::shared_ptr<int>(new int,
                                                        [&](int* value) {
                                                          delete value;
                                                          end.pass();
                                                        })] {})
              .ok());
  REQUIRE(start.await(1));
  clock.advance(3s);
  CHECK(manager.only().state == ThreadState::kCreated);
  CHECK(manager.only().in_state == 3s);
  start.open();
  REQUIRE(end.await(1));
  CHECK(manager.only().state == ThreadState::kTerminated);
  CHECK(manager.only().time_in[index(ThreadState::kCreated)] == 3s);
  CHECK(manager->stats().finished == 0);
  end.open();
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: who looks while a thread changes its state sees one whole", "[exec][thread_manager]") {
  TestManager manager({.max_threads = 1});
  std::atomic<bool> stop{false};
  REQUIRE(manager
              ->spawn("x",
                      [&] {
                        while (!stop) {
                          ThreadManager::Waiting waiting;
                          ThreadManager::Blocking blocking;
                        }
                      })
              .ok());
  std::size_t wrong = 0;
  for (int i = 0; i < 20'000; ++i) {
    for (const ThreadInfo& info : manager->snapshot()) {
      Duration sum{};
      for (const Duration spent : info.time_in) wrong += spent < Duration::zero() ? 1 : 0;
      for (const Duration spent : info.time_in) sum += spent;
      // The stays follow one another without a gap.
      const Duration before = sum - info.in_state;
      wrong += info.started + before != info.since || sum != info.age ? 1 : 0;
    }
  }
  stop = true;
  CHECK(wrong == 0);
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: who is stuck is a matter of the states, times and limits alone", "[exec][thread_manager]") {
  const auto thread = [](ThreadState state, Duration in_state) {
    ThreadInfo info;
    info.state = state;
    info.in_state = in_state;
    return info;
  };
  const std::vector<ThreadInfo> threads = {
      thread(ThreadState::kRunning, 9s),   thread(ThreadState::kRunning, 10s),     thread(ThreadState::kWaiting, 19s),
      thread(ThreadState::kWaiting, 20s),  thread(ThreadState::kBlocking, 29s),    thread(ThreadState::kBlocking, 30s),
      thread(ThreadState::kCreated, 999s), thread(ThreadState::kMaintenance, 999s)};
  const StuckLimits limits{.running = 10s, .waiting = 20s, .blocking = 30s};
  CHECK(stuck_threads(threads, limits) == std::vector<ThreadInfo>{threads[1], threads[3], threads[5]});
  CHECK(stuck_threads(threads, {.running = Duration::max(), .waiting = Duration::max(), .blocking = Duration::max()})
            .empty());
  CHECK(stuck_threads({}, limits).empty());
}

TEST_CASE("ThreadManager: a stuck thread is reported once each time that it gets stuck", "[exec][thread_manager]") {
  ManualClock clock;
  testing::Recorder<ThreadInfo> reports;
  Steps steps;
  ThreadManagerOptions options{.name = "m", .max_threads = 2, .idle_timeout = Duration::max(), .clock = &clock};
  options.stuck_after.blocking = 10s;
  options.on_stuck = [&](const ThreadInfo& info) {
    reports.record(info);
    throw std::runtime_error("no pager");
  };
  testing::Recorder<std::string> caught;
  options.on_exception = [&](const CaughtThreadException& exception) {
    caught.record(std::string(exception.name) + ", " + std::string(exception.text));
  };
  TestManager manager(std::move(options));
  CHECK(clock.armed() == 0);  // nothing to watch, nothing to wake for
  const auto look = [&](Duration duration) {
    for (Duration passed{}; passed < duration; passed += 1s) {
      REQUIRE(eventually([&] { return clock.armed() == 1; }));
      clock.advance(1s);
    }
    REQUIRE(eventually([&] { return clock.armed() == 1; }));
  };
  REQUIRE(manager->spawn("x", [&] { steps.serve(); }).ok());
  std::optional<ThreadManager::Blocking> blocking;
  steps.run([&] { blocking.emplace(); });
  look(9s);
  CHECK(reports.size() == 0);
  CHECK(manager->check().empty());
  CHECK(manager->stats().stuck == 0);
  look(1s);
  REQUIRE(reports.size() == 1);
  CHECK(reports.events()[0].id == 1);
  CHECK(reports.events()[0].name == "x");
  CHECK(reports.events()[0].in_state == 10s);
  CHECK(manager->stats().stuck == 1);
  REQUIRE(manager->check().size() == 1);
  look(30s);
  CHECK(reports.size() == 1);
  steps.run([&] { blocking.reset(); });
  CHECK(manager->check().empty());
  steps.run([&] { blocking.emplace(); });
  look(10s);
  CHECK(reports.size() == 2);
  CHECK(manager->stats().stuck_episodes == 2);
  CHECK(caught.count("on_stuck, std::runtime_error: no pager") == 2);
  steps.run([&] { blocking.reset(); });
  steps.end();
  REQUIRE(manager.is_at_rest());
  clock.advance(1s);
  REQUIRE(eventually([&] { return clock.armed() == 0; }));  // and it sleeps again
}

TEST_CASE("ThreadManager: the begin and the end of each thread are told to who listens", "[exec][thread_manager]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  Gate gate;
  TestManager manager({.max_threads = 1, .clock = &clock}, &gate);
  Subscription<ThreadEvent> events = manager->subscribe();
  REQUIRE(manager->spawn("a", [&] { gate.pass(); }).ok());
  Delivery<ThreadEvent> begun = events.receive();
  REQUIRE(begun);
  CHECK(begun.value->kind == ThreadEvent::Kind::kSpawned);
  CHECK(begun.value->id == 1);
  CHECK(begun.value->name == "a");
  CHECK(begun.value->started == start);
  REQUIRE(gate.await(1));
  clock.advance(5s);
  gate.open();
  for (std::uint64_t id = 1; id <= 50; ++id) {
    const Delivery<ThreadEvent> ended = events.receive();
    REQUIRE(ended);
    CHECK(ended.value->kind == ThreadEvent::Kind::kFinished);
    CHECK(ended.value->id == id);
    CHECK(ended.value->ended == start + 5s);
    CHECK(manager->stats().finished == id);
    REQUIRE(manager->spawn("b", [] {}).ok());  // at the limit, but its thread is idle
    const Delivery<ThreadEvent> next = events.receive();
    REQUIRE(next);
    CHECK(next.value->kind == ThreadEvent::Kind::kSpawned);
    CHECK(next.value->id == id + 1);
  }
  CHECK(events.receive().value->id == 51);
  CHECK(manager->shutdown(Context::background()).is_complete());
  CHECK(events.receive().status == OpStatus::kClosed);
}

TEST_CASE("ThreadManager: a slow subscriber holds nobody up and knows what it has missed", "[exec][thread_manager]") {
  TestManager manager({.max_threads = 1, .event_capacity = 4});
  Subscription<ThreadEvent> events = manager->subscribe();
  for (int i = 0; i < 10; ++i) {
    REQUIRE(manager->spawn("a", [] {}).ok());
    REQUIRE(manager.is_at_rest());
  }
  REQUIRE(manager->shutdown(Context::background()).is_complete());
  const Delivery<ThreadEvent> first = events.receive();
  REQUIRE(first);
  CHECK(first.missed == 16);
  CHECK(first.value->id == 9);
}

TEST_CASE("ThreadManager: the last ends are remembered, with how and why", "[exec][thread_manager]") {
  ManualClock clock;
  const TimePoint start = clock.now();
  TestManager manager({.max_threads = 1, .history_size = 2, .clock = &clock});
  CHECK(manager->history().empty());
  const auto run = [&](const char* name, auto function) {
    REQUIRE(manager->spawn(name, function).ok());
    REQUIRE(manager.is_at_rest());
  };
  run("a", [&] { clock.advance(2s); });
  REQUIRE(manager->history().size() == 1);
  CHECK(manager->history()[0].started == start);
  CHECK(manager->history()[0].ended == start + 2s);
  CHECK(manager->history()[0].outcome == ThreadOutcome::kReturned);
  run("b", [] { throw std::runtime_error("boom"); });
  run("c", [] { throw 42; });
  const std::vector<ThreadEvent> last = manager->history();
  REQUIRE(last.size() == 2);
  CHECK(last[0].name == "b");
  CHECK(last[0].id == 2);
  CHECK(last[0].outcome == ThreadOutcome::kThrew);
  CHECK(last[0].error == "std::runtime_error: boom");
  CHECK(last[1].error == "int");
  CHECK(to_string(last[1].outcome) == "threw");
}

TEST_CASE("ThreadManager: an exception is contained, counted and reported, and its thread lives on",
          "[exec][thread_manager]") {
  struct Report {
    std::string manager;
    std::uint64_t id;
    std::string name;
    std::string text;
  };
  testing::Recorder<std::thread::id> threads;
  std::vector<Report> reports;  // of one thread
  ThreadManagerOptions options{.name = "m", .max_threads = 1};
  options.on_exception = [&](const CaughtThreadException& caught) {
    reports.push_back({std::string(caught.manager), caught.id, std::string(caught.name), std::string(caught.text)});
    if (caught.exception == nullptr) reports.clear();
    throw std::bad_alloc();
  };
  TestManager manager(std::move(options));
  const auto run = [&](auto function) {
    REQUIRE(manager
                ->spawn("x",
                        [&threads, function] {
                          threads.record(std::this_thread::get_id());
                          function();
                        })
                .ok());
    REQUIRE(manager.is_at_rest());
  };
  run([] { throw std::runtime_error("boom"); });
  run([] { throw "text"; });
  run([] {});
  REQUIRE(reports.size() == 2);
  CHECK(reports[0].manager == "m");
  CHECK(reports[0].id == 1);
  CHECK(reports[0].name == "x");
  CHECK(reports[0].text == "std::runtime_error: boom");
  CHECK(reports[1].id == 2);
  const ThreadManagerStats stats = manager->stats();
  CHECK(stats.threw == 2);
  CHECK(stats.returned == 1);
  CHECK(stats.exceptions == 4);  // the hook's own, too
  CHECK(threads.count(threads.events()[0]) == 3);
}

TEST_CASE("ThreadManager: a hook that throws does no harm", "[exec][thread_manager]") {
  testing::Recorder<std::string> caught;
  std::atomic<int> ran{0};
  ThreadManagerOptions options{.max_threads = 1};
  options.on_thread_start = [](std::size_t) { throw std::runtime_error("no such processor"); };
  options.on_thread_stop = [](std::size_t) { throw 1; };
  options.on_exception = [&](const CaughtThreadException& exception) {
    caught.record(std::to_string(exception.id) + " " + std::string(exception.name) + ": " +
                  std::string(exception.text));
  };
  {
    TestManager manager(std::move(options));
    REQUIRE(manager->spawn("x", [&] { ++ran; }).ok());
    REQUIRE(manager.is_at_rest());
  }
  CHECK(ran == 1);
  CHECK(caught.events() ==
        std::vector<std::string>{"0 on_thread_start: std::runtime_error: no such processor", "0 on_thread_stop: int"});
}
