// SPDX-License-Identifier: MIT

// A concurrency limiter under threads and coroutines that all want slots, while the limit moves, callers give up and
// options change: the limit holds, and at the end nothing is missing.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/task.hpp"
#include "penstock/route/concurrency_limiter.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using namespace penstock;

namespace {

constexpr int kThreads = 4;

ConcurrencyLimiterOptions fixed(std::size_t limit) {
  ConcurrencyLimiterOptions options;
  options.algorithm = FixedLimit{.limit = limit};
  return options;
}

void settle(ConcurrencyLimiter::Slot& slot, std::uint32_t how) {
  switch (how % 5) {
    case 0:
      slot.success();
      break;
    case 1:
      slot.success(1ms);
      break;
    case 2:
      slot.dropped(1ms);
      break;
    case 3:
      slot.settle(absl::InternalError("bug"));
      break;
    default:
      break;  // abandoned
  }
}

std::uint64_t settled(const ConcurrencyLimiterStats& stats) {
  return stats.success + stats.dropped + stats.ignored + stats.abandoned;
}

Task<> coroutine(ConcurrencyLimiter& limiter, int rounds, std::atomic<int>& inside, std::atomic<int>& most,
                 std::atomic<std::uint64_t>& granted) {
  for (int i = 0; i != rounds; ++i) {
    auto slot = co_await limiter.async_acquire();
    if (!slot.ok()) continue;
    const int now = inside.fetch_add(1) + 1;
    for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    granted.fetch_add(1);
    inside.fetch_sub(1);
    settle(*slot, static_cast<std::uint32_t>(i));
  }
}

}  // namespace

TEST_CASE("ConcurrencyLimiter: a crowd of threads and coroutines never overshoots a fixed limit",
          "[route][concurrency_limiter][stress]") {
  for (const std::size_t limit : {std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    ConcurrencyLimiter limiter(fixed(limit));
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<std::uint64_t> granted{0};
    std::vector<std::thread> threads;
    for (int thread = 0; thread != kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        std::mt19937 random(static_cast<std::uint32_t>(thread));
        for (int i = 0; i != 3000; ++i) {
          const auto how = static_cast<std::uint32_t>(random());
          const auto patience = std::chrono::microseconds(how % 50);
          auto slot =
              limiter.acquire(how % 3 == 0 ? Context::background().with_timeout(patience) : Context::background());
          if (!slot.ok()) continue;
          const int now = inside.fetch_add(1) + 1;
          for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          granted.fetch_add(1);
          inside.fetch_sub(1);
          settle(*slot, how);
        }
      });
    }
    threads.emplace_back([&] {
      std::vector<JoinHandle<void>> all;
      for (int i = 0; i != 8; ++i) {
        all.push_back(spawn(Executor::inline_executor(), coroutine(limiter, 300, inside, most, granted)));
      }
      for (JoinHandle<void>& each : all) each.get();
    });
    for (std::thread& thread : threads) thread.join();
    CHECK(most.load() <= static_cast<int>(limit));
    const ConcurrencyLimiterStats stats = limiter.stats();
    CHECK(stats.in_flight == 0);
    CHECK(stats.waiting == 0);
    CHECK(settled(stats) == granted.load());
  }
}

TEST_CASE("ConcurrencyLimiter: limits, options and partitions move under a crowd, and nothing is lost",
          "[route][concurrency_limiter][stress]") {
  ConcurrencyLimiterOptions options;
  options.algorithm = AimdLimit{.initial = 4, .min = 1, .max = 8};
  ConcurrencyLimiter limiter(options);
  std::atomic<std::uint64_t> granted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int thread = 0; thread != kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<std::uint32_t>(thread));
      while (!stop.load()) {
        const auto how = static_cast<std::uint32_t>(random());
        const char* const partition = how % 7 == 0 ? "a" : how % 7 == 1 ? "b" : "";
        auto slot = limiter.acquire(Context::background().with_timeout(std::chrono::milliseconds(how % 2)), partition);
        ++(slot.ok() ? granted : refused);
        if (how % 4 == 0) std::this_thread::yield();  // with the slot
        if (slot.ok()) settle(*slot, how);
      }
    });
  }
  std::uint64_t changes = 0;
  for (std::mt19937 random(99); changes != 500; ++changes) {
    ConcurrencyLimiterOptions next;
    const auto kind = random();
    if (kind % 2 == 0) next.partitions = {{"a", 0.5}};
    if (kind % 3 == 0) next.partitions.push_back({"b", 0.25});
    if (kind % 5 == 0) next.order = ConcurrencyLimiterOptions::Order::kLifo;
    next.algorithm = kind % 7 == 0 ? LimitOptions(FixedLimit{.limit = 1 + kind % 4})
                                   : LimitOptions(AimdLimit{.initial = 1 + kind % 8, .min = 1, .max = 8});
    next.max_waiting = 1 + kind % 4;
    if (!limiter.set_options(next).ok()) break;
    const ConcurrencyLimiterStats stats = limiter.stats();
    if (stats.waiting > kThreads || stats.in_flight > kThreads) break;
    const std::uint64_t before = granted.load();
    while (granted.load() == before) std::this_thread::yield();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  CHECK(changes == 500);
  const ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(stats.in_flight == 0);
  CHECK(stats.waiting == 0);
  CHECK(settled(stats) == granted.load());
  CHECK(stats.rejected + stats.timed_out == refused.load());
}

TEST_CASE("ConcurrencyLimiter: an algorithm never sees two samples at a time", "[route][concurrency_limiter][stress]") {
  struct Alone final : LimitAlgorithm {
    std::size_t on_sample(const LimitSample&) noexcept override {
      if (inside.fetch_add(1) != 0) ++met;
      if (++samples % 16 == 0) std::this_thread::yield();  // plain
      inside.fetch_sub(1);
      return limit();
    }
    [[nodiscard]] std::size_t limit() const noexcept override { return 1 + static_cast<std::size_t>(samples % 5); }
    [[nodiscard]] std::string_view name() const noexcept override { return "alone"; }
    std::atomic<int> inside{0};
    int met = 0;
    std::uint64_t samples = 0;
  };
  Alone* algorithm = nullptr;
  ConcurrencyLimiterOptions options;
  options.make_algorithm = [&algorithm] {
    auto made = std::make_unique<Alone>();
    algorithm = made.get();
    return made;
  };
  ConcurrencyLimiter limiter(options);
  std::vector<std::thread> threads;
  for (int thread = 0; thread != kThreads; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i != 5000; ++i) {
        auto slot = limiter.acquire();
        if (i % 16 == 0) std::this_thread::yield();
        if (slot.ok()) slot->success(1ms);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const ConcurrencyLimiterStats stats = limiter.stats();
  CHECK(algorithm->met == 0);
  CHECK(algorithm->samples + stats.missed_samples == kThreads * 5000U);
  CHECK(stats.limit == algorithm->limit());
  CHECK(stats.in_flight == 0);
}
