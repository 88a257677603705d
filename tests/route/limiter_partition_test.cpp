// SPDX-License-Identifier: MIT

// Shares of a limit that others cannot take, and options that change while calls are under way and others wait.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/run_loop.hpp"
#include "penstock/route/concurrency_limiter.hpp"
#include "route/limiter_support.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::acquire_in;
using testing::limiter_options;
using testing::LimiterSlot;
using testing::Script;
using testing::scripted_options;
using testing::text_of;
using Order = ConcurrencyLimiterOptions::Order;

ConcurrencyLimiterOptions shared_options(std::size_t limit) {
  ConcurrencyLimiterOptions options = limiter_options(limit);
  options.partitions = {{"live", 0.5}, {"batch", 0.21}};
  return options;
}

std::vector<LimiterSlot> take(ConcurrencyLimiter& limiter, std::size_t count, std::string_view partition) {
  std::vector<LimiterSlot> slots;
  while (slots.size() < count) {
    if (auto slot = limiter.try_acquire(partition)) {
      slots.push_back(std::move(*slot));
    } else {
      break;
    }
  }
  return slots;
}

TEST_CASE("ConcurrencyLimiter: below the limit anybody goes, at it the guarantees hold",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(shared_options(10));
  auto batch = take(limiter, 100, "batch");
  CHECK(batch.size() == 10);  // nobody else wants any
  auto live = take(limiter, 100, "live");
  CHECK(live.size() == 5);
  CHECK(limiter.in_flight() == 15);
  CHECK(take(limiter, 1, "batch").empty());
  CHECK(take(limiter, 1, "nobody").empty());
  CHECK(take(limiter, 1, "").empty());
  batch.erase(batch.begin() + 2, batch.end());  // 7 in flight: 2 of batch, 5 of live
  CHECK(limiter.in_flight() == 7);
  auto others = take(limiter, 100, "nobody");
  CHECK(others.size() == 3);
  CHECK(take(limiter, 100, "batch").size() == 1);  // ceil(10 * 0.21) = 3 are its own
  const ConcurrencyLimiterStats stats = limiter.stats();
  REQUIRE(stats.partitions.size() == 3);
  CHECK(stats.partitions[0].name.empty());
  CHECK(stats.partitions[0].guarantee == 0);
  CHECK(stats.partitions[0].in_flight == 3);
  CHECK(stats.partitions[0].acquired == 3);
  CHECK(stats.partitions[0].rejected == 3);
  CHECK(stats.partitions[1].name == "batch");
  CHECK(stats.partitions[1].guarantee == 3);
  CHECK(stats.partitions[1].in_flight == 2);
  CHECK(stats.partitions[1].acquired == 11);
  CHECK(stats.partitions[2].name == "live");
  CHECK(stats.partitions[2].guarantee == 5);
  CHECK(stats.partitions[2].in_flight == 5);
}

TEST_CASE("ConcurrencyLimiter: the smallest share is one call, and a default share is for all others",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(2);
  options.partitions = {{"live", 0.001}};
  options.default_share = 0.5;
  ConcurrencyLimiter limiter(options);
  const auto live = take(limiter, 2, "live");
  CHECK(take(limiter, 1, "live").empty());
  const auto anybody = take(limiter, 2, "anybody");
  CHECK(anybody.size() == 1);
  CHECK(limiter.stats().partitions[0].guarantee == 1);
  LimitRefusal why;
  CHECK_FALSE(limiter.try_acquire("live", why).has_value());
  CHECK(text_of(to_status(why, "l")) ==
        "concurrency limiter 'l': full (limit 2, 3 in flight, 0 waiting; of its partition 2 in flight, 1 guaranteed)");
}

TEST_CASE("ConcurrencyLimiter: at the limit a slot goes to the first whose guarantee is not used up",
          "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(shared_options(4));
  auto batch = take(limiter, 4, "batch");
  auto live = take(limiter, 4, "live");
  REQUIRE(live.size() == 2);
  RunLoop loop;
  auto first = spawn(loop, acquire_in(limiter, Context::background(), "batch"));
  auto second = spawn(loop, acquire_in(limiter, Context::background(), "live"));
  auto third = spawn(loop, acquire_in(limiter, Context::background(), ""));
  loop.run_ready();
  CHECK(limiter.stats().waiting == 3);
  live[0].success();  // 5 in flight, of a limit of 4
  loop.run_ready();
  auto late = second.get();
  CHECK(late.ok());
  CHECK(limiter.stats().waiting == 2);
  batch.pop_back();  // 5: batch has used up its guarantee of 1
  batch.pop_back();  // 4
  CHECK(limiter.stats().waiting == 2);
  batch.pop_back();  // 3: anybody, so the first of all
  loop.run_ready();
  CHECK(first.get().ok());  // and given back at once
  loop.run_ready();
  CHECK(third.get().ok());
}

TEST_CASE("ConcurrencyLimiter: its limit changes live, and wakes who may go", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(1));
  auto held = limiter.try_acquire();
  RunLoop loop;
  auto one = spawn(loop, acquire_in(limiter, Context::background(), ""));
  auto two = spawn(loop, acquire_in(limiter, Context::background(), ""));
  loop.run_ready();
  ConcurrencyLimiterOptions options = limiter_options(2);
  options.name = "another";
  options.clock = nullptr;
  REQUIRE(limiter.set_options(options).ok());
  CHECK(limiter.name() == "l");
  CHECK(limiter.options().clock == &Clock::steady());
  CHECK(limiter.limit() == 2);
  CHECK(limiter.in_flight() == 2);
  CHECK(limiter.stats().waiting == 1);
  options.algorithm = FixedLimit{.limit = 0};
  CHECK(limiter.set_options(options).code() == absl::StatusCode::kInvalidArgument);
  CHECK(limiter.limit() == 2);
  loop.run_ready();
  one.get()->success();
  loop.run_ready();
  two.get()->success();
  held->success();
  CHECK(limiter.in_flight() == 0);
  CHECK(limiter.stats().success == 3);
}

TEST_CASE("ConcurrencyLimiter: an algorithm whose options stay the same goes on", "[route][concurrency_limiter]") {
  ConcurrencyLimiterOptions options = limiter_options(1);
  options.algorithm = AimdLimit{.initial = 10, .min = 1};
  ConcurrencyLimiter limiter(options);
  limiter.try_acquire()->dropped(1ms);
  CHECK(limiter.limit() == 9);
  options.max_waiting = 7;
  REQUIRE(limiter.set_options(options).ok());
  CHECK(limiter.limit() == 9);
  options.algorithm = AimdLimit{.initial = 12, .min = 1};
  REQUIRE(limiter.set_options(options).ok());
  CHECK(limiter.limit() == 12);
  options.algorithm = Gradient2Limit{.initial = 30};
  options.window = LimitWindow{};
  options.probe = LimitProbe{.concurrency = 5};
  auto across = limiter.try_acquire();
  REQUIRE(limiter.set_options(options).ok());
  CHECK(limiter.limit() == 5);  // it begins with a probe
  CHECK(limiter.in_flight() == 1);
  CHECK(limiter.stats().algorithm == "gradient2");
  across->success(1ms);
  CHECK(limiter.in_flight() == 0);

  const auto script = std::make_shared<Script>();
  script->limit = 3;
  REQUIRE(limiter.set_options(scripted_options(script)).ok());
  CHECK(limiter.limit() == 3);
  options.make_algorithm = []() -> std::unique_ptr<LimitAlgorithm> { throw std::runtime_error("out of ideas"); };
  CHECK(text_of(limiter.set_options(options)) ==
        "concurrency limiter 'l': options.make_algorithm has thrown: out of ideas");
  options.make_algorithm = []() -> std::unique_ptr<LimitAlgorithm> { throw 1; };
  CHECK(limiter.set_options(options).code() == absl::StatusCode::kInternal);
  options.make_algorithm = [] { return nullptr; };
  CHECK(limiter.set_options(options).code() == absl::StatusCode::kInvalidArgument);
  CHECK(limiter.limit() == 3);
  CHECK(limiter.stats().caught_exceptions == 2);
}

TEST_CASE("ConcurrencyLimiter: partitions come and go while calls are under way", "[route][concurrency_limiter]") {
  ConcurrencyLimiter limiter(limiter_options(2));
  auto before = take(limiter, 2, "live");
  RunLoop loop;
  auto waits = spawn(loop, acquire_in(limiter, Context::background(), "live"));
  loop.run_ready();
  CHECK(limiter.stats().waiting == 1);
  REQUIRE(limiter.set_options(shared_options(2)).ok());
  CHECK(limiter.stats().waiting == 1);  // it stands with those who named none
  auto during = take(limiter, 2, "live");
  CHECK(during.size() == 1);
  auto batch_waits = spawn(loop, acquire_in(limiter, Context::background(), "live"));
  loop.run_ready();
  CHECK(limiter.stats().waiting == 2);

  ConcurrencyLimiterOptions without = shared_options(2);
  without.partitions = {{"batch", 0.5}};
  REQUIRE(limiter.set_options(without).ok());
  const auto names = [&] {
    std::string all;
    for (const LimitPartitionStats& each : limiter.stats().partitions) all += "[" + each.name + "]";
    return all;
  };
  CHECK(names() == "[][batch][live]");  // it still has a call and a waiter
  CHECK(take(limiter, 1, "live").empty());
  REQUIRE(limiter.set_options(limiter_options(2)).ok());
  CHECK(names().empty());
  during.clear();
  CHECK(limiter.in_flight() == 2);
  before.clear();
  loop.run_ready();
  CHECK(waits.get().ok());
  CHECK(batch_waits.get().ok());
  CHECK(limiter.in_flight() == 0);
  REQUIRE(limiter.set_options(without).ok());
  CHECK(names() == "[][batch]");
  REQUIRE(limiter.set_options(limiter_options(2)).ok());
  CHECK(take(limiter, 3, "").size() == 2);
}

/// One line of all who wait, searched anew for each decision.
class Reference {
 public:
  struct Caller {
    int id;
    std::size_t partition;
  };

  std::size_t total() const { return busy[0] + busy[1] + busy[2]; }
  bool may_take(std::size_t partition) const {
    if (total() < limit) return true;
    if (!partitioned || shares[partition] <= 0) return false;
    return busy[partition] < std::max<std::size_t>(1, static_cast<std::size_t>(
                                                          std::ceil(static_cast<double>(limit) * shares[partition])));
  }
  /// The ids of those who are served now.
  std::vector<int> serve() {
    std::vector<int> served;
    for (bool found = true; found;) {
      found = false;
      for (std::size_t i = 0; i != line.size() && !found; ++i) {
        const std::size_t at = lifo ? line.size() - 1 - i : i;
        if (!may_take(line[at].partition)) continue;
        found = true;
        served.push_back(line[at].id);
        ++busy[line[at].partition];
        line.erase(line.begin() + static_cast<std::ptrdiff_t>(at));
      }
    }
    return served;
  }

  std::size_t limit = 1;
  bool partitioned = false;
  bool lifo = false;
  std::array<double, 3> shares{0, 0.4, 0.25};
  std::array<std::size_t, 3> busy{};
  std::vector<Caller> line;
};

using Arrived = std::map<int, absl::StatusOr<LimiterSlot>>;

Task<> arrive(ConcurrencyLimiter& limiter, std::string partition, int id, Arrived& arrived) {
  auto slot = co_await limiter.async_acquire(Context::background(), partition);
  arrived.emplace(id, std::move(slot));
}

TEST_CASE("ConcurrencyLimiter: whoever goes is who may, one step at a time", "[route][concurrency_limiter][fuzz]") {
  constexpr std::array<const char*, 3> kNames{"", "a", "b"};
  std::size_t served_in_line = 0;
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    Reference reference;
    reference.partitioned = below(2) == 0;
    reference.lifo = below(2) == 0;
    reference.limit = 1 + below(8);
    const std::size_t max_waiting = 1 + below(6);
    const auto options = [&] {
      ConcurrencyLimiterOptions made = limiter_options(reference.limit, max_waiting);
      made.order = reference.lifo ? Order::kLifo : Order::kFifo;
      if (reference.partitioned) made.partitions = {{"a", reference.shares[1]}, {"b", reference.shares[2]}};
      return made;
    };
    ConcurrencyLimiter limiter(options());
    RunLoop loop;
    struct Held {
      LimiterSlot slot;
      std::size_t partition;
    };
    std::vector<Held> held;
    std::map<int, std::size_t> partition_of;
    std::vector<JoinHandle<void>> handles;
    Arrived arrived;
    int ids = 0;
    for (int step = 0; step != 300; ++step) {
      const std::size_t partition = below(3);
      switch (below(6)) {
        case 0: {
          auto slot = limiter.try_acquire(kNames[partition]);
          REQUIRE(slot.has_value() == reference.may_take(partition));
          if (!slot) break;
          ++reference.busy[partition];
          held.push_back({std::move(*slot), partition});
          break;
        }
        case 1:
        case 2: {
          const bool goes = reference.may_take(partition);
          const bool is_refused = !goes && reference.line.size() >= max_waiting;
          handles.push_back(spawn(loop, arrive(limiter, kNames[partition], ++ids, arrived)));
          loop.run_ready();
          REQUIRE(arrived.contains(ids) == (goes || is_refused));
          if (goes) {
            ++reference.busy[partition];
            held.push_back({std::move(*arrived.at(ids)), partition});
          } else if (is_refused) {
            REQUIRE(arrived.at(ids).status().code() == absl::StatusCode::kResourceExhausted);
          } else {
            reference.line.push_back({ids, partition});
            partition_of[ids] = partition;
          }
          break;
        }
        case 5:
          reference.limit = 1 + below(8);
          REQUIRE(limiter.set_options(options()).ok());
          break;
        default:
          if (held.empty()) break;
          std::swap(held[below(held.size())], held.back());
          --reference.busy[held.back().partition];
          held.pop_back();
      }
      for (const int id : reference.serve()) {
        ++served_in_line;
        loop.run_ready();
        REQUIRE(arrived.contains(id));
        held.push_back({std::move(*arrived.at(id)), partition_of.at(id)});
      }
      INFO("seed " << seed << ", step " << step);
      const ConcurrencyLimiterStats stats = limiter.stats();
      REQUIRE(stats.in_flight == reference.total());
      REQUIRE(stats.waiting == reference.line.size());
      REQUIRE(stats.limit == reference.limit);
    }
    REQUIRE(limiter.set_options(limiter_options(100)).ok());
    loop.run_ready();
    REQUIRE(arrived.size() == static_cast<std::size_t>(ids));
    held.clear();
    arrived.clear();
    REQUIRE(limiter.in_flight() == 0);
  }
  CHECK(served_in_line > 1000);
}

}  // namespace
}  // namespace penstock
