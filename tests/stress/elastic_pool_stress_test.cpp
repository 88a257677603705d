// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "exec/elastic_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;

// Tasks of every kind come while the clock runs, the limits and the policy change, and somebody looks at the books.
TEST_CASE("ElasticPool: a crew that changes all the time loses no task", "[exec][elastic_pool][stress]") {
  ManualClock clock;
  const bool limited = GENERATE(false, true);
  std::optional<ElasticPool> pool(
      std::in_place,
      ElasticPoolOptions{
          .name = "p", .max_workers = limited ? 3 : kUnlimited, .trim = PoisonPill{1ms, 2, 0}, .clock = &clock});
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> ran{0};
  std::atomic<std::uint64_t> posted{0};
  std::atomic<std::uint64_t> posted_ran{0};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int submitter = 0; submitter < 3; ++submitter) {
    threads.emplace_back([&, submitter] {
      for (std::uint64_t turn = 0; !ends; ++turn) {
        if (submitter == 0) {
          if (pool->execute([&ran] { ++ran; }) != OpStatus::kOk) ++wrong;
          ++accepted;
        } else if (submitter == 1) {
          auto job = pool->submit([&ran] { return ++ran; });
          ++accepted;
          if (turn % 7 == 0) job->cancel();
          const auto answer = job->get();
          if (!answer.ok() && !(turn % 7 == 0 && absl::IsCancelled(answer.status()))) ++wrong;
          if (!answer.ok()) ++ran;
        } else {
          ++posted;
          pool->post([&posted_ran] { ++posted_ran; });
          while (posted_ran + 100 < posted) std::this_thread::yield();
        }
      }
    });
  }
  threads.emplace_back([&] {
    while (!ends) clock.advance(1ms);
  });
  threads.emplace_back([&] {
    for (std::size_t turn = 0; !ends; ++turn) {
      const absl::Status status = turn % 4 == 0 ? pool->set_trim(turn % 8 == 0 ? TrimPolicy(IdleTimeout{1ms, 0})
                                                                               : TrimPolicy(LowWater{1ms, 1, 0}))
                                                : pool->resize(turn % 3, limited ? 3 + turn % 5 : kUnlimited);
      if (!status.ok()) ++wrong;
      std::this_thread::yield();
    }
  });
  std::string discrepancy;
  const auto end = std::chrono::steady_clock::now() + 300ms;
  while (std::chrono::steady_clock::now() < end && discrepancy.empty()) {
    ElasticPoolStats stats = pool->stats();
    stats.max_workers = kUnlimited;  // after a change some may still be busy
    discrepancy = discrepancies(stats);
  }
  ends = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(discrepancy == "");
  CHECK(wrong == 0);
  const ElasticShutdownReport report = pool->shutdown();
  CHECK(report.in_time);
  CHECK(report.dropped == 0);
  const ElasticPoolStats stats = pool->stats();
  CHECK(stats.accepted == accepted);
  CHECK(ran == accepted);
  CHECK(posted_ran == posted);
  CHECK(stats.live == 0);
  pool.reset();
  CHECK(clock.armed() == 0);
}

// Pools come and go with tasks under way, whose submitters may not have returned.
TEST_CASE("ElasticPool: many short lives", "[exec][elastic_pool][stress]") {
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> ran{0};
    {
      ElasticPool pool({.name = "p", .min_workers = static_cast<std::size_t>(round % 3), .trim = IdleTimeout{1ms, 0}});
      std::thread submitter([&] {
        for (int i = 0; i < 5; ++i) {
          while (pool.execute([&ran] { ++ran; }) != OpStatus::kOk) {
          }
        }
      });
      submitter.join();
    }
    REQUIRE(ran == 5);
  }
}

}  // namespace
}  // namespace penstock
