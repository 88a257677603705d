// SPDX-License-Identifier: MIT

// Producers, consumers, cancellers, ejectors and a clock at once: every slot ends once, and every sum adds up.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/core/work_stealing_executor.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;

/// Says when it is used by two.
struct Slot {
  explicit Slot(std::atomic<int>& counter) : alive(&counter) { ++*alive; }
  Slot(Slot&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
  Slot& operator=(Slot&&) = delete;
  ~Slot() {
    if (alive != nullptr) --*alive;
  }
  std::atomic<int>* alive;
  std::uint64_t uses = 0;  // plain: a sanitizer sees two at once
};

TEST_CASE("SlotQueue: everybody at once", "[stress][slot_queue]") {
  for (int round = 0; round != 20; ++round) {
    std::atomic<int> alive{0};
    std::atomic<int> odd{0};
    ManualClock clock;
    {
      SlotQueue<Slot> queue({.name = "q",
                             .idle_timeout = 3ms,
                             .min_idle = 1,
                             .launch =
                                 [&](LaunchTicket<Slot> ticket) {
                                   // Now and then one fails, or is forgotten.
                                   static thread_local int count = 0;
                                   switch (++count % 5) {
                                     case 0:
                                       ticket.fail(absl::InternalError("start"));
                                       break;
                                     case 1:
                                       break;
                                     default:
                                       static_cast<void>(ticket.succeed(Slot(alive)));
                                   }
                                 },
                             .launch_policy = CombinedLaunch{.at_once = 2, .interval = 1ms, .max_runners = 6},
                             .clock = &clock});
      std::atomic<bool> stop{false};
      const auto consume = [&](int seed) {
        std::mt19937 random(static_cast<unsigned>(seed));
        for (int i = 0; i != 400; ++i) {
          const Context::Cancellable ctx = Context(clock).with_timeout(2ms).with_cancel();
          if (random() % 8 == 0) ctx.source.cancel();
          auto lease = queue.acquire(ctx.context);
          if (!lease.ok()) {
            const absl::StatusCode code = lease.status().code();
            if (code != absl::StatusCode::kDeadlineExceeded && code != absl::StatusCode::kCancelled &&
                code != absl::StatusCode::kInternal && code != absl::StatusCode::kUnavailable) {
              ++odd;
            }
            continue;
          }
          ++(*lease)->uses;
          if (random() % 16 == 0) lease->discard();
        }
      };
      const auto coroutine = [](SlotQueue<Slot>& from, int times) -> Task<> {
        for (int i = 0; i != times; ++i) {
          auto lease = co_await from.async_acquire(Context::background());
          if (lease.ok()) ++(*lease)->uses;
        }
      };
      WorkStealingExecutor executor(1, "consumers");
      auto one = spawn(executor, coroutine(queue, 200));
      auto two = spawn(executor, coroutine(queue, 200));
      std::vector<std::thread> threads;
      threads.emplace_back(consume, 2 * round);
      threads.emplace_back(consume, 2 * round + 1);
      threads.emplace_back([&] {
        std::vector<SlotToken> tokens;
        for (int i = 0; i != 300; ++i) {
          tokens.push_back(*queue.offer(Slot(alive)));
          const std::size_t at = static_cast<std::size_t>(i * 7 % (i + 1));
          if (i % 3 == 0) static_cast<void>(queue.eject(tokens[at]));
          if (i % 5 == 0) tokens[at].retire();
        }
      });
      std::thread time([&] {
        while (!stop) {
          clock.advance(100us);
          std::this_thread::yield();
        }
      });
      for (std::thread& thread : threads) thread.join();
      sync_wait(std::move(one));
      sync_wait(std::move(two));
      if (round % 2 == 0) queue.close();
      stop = true;
      time.join();
      const SlotQueueStats stats = queue.stats();
      CHECK(stats.leased == 0);
      CHECK(stats.waiting == 0);
      CHECK(stats.starting == 0);
      CHECK(discrepancies(stats).empty());
      CHECK(alive == static_cast<int>(stats.idle));
    }
    CHECK(alive == 0);
    CHECK(odd == 0);
  }
}

}  // namespace
}  // namespace penstock
