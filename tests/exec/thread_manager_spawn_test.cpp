// SPDX-License-Identifier: MIT

// Threads that are spawned: each function runs once, under its name and id, and never on more threads than allowed.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "exec/thread_manager_support.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::system_thread_names;
using testing::TestManager;
using testing::text_of;

TEST_CASE("ThreadManager: a function runs once, in a thread of its own", "[exec][thread_manager]") {
  std::atomic<int> ran{0};
  std::atomic<bool> elsewhere{false};
  TestManager manager({.max_threads = 2});
  const auto caller = std::this_thread::get_id();
  const auto id = manager->spawn("worker", [&](const Context& ctx) {
    elsewhere = std::this_thread::get_id() != caller && !ctx.is_done();
    ++ran;
  });
  REQUIRE(id.ok());
  CHECK(*id == 1);
  REQUIRE(manager.is_at_rest());
  CHECK(ran == 1);
  CHECK(elsewhere);
}

TEST_CASE("ThreadManager: a function may take nothing, be movable only, or need to be called as an rvalue",
          "[exec][thread_manager]") {
  std::atomic<int> ran{0};
  TestManager manager({.max_threads = 4});
  struct Once {
    void operator()() && { ++*count; }
    std::atomic<int>* count;
  };
  REQUIRE(manager->spawn("nothing", [&] { ++ran; }).ok());
  REQUIRE(manager->spawn("movable", [&, owned = std::make_unique<int>(2)](const Context&) { ran += *owned; }).ok());
  REQUIRE(manager->spawn("once", Once{&ran}).ok());
  const std::function<void()> copied = [&] { ++ran; };
  REQUIRE(manager->spawn("copied", copied).ok());
  REQUIRE(manager.is_at_rest());
  CHECK(ran == 5);
}

TEST_CASE("ThreadManager: what cannot be called, or has no name, is refused", "[exec][thread_manager]") {
  TestManager manager({.name = "m"});
  const auto empty = manager->spawn("a", std::function<void()>());
  CHECK(absl::IsInvalidArgument(empty.status()));
  CHECK(text_of(empty.status()) == "thread manager 'm': there is no function to call");
  void (*const nothing)() = nullptr;
  CHECK(absl::IsInvalidArgument(manager->spawn("a", nothing).status()));
  CHECK(text_of(manager->spawn("", [] {}).status()) ==
        "thread manager 'm': the name of a thread must be 1 to 256 bytes, got 0");
  CHECK(absl::IsInvalidArgument(manager->spawn(std::string(257, 'x'), [] {}).status()));
  CHECK(manager->spawn(std::string(256, 'x'), [] {}).ok());
  REQUIRE(manager.is_at_rest());
  CHECK(manager->stats().spawned == 1);
}

TEST_CASE("ThreadManager: all that is wrong with options is said at once", "[exec][thread_manager]") {
  ThreadManagerOptions options;
  options.max_threads = 0;
  options.min_threads = 1;
  options.idle_timeout = -1s;
  options.stuck_after.running = 0s;
  options.health_interval = 0s;
  options.event_capacity = 0;
  options.clock = nullptr;
  const auto manager = ThreadManager::create(options);
  CHECK(absl::IsInvalidArgument(manager.status()));
  CHECK(text_of(manager.status()) ==
        "thread manager '': options.name must be 1 to 256 bytes, got 0; "
        "options.max_threads must be in [1, 4096], got 0; "
        "options.min_threads must be at most max_threads, 0, got 1; "
        "options.idle_timeout must be at least 0 s, got -1 s; "
        "options.stuck_after.running must be positive, got 0 s; "
        "options.health_interval must be positive, got 0 s; "
        "options.event_capacity must be in [1, 1000000], got 0; "
        "options.clock must be a clock, got null");
  CHECK(ThreadManagerOptions{.name = "m"}.validate().ok());
  CHECK_FALSE(ThreadManagerOptions{.name = "m", .max_threads = 4097}.validate().ok());
}

TEST_CASE("ThreadManager: a spawn at the limit is refused, with the numbers, and its function untouched",
          "[exec][thread_manager]") {
  Gate gate;
  TestManager manager({.name = "m", .max_threads = 2}, &gate);
  REQUIRE(manager->spawn("a", [&] { gate.pass(); }).ok());
  REQUIRE(manager->spawn("b", [&] { gate.pass(); }).ok());
  std::function<void()> third = [] {};
  const auto refused = manager->spawn("c", std::move(third));
  CHECK(absl::IsResourceExhausted(refused.status()));
  CHECK(text_of(refused.status()) ==
        "thread manager 'm': cannot spawn 'c': limit of 2 threads reached (2 live, 0 ending)");
  CHECK(third != nullptr);  // NOLINT(bugprone-use-after-move): that is the law
  CHECK(manager->stats().rejected == 1);
  gate.open();
  REQUIRE(manager.is_at_rest());
  CHECK(manager->spawn("c", std::move(third)).ok());
}

TEST_CASE("ThreadManager: there are never more threads than the limit, not for an instant", "[exec][thread_manager]") {
  constexpr int kLimit = 3;
  constexpr int kSpawners = 4;
  std::atomic<int> alive{0};
  std::atomic<int> most{0};
  ThreadManagerOptions options{.max_threads = kLimit, .idle_timeout = 0s};  // a new thread for each spawn
  const std::size_t before = testing::system_threads();
  options.on_thread_start = [&](std::size_t slot) {
    const int now = ++alive;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    if (slot >= kLimit) most = 1000;
  };
  options.on_thread_stop = [&](std::size_t) { --alive; };
  std::atomic<int> accepted{0};
  std::atomic<int> ran{0};
  std::atomic<int> done{0};
  TestManager manager(std::move(options));
  std::size_t most_in_system = 0;
  std::vector<std::thread> spawners;
  for (int i = 0; i < kSpawners; ++i) {
    spawners.emplace_back([&] {
      for (int k = 0; k < 200; ++k) accepted += manager->spawn("x", [&] { ++ran; }).ok() ? 1 : 0;
      ++done;
    });
  }
  std::string wrong;
  while (done < kSpawners) {
    most_in_system = std::max(most_in_system, testing::system_threads());
    wrong += testing::discrepancies(manager->stats());
  }
  for (std::thread& spawner : spawners) spawner.join();
  REQUIRE(manager.is_at_rest());
  CHECK(wrong.empty());
  CHECK(ran == accepted);
  CHECK(accepted > 0);
  CHECK(most <= kLimit);
  // The system shows threads for a moment longer that have been joined, and whose successors run.
  CHECK(most_in_system <= before + kSpawners + 2 * kLimit);
  const ThreadManagerStats stats = manager->stats();
  CHECK(stats.spawned + stats.rejected == 200 * kSpawners);
  CHECK(stats.high_water <= kLimit);
}

TEST_CASE("ThreadManager: a spawn at the limit gets the place of a thread that has ended", "[exec][thread_manager]") {
  ManualClock clock;
  TestManager manager({.max_threads = 2, .idle_timeout = 0s, .clock = &clock});
  for (int i = 0; i < 200; ++i) {
    REQUIRE(manager->spawn("a", [] {}).ok());
    REQUIRE(manager->spawn("b", [] {}).ok());
    REQUIRE(eventually([&] { return manager->stats().live == 0; }));
  }
  CHECK(manager->stats().rejected == 0);
}

TEST_CASE("ThreadManager: an id is never used again", "[exec][thread_manager]") {
  testing::Recorder<std::uint64_t> seen;
  TestManager manager({.max_threads = 1});
  std::set<std::uint64_t> ids;
  for (int i = 0; i < 20; ++i) {
    const auto id = manager->spawn("x", [&] { seen.record(ThreadManager::current_id()); });
    REQUIRE(id.ok());
    ids.insert(*id);
    REQUIRE(manager.is_at_rest());
  }
  CHECK(ids.size() == 20);
  CHECK(*ids.begin() == 1);
  CHECK(seen.events() == std::vector<std::uint64_t>(ids.begin(), ids.end()));
  CHECK(ThreadManager::current_id() == 0);
}

TEST_CASE("ThreadManager: the system knows a thread by its name and id", "[exec][thread_manager]") {
  Gate gate;
  TestManager manager({.name = "gateway", .max_threads = 12, .idle_timeout = 1h}, &gate);
  for (int i = 1; i < 10; ++i) {
    REQUIRE(manager->spawn("x", [] {}).ok());
    REQUIRE(manager.is_at_rest());
  }
  REQUIRE(manager->spawn("poller", [&] { gate.pass(); }).ok());
  REQUIRE(manager->spawn("connection-watcher", [&] { gate.pass(); }).ok());
  REQUIRE(gate.await(2));
  const auto names = system_thread_names();
  CHECK(names.count("poller-10") == 1);
  CHECK(names.count("connection-w-11") == 1);
  gate.open();
  REQUIRE(manager.is_at_rest());
  CHECK(system_thread_names().count("gateway/idle") == 2);
}

TEST_CASE("ThreadManager: where the system has no thread, a spawn is refused and nothing is left over",
          "[exec][thread_manager]") {
  static std::atomic<bool> refuses{false};
  refuses = true;
  TestManager manager({.name = "m", .max_threads = 2}, nullptr, [](detail::ThreadCore& core, detail::CrewThread& me) {
    if (refuses) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    return detail::ThreadCore::make_thread(core, me);
  });
  const std::size_t before = testing::system_threads();
  std::function<void()> function = [] {};
  for (int i = 0; i < 5; ++i) {  // more often than there are places
    const auto refused = manager->spawn("a", std::move(function));
    REQUIRE(absl::IsResourceExhausted(refused.status()));
    CHECK(text_of(refused.status()) ==
          "thread manager 'm': cannot start a thread for 'a': Resource temporarily unavailable (0 of 2 threads live)");
    CHECK(function != nullptr);
  }
  CHECK(eventually([&] { return testing::system_threads() == before; }));
  ThreadManagerStats stats = manager->stats();
  CHECK(stats.live == 0);
  CHECK(stats.start_failures == 5);
  CHECK(stats.rejected == 0);
  CHECK(manager->snapshot().empty());
  refuses = false;
  CHECK(manager->spawn("a", std::move(function)).ok());
  REQUIRE(manager.is_at_rest());
}

TEST_CASE("ThreadManager: a function that cannot be moved leaves its thread to the next", "[exec][thread_manager]") {
  struct Stubborn {
    explicit Stubborn(bool& throwing) : throws(&throwing) {}
    Stubborn(const Stubborn& other) : throws(other.throws) {
      if (*throws) throw std::runtime_error("not now");
    }
    void operator()() const {}
    bool* throws;
  };
  bool throws = true;
  const Stubborn stubborn(throws);
  TestManager manager({.max_threads = 1});
  for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(manager->spawn("a", stubborn), std::runtime_error);
  REQUIRE(manager.is_at_rest());
  CHECK(manager->stats().idle == 1);
  CHECK(manager->stats().spawned == 0);
  throws = false;
  REQUIRE(manager->spawn("a", stubborn).ok());
  REQUIRE(manager.is_at_rest());
  CHECK(manager->stats().reused == 1);
  CHECK(testing::discrepancies(manager->stats()).empty());
}

TEST_CASE("ThreadManager: a spawn without memory changes nothing", "[exec][thread_manager]") {
  std::atomic<int> ran{0};
  TestManager manager({.max_threads = 1});
  int accepted = 0;
  for (std::uint64_t nth = 0;; ++nth) {
    REQUIRE(nth < 1000);
    testing::FailAllocation failure(nth);
    bool spawned = false;
    try {
      spawned = manager
                    ->spawn("a-name-that-does-not-fit-into-a-string",
                            [&ran, big = std::array<char, 100>{}] { ran += 1 + big[0]; })
                    .ok();
    } catch (const std::bad_alloc&) {
    }
    accepted += spawned ? 1 : 0;
    REQUIRE(manager.is_at_rest());
    if (!failure.has_failed()) break;
  }
  CHECK(accepted >= 1);
  CHECK(ran == accepted);
  CHECK(testing::discrepancies(manager->stats()).empty());
}

TEST_CASE("ThreadManager: the metrics say what the stats say", "[exec][thread_manager]") {
  Gate gate;
  TestManager manager({.name = "m", .max_threads = 2}, &gate);
  REQUIRE(manager->spawn("a", [&] { gate.pass(); }).ok());
  REQUIRE(manager->spawn("b", [&] { gate.pass(); }).ok());
  REQUIRE_FALSE(manager->spawn("c", [] {}).ok());
  REQUIRE(gate.await(2));
  PrometheusWriter writer;
  manager->collect(writer);
  const std::string text = writer.text();
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads{manager=\"m\",state=\"running\"} 2\n"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads_live{manager=\"m\"} 2\n"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads_max{manager=\"m\"} 2\n"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads_spawned_total{manager=\"m\"} 2\n"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads_refused_total{manager=\"m\",reason=\"rejected\"} 1\n"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_threads_stuck{manager=\"m\"} 0\n"));
}
