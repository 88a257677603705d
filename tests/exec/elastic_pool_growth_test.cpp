// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "exec/elastic_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "support/catch.hpp"
#include "support/gate.hpp"
#include "support/status_text.hpp"
#include "support/thread_shortage.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::is_at_rest;
using testing::OpenAtEnd;
using testing::text_of;
using testing::threads_of;
using testing::ThreadShortage;

// E2, X21: whoever finishes takes the next one, and no worker is made for what moves on. A machine on which others run
// may look like blocked workers for a moment; the original made 13 890.
TEST_CASE("ElasticPool: one submitter of 100 000 tiny tasks makes a handful of workers", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p"});
  for (int i = 0; i < 100'000; ++i) REQUIRE(pool.execute([&ran] { ++ran; }) == OpStatus::kOk);
  REQUIRE(is_at_rest(pool));
  CHECK(ran == 100'000);
  const ElasticPoolStats stats = pool.stats();
  CHECK(stats.created <= 32 + std::thread::hardware_concurrency());
  CHECK(stats.reused >= 100'000 - stats.created);
  CHECK(discrepancies(stats) == "");
}

TEST_CASE("ElasticPool: a task never waits for blocked ones", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p"});
  OpenAtEnd guard(gates);
  for (int blocked = 1; blocked <= 50; ++blocked) {
    REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
    CHECK(pool.submit([] { return 1; })->get().value() == 1);
  }
  CHECK(gates[0].await(50));
}

// The whole life of a burst. Workers, and their threads, are back at the floor at the very tick that the policy states.
TEST_CASE("ElasticPool: 10 000 tasks that block all run, and then their threads go", "[exec][elastic_pool]") {
  ManualClock clock;
  constexpr int kAll = PENSTOCK_TEST_MANY_THREADS;
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "burst", .trim = LowWater{10s, 0.5, 3}, .clock = &clock});
  OpenAtEnd guard(gates);
  for (int i = 0; i < kAll; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(kAll));
  CHECK(pool.worker_count() == kAll);
  CHECK(pool.stats().queued == 0);
  gates[0].open();
  REQUIRE(is_at_rest(pool));
  CHECK(discrepancies(pool.stats()) == "");
  const Duration bound = time_to_floor(LowWater{10s, 0.5, 3}, kAll);
  Duration took{};
  for (; pool.worker_count() > 3 && took < bound; took += 10s) clock.advance(10s);
  CHECK(pool.worker_count() == 3);
  CHECK(took <= bound);
  CHECK(eventually([] { return threads_of("burst") == 4; }));  // and the keeper
  CHECK(pool.stats().trimmed == kAll - 3);
}

TEST_CASE("ElasticPool: workers are never more than the limit", "[exec][elastic_pool]") {  // E3
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<bool> ends{false};
  std::atomic<bool> wrong{false};
  ElasticPool pool({.name = "p", .max_workers = 3});
  std::thread watcher([&] {
    while (!ends) wrong = wrong || pool.stats().live > 3;
  });
  for (int i = 0; i < 3000; ++i) {
    const OpStatus status = pool.execute([&] {
      const int now = ++inside;
      for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
      }
      std::this_thread::yield();
      --inside;
    });
    REQUIRE(status == OpStatus::kOk);
  }
  REQUIRE(is_at_rest(pool));
  ends = true;
  watcher.join();
  CHECK(most <= 3);
  CHECK_FALSE(wrong);
  CHECK(pool.stats().peak <= 3);
}

TEST_CASE("ElasticPool: a limited queue refuses what has no place", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p", .max_workers = 2, .queue_capacity = 2});
  OpenAtEnd guard(gates);
  for (int i = 0; i < 4; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(2));
  CHECK(pool.execute([] {}) == OpStatus::kFull);
  const absl::Status refused = pool.submit([] {}).status();
  CHECK(absl::IsResourceExhausted(refused));
  CHECK_THAT(text_of(refused),
             ContainsSubstring("elastic pool 'p': queue full (2 tasks wait, capacity 2, 2 of 2 workers)"));
  gates[0].open();
  REQUIRE(is_at_rest(pool));
  CHECK(pool.stats().succeeded == 4);
  CHECK(pool.stats().refused_full == 2);
}

TEST_CASE("ElasticPool: with no queue at all a task needs a worker", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p", .max_workers = 2, .queue_capacity = 0});
  OpenAtEnd guard(gates);
  for (int i = 0; i < 2; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  CHECK(pool.execute([] {}) == OpStatus::kFull);
  REQUIRE(gates[0].await(2));
  CHECK(pool.execute([] {}) == OpStatus::kFull);
  gates[0].open();
  REQUIRE(is_at_rest(pool));
  CHECK(pool.execute([] {}) == OpStatus::kOk);
}

TEST_CASE("ElasticPool: its limits change while it runs", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  ElasticPool pool({.name = "p", .max_workers = 1});
  OpenAtEnd guard(gates);
  for (int i = 0; i < 4; ++i) REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  REQUIRE(pool.resize(0, 4).ok());
  REQUIRE(gates[0].await(4));  // those that waited have got their workers
  REQUIRE(pool.resize(0, 2).ok());
  CHECK(pool.worker_count() == 4);  // busy ones stay until they are done
  gates[0].open();
  CHECK(eventually([&] { return pool.worker_count() == 2; }));
  REQUIRE(pool.resize(5, 6).ok());
  CHECK(pool.worker_count() == 5);
  REQUIRE(is_at_rest(pool));
  REQUIRE(pool.resize(1, 1).ok());
  CHECK(pool.worker_count() == 1);
  CHECK(absl::IsInvalidArgument(pool.resize(3, 2)));
  CHECK(absl::IsInvalidArgument(pool.resize(0, 0)));
  CHECK(pool.stats().max_workers == 1);
  pool.close();
  CHECK(absl::IsUnavailable(pool.resize(0, 5)));
}

// E8
TEST_CASE("ElasticPool: without threads a task waits for a worker, or is refused if there is none",
          "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .growth = {.at_once = 4}});
  int touched = 0;
  const auto function = [owned = std::make_shared<int>(1), &touched] { touched += *owned; };
  {
    const ThreadShortage none(0);
    auto mine = function;
    CHECK(pool.execute(std::move(mine)) == OpStatus::kFull);
    mine();  // still there
    CHECK(touched == 1);
    const absl::Status refused = pool.submit([] {}).status();
    CHECK(absl::IsResourceExhausted(refused));
    CHECK_THAT(text_of(refused), ContainsSubstring("elastic pool 'p': there is no worker, and none could be made"));
  }
  OpenAtEnd guard(gates);
  REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  {
    const ThreadShortage none(0);
    for (int i = 0; i < 3; ++i) CHECK(pool.execute([&] { ++ran; }) == OpStatus::kOk);
    CHECK(eventually([&] { return pool.stats().creation_failures >= 5; }));  // it goes on trying
    CHECK(pool.stats().queued == 3);
    CHECK(ran == 0);
  }
  CHECK(eventually([&] { return ran == 3; }));  // and the first one is still blocked
  CHECK(pool.stats().refused_no_worker == 2);
  CHECK(discrepancies(pool.stats()) == "");
}

TEST_CASE("ElasticPool: posted work waits until there is a thread again", "[exec][elastic_pool]") {
  std::atomic<bool> ran{false};
  ElasticPool pool({.name = "p"});
  {
    const ThreadShortage none(0);
    pool.post([&] { ran = true; });
    CHECK(eventually([&] { return pool.stats().creation_failures >= 2; }));
    CHECK_FALSE(ran);
  }
  CHECK(eventually([&] { return ran.load(); }));
}

TEST_CASE("ElasticPool: one that cannot be started leaves nothing behind", "[exec][elastic_pool]") {
  for (int threads = 0; threads < 4; ++threads) {
    const ThreadShortage shortage(threads);
    CHECK_THROWS_AS(ElasticPool({.name = "short", .min_workers = 4}), std::system_error);
    CHECK(eventually([] { return threads_of("short") == 0; }));
  }
}

}  // namespace
}  // namespace penstock
