// SPDX-License-Identifier: MIT
#include "penstock/exec/slot_queue_map.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::text_of;
using testing::value_of;

using Map = SlotQueueMap<std::string, Number>;
using MapOptions = SlotQueueMapOptions<std::string, Number>;

TEST_CASE("SlotQueueMap: each key has its own slots", "[exec][slot_queue]") {
  Map map({.name = "m"});
  REQUIRE(map.offer("a", number(1)).ok());
  REQUIRE(map.offer("b", number(2)).ok());
  CHECK(map.size() == 2);
  CHECK(value_of(map.acquire("a")) == 1);
  CHECK(value_of(map.try_acquire("b")) == 2);
  CHECK(absl::IsResourceExhausted(map.try_acquire("c").status()));
  CHECK(map.size() == 3);
  CHECK(map.stats().size() == 3);
}

TEST_CASE("SlotQueueMap: keys are values, whatever is in them", "[exec][slot_queue]") {
  SlotQueueMap<std::vector<std::string>, int, decltype([](const std::vector<std::string>& key) {
                 return key.size();  // as bad as a hash can be
               })>
      map({.name = "m"});
  const std::vector<std::vector<std::string>> keys{{"a,b"},        {"a", "b"}, {"a\0b"s}, {"a", "", "b"},
                                                   {"", "a", "b"}, {},         {""},      {"", ""}};
  for (std::size_t i = 0; i != keys.size(); ++i) REQUIRE(map.offer(keys[i], static_cast<int>(i)).ok());
  CHECK(map.size() == keys.size());
  for (std::size_t i = 0; i != keys.size(); ++i) CHECK(**map.acquire(keys[i]) == static_cast<int>(i));
}

TEST_CASE("SlotQueueMap: a queue is deleted only while nothing is in it and nobody uses it", "[exec][slot_queue]") {
  std::vector<LaunchTicket<Number>> tickets;
  Map map({.name = "m", .queue_options = [&](const std::string& key) {
             return SlotQueueOptions<Number>{
                 .name = key, .launch = [&](LaunchTicket<Number> ticket) { tickets.push_back(std::move(ticket)); }};
           }});
  RunLoop loop;
  {
    const auto handle = map.at("a");
    CHECK_FALSE(map.erase_if_idle("a"));
  }
  {
    const auto wait = [](Map& from) -> Task<int> {
      NumberLease lease = co_await from.async_acquire("a");
      if (!lease.ok()) co_return -1;
      co_return *lease->retire();
    };
    auto waiting = spawn(loop, wait(map));
    loop.run_ready();
    CHECK_FALSE(map.erase_if_idle("a"));  // one who waits, and a start
    REQUIRE(tickets.size() == 1);
    SlotToken token = *map.offer("a", number(1));
    loop.run_ready();
    CHECK(waiting.get() == 1);
    CHECK_FALSE(map.erase_if_idle("a"));  // the start
    tickets.clear();
  }
  {
    const SlotToken token = *map.offer("a", number(2));
    CHECK_FALSE(map.erase_if_idle("a"));  // a slot
    NumberLease lease = map.acquire("a");
    CHECK_FALSE(map.erase_if_idle("a"));  // a lease
    CHECK(map.purge() == 0);
    static_cast<void>(lease->retire());
  }
  {
    const auto handle = map.find("a");
    REQUIRE(handle.has_value());
    REQUIRE((*handle)->enter(SlotPhase::kRunner).ok());
  }
  CHECK_FALSE(map.erase_if_idle("a"));  // a runner
  CHECK((*map.find("a"))->leave(SlotPhase::kRunner).ok());
  CHECK(map.erase_if_idle("a"));
  CHECK_FALSE(map.erase_if_idle("a"));
  CHECK(map.size() == 0);
  CHECK_FALSE(map.find("a").has_value());
}

TEST_CASE("SlotQueueMap: a queue of no use is deleted in its time", "[exec][slot_queue]") {
  ManualClock clock;
  Map map({.name = "m", .idle_queue_timeout = 60s, .clock = &clock});
  static_cast<void>(map.try_acquire("a"));
  REQUIRE(map.offer("kept", number(1)).ok());
  clock.advance(60s);
  CHECK(map.size() == 2);
  clock.advance(30s);
  CHECK(map.size() == 1);
  for (int i = 0; i != 10; ++i) {
    static_cast<void>(map.try_acquire("used"));
    clock.advance(50s);
    CHECK(map.size() == 2);
  }
  // A lease that ends is a use, though the map does not see it.
  static_cast<void>(map.acquire("kept")->retire());
  clock.advance(59s);
  CHECK(map.find("kept").has_value());
  clock.advance(90s);
  CHECK(map.size() == 0);
}

TEST_CASE("SlotQueueMap: so many queues, and no more", "[exec][slot_queue]") {
  Map map({.name = "m", .max_queues = 2});
  REQUIRE(map.offer("a", number(1)).ok());
  CHECK(map.at("b").ok());
  const absl::Status full = map.offer("c", number(3)).status();
  CHECK(absl::IsResourceExhausted(full));
  CHECK(text_of(full) == "slot queue map 'm': there are 2 queues already");
  CHECK(map.offer("a", number(2)).ok());
  CHECK(map.purge() == 1);
  CHECK(map.offer("c", number(3)).ok());
}

TEST_CASE("SlotQueueMap: closing sends everybody home", "[exec][slot_queue]") {
  Map map({.name = "m"});
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([&, key = std::to_string(i % 2)] {
      if (absl::IsUnavailable(map.acquire(key).status())) ++refused;
    });
  }
  CHECK(testing::eventually([&] {
    std::size_t waiting = 0;
    for (const auto& [key, stats] : map.stats()) waiting += stats.waiting;
    return waiting == 4;
  }));
  CHECK(map.close());
  CHECK_FALSE(map.close());
  for (std::thread& thread : threads) thread.join();
  CHECK(refused == 4);
  CHECK(text_of(map.acquire("new").status()) == "slot queue map 'm': closed");
  CHECK(map.purge() == 2);
}

TEST_CASE("SlotQueueMap: leases, handles and waits outlive it", "[exec][slot_queue]") {
  ManualClock clock;
  auto map = std::make_unique<Map>(MapOptions{.name = "m", .idle_queue_timeout = 1s, .clock = &clock});
  REQUIRE(map->offer("a", number(1)).ok());
  NumberLease lease = map->acquire("a");
  auto handle = map->at("b");
  RunLoop loop;
  const auto wait = [](Map& from) -> Task<bool> {
    co_return absl::IsUnavailable((co_await from.async_acquire("a")).status());
  };
  auto waiting = spawn(loop, wait(*map));
  loop.run_ready();
  map.reset();
  CHECK(clock.armed() == 0);
  CHECK(value_of(lease) == 1);
  CHECK((*handle)->is_closed());
  loop.run_ready();
  CHECK(waiting.get());
}

TEST_CASE("SlotQueueMap: what the options of a queue throw, the call throws", "[exec][slot_queue]") {
  Map map({.name = "m", .queue_options = [](const std::string& key) -> SlotQueueOptions<Number> {
             if (key == "bad") throw std::runtime_error("no such function");
             return {.name = key};
           }});
  CHECK_THROWS_WITH(map.acquire("bad"), "no such function");
  CHECK_THROWS_AS(map.at(""), std::invalid_argument);  // an empty name
  CHECK(map.size() == 0);
  CHECK(map.at("good").ok());
  CHECK((*map.at("good"))->name() == "good");
}

TEST_CASE("SlotQueueMap: what is wrong with the options is said at once", "[exec][slot_queue]") {
  const MapOptions bad{.name = "", .idle_queue_timeout = 0s, .max_queues = 0, .shards = 5000, .clock = nullptr};
  CHECK(text_of(bad.validate()) ==
        "slot queue map '': options.name must be 1 to 256 bytes long, got 0; options.idle_queue_timeout must be "
        "positive, got 0 s; options.max_queues must be at least 1, got 0; options.shards must be in [1, 4096], got "
        "5000; options.clock must be a clock, got null");
  CHECK_THROWS_AS(Map(bad), std::invalid_argument);
}

TEST_CASE("SlotQueueMap: the metrics of queues of one name are added up", "[exec][slot_queue]") {
  Map map({.name = "m"});  // its queues have its name
  REQUIRE(map.offer("a", number(1)).ok());
  REQUIRE(map.offer("b", number(2)).ok());
  const NumberLease lease = map.acquire("b");
  PrometheusWriter writer;
  map.collect(writer);
  CHECK(writer.refusals() == MetricRefusals{});
  const std::string text = writer.text();
  CHECK_THAT(text, testing::ContainsSubstring("penstock_slot_queue_offered_total{queue=\"m\"} 2"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_slot_queue_idle{queue=\"m\"} 1"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_slot_queue_wait_seconds_count{queue=\"m\"} 1"));
  CHECK_THAT(text, testing::ContainsSubstring("penstock_slot_queues{map=\"m\"} 2"));
}

TEST_CASE("SlotQueueMap: a handle that was moved from says so", "[exec][slot_queue]") {
  Map map({.name = "m"});
  auto handle = map.at("a");
  const Map::Handle taken = *std::move(handle);
  CHECK((*taken).is_idle());
  CHECK_THAT(testing::message_of_abort([&] { static_cast<void>((**handle).is_idle()); }),
             testing::ContainsSubstring("refers to nothing"));
}

TEST_CASE("SlotQueueMap: closing closes all of many in a shard", "[exec][slot_queue]") {
  SlotQueueMap<int, int> map({.name = "m", .shards = 1});
  for (int i = 0; i != 2'000; ++i) REQUIRE(map.offer(i, i).ok());
  CHECK(map.close());
  for (const auto& [key, stats] : map.stats()) REQUIRE(stats.closed == 1);
}

TEST_CASE("SlotQueueMap: many threads, few keys, and a purge all the while", "[exec][slot_queue]") {
  SlotQueueMap<int, int> map({.name = "m", .shards = 2});
  std::atomic<bool> stop{false};
  std::atomic<int> lost{0};
  std::thread purger([&] {
    while (!stop) {
      map.purge();
      std::this_thread::yield();
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t != 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i != 2'000; ++i) {
        const int key = (i + t) % 3;
        // What is offered is taken again: a slot that was offered is in the queue that the next call finds.
        if (!map.offer(key, i).ok()) ++lost;
        auto lease = map.acquire(key);
        if (!lease.ok()) {
          ++lost;
        } else {
          static_cast<void>(lease->retire());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  purger.join();
  CHECK(lost == 0);
  map.purge();
  CHECK(map.size() == 0);
}

}  // namespace
}  // namespace penstock
