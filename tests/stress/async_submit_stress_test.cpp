// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;

// What became of the submissions, as their callers saw it.
struct Tally {
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> destroyed{0};  // functions
};

// A function that counts its end; the one that was moved from does not.
struct Body {
  explicit Body(Tally* of) : tally(of) {}
  Body(Body&& other) noexcept : tally(std::exchange(other.tally, nullptr)) {}
  ~Body() {
    if (tally != nullptr) ++tally->destroyed;
  }
  void operator()(const JobContext& /*job*/) const {}

  Tally* tally;
};

Task<> submit_some(WorkerPool& pool, ManualClock& clock, Tally& tally, std::uint64_t seed, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    const auto roll = [seed](int shift, std::uint64_t sides) { return (seed >> (20 + 8 * shift)) % sides; };
    SubmitOptions options;
    auto [ctx, source] = Context(clock).with_timeout(std::chrono::microseconds(1 + roll(0, 60))).with_cancel();
    if (roll(1, 2) == 0) options.context = ctx;
    options.front = roll(2, 4) == 0;
    ++tally.submitted;
    Body body(&tally);
    auto job = co_await pool.async_submit(std::move(body), options);
    if (!job.ok()) {
      ++tally.refused;
      continue;
    }
    ++tally.accepted;
    if (roll(3, 4) == 0) source.cancel();
    if (roll(3, 4) == 1) job->cancel();
    if (roll(3, 2) == 1) static_cast<void>(co_await *job);
  }
}

TEST_CASE("async_submit: no place and no coroutine is lost, whatever races", "[stress][async_submit]") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    ManualClock clock;
    Tally tally;
    std::atomic<bool> over{false};
    std::atomic<bool> snapshots_agree{true};
    WorkStealingExecutor elsewhere(2, "elsewhere");
    auto pool = testing::make_pool({.workers = 1 + seed % 2,
                                    .queue_capacity = seed % 3,
                                    .enqueue_timeout = 40us,
                                    .queue_wait_limit = 1h,
                                    .processing_timeout = 1h,
                                    .clock = &clock});
    std::thread time([&] {  // goes on until all is over, so nobody waits for ever
      while (!over) {
        clock.advance(1us);
        if (!discrepancies(pool->stats()).empty()) snapshots_agree = false;
        std::this_thread::yield();
      }
    });
    std::thread submitter([&] {
      for (int i = 0; i < 100; ++i) {
        ++tally.submitted;
        const absl::Status status = pool->submit(Body(&tally)).status();
        ++(status.ok() ? tally.accepted : tally.refused);
      }
    });
    std::vector<JoinHandle<>> coroutines;
    for (std::uint64_t i = 0; i < 12; ++i) {
      Executor& executor = i % 2 == 0 ? static_cast<Executor&>(*pool) : elsewhere;
      coroutines.push_back(spawn(executor, submit_some(*pool, clock, tally, seed * 100 + i, 40)));
    }
    std::thread closer;
    if (seed % 3 == 0) {
      closer = std::thread([&] {
        while (tally.submitted < 200) std::this_thread::yield();
        pool->shutdown(Context(clock).with_timeout(5us));
      });
    }
    for (JoinHandle<>& coroutine : coroutines) coroutine.get();
    submitter.join();
    if (closer.joinable()) closer.join();
    pool->shutdown(Context(clock));
    over = true;
    time.join();

    INFO("seed " << seed);
    const WorkerPoolStats stats = pool->stats();
    CHECK(snapshots_agree);
    CHECK(discrepancies(stats, true).empty());
    CHECK(stats.submitting == 0);
    CHECK(stats.submitted == tally.submitted);
    CHECK(stats.accepted == tally.accepted);
    CHECK(stats.accepted + tally.refused == tally.submitted);
    pool.destroy();
    CHECK(tally.destroyed == tally.submitted);
  }
}

testing::Detached submit_one(RunLoop& /*loop*/, WorkerPool& pool, Tally& tally) {
  Body body(&tally);
  const auto job = co_await pool.async_submit(std::move(body));
  ++(job.ok() ? tally.accepted : tally.refused);
}

TEST_CASE("async_submit: coroutines are destroyed while they are given places", "[stress][async_submit]") {
  for (int round = 0; round < 200; ++round) {
    RunLoop loop;
    Tally tally;
    auto pool = testing::make_pool({.workers = 2, .queue_capacity = 1, .enqueue_timeout = 1h});
    std::vector<testing::Detached> coroutines;
    for (int i = 0; i < 20; ++i) {
      ++tally.submitted;
      coroutines.push_back(submit_one(loop, *pool, tally));
    }
    if (round % 3 == 0) loop.run_ready();
    std::thread closer;
    if (round % 4 == 0) closer = std::thread([&] { pool->shutdown(Context::background().with_timeout(0s)); });
    // This is the loop's thread, so nobody resumes them meanwhile.
    for (const testing::Detached& coroutine : coroutines) coroutine.handle.destroy();
    if (closer.joinable()) closer.join();
    CHECK(loop.run_ready() == 0);
    if (round % 4 != 0) CHECK(pool->submit([] {})->get().ok());  // the places are all there
    pool->shutdown(Context::background());
    const WorkerPoolStats stats = pool->stats();
    CHECK(stats.submitting == 0);
    CHECK(discrepancies(stats, true).empty());
    pool.destroy();
    CHECK(tally.destroyed == tally.submitted);
  }
}

TEST_CASE("async_retry_on: a thousand calls fail and succeed on two workers", "[stress][pool_retry]") {
  std::atomic<int> made{0};
  RetryOptions options{.max_attempts = 5, .initial = 20us, .max = 100us};
  options.budget.capacity = 100'000;
  Retrier retrier(options);
  WorkStealingExecutor elsewhere(2, "elsewhere");
  const auto pool = testing::make_pool({.workers = 2, .queue_capacity = 3, .enqueue_timeout = 1h});
  const auto function = [&made](const RetryAttempt& attempt) -> absl::StatusOr<std::uint32_t> {
    if (++made % 3 != 0 && !attempt.is_last()) return absl::UnavailableError("refused");
    return attempt.number;
  };
  std::vector<JoinHandle<absl::StatusOr<std::uint32_t>>> calls;
  for (int i = 0; i < 1000; ++i) {
    Executor& executor = i % 2 == 0 ? static_cast<Executor&>(*pool) : elsewhere;
    calls.push_back(spawn(executor, async_retry_on(*pool, retrier, function)));
  }
  std::uint64_t attempts = 0;
  for (auto& call : calls) attempts += call.get().value_or(0);
  const RetryStats stats = retrier.stats();
  CHECK(stats.running == 0);
  CHECK(stats.succeeded_first + stats.succeeded_after_retry == 1000);
  CHECK(stats.attempts == attempts);
  CHECK(static_cast<std::uint64_t>(made) == attempts);
  pool->shutdown(Context::background());
  CHECK(discrepancies(pool->stats(), true).empty());
}

}  // namespace
}  // namespace penstock
