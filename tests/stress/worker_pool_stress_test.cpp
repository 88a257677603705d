// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;

// A small generator, so that a run can be told from its seed.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ULL + 1) {}
  std::uint64_t roll(std::uint64_t sides) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % sides;
  }

 private:
  std::uint64_t state_;
};

// What became of the jobs, as their callers saw it.
struct Tally {
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> answered{0};
  std::atomic<std::uint64_t> ran{0};
  std::atomic<std::uint64_t> destroyed{0};  // functions of accepted jobs
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> inside{0};  // run in workers now
  std::atomic<std::uint64_t> most{0};    // that ever did
};

// Counts who is inside at once.
class Inside {
 public:
  explicit Inside(Tally* tally) : tally_(tally) {
    if (tally_ == nullptr) return;
    const std::uint64_t now = ++tally_->inside;
    for (std::uint64_t most = tally_->most; most < now && !tally_->most.compare_exchange_weak(most, now);) {
    }
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() {
    if (tally_ != nullptr) --tally_->inside;
  }

 private:
  Tally* const tally_;
};

// A function that counts its end; the one that was moved from does not.
struct Body {
  Body(Tally* of, std::uint64_t what) : tally(of), kind(what) {}
  Body(Body&& other) noexcept : tally(std::exchange(other.tally, nullptr)), kind(other.kind) {}
  ~Body() {
    if (tally != nullptr) ++tally->destroyed;
  }
  std::uint64_t operator()(const JobContext& job) {
    ++tally->ran;
    const Inside inside(job.worker_id == kCallerThread ? nullptr : tally);
    if (kind == 0) throw std::runtime_error("boom");
    if (kind == 1) {
      for (int i = 0; i < 50 && !job.context.is_done(); ++i) std::this_thread::yield();
    }
    return job.job_id;
  }

  Tally* tally;
  std::uint64_t kind;
};

void submit_some(WorkerPool& pool, ManualClock& clock, Tally& tally, std::uint64_t seed, int rounds) {
  Dice dice(seed);
  std::vector<Job<std::uint64_t>> kept;
  const auto settle = [&tally](Job<std::uint64_t>& job) {
    const absl::StatusOr<std::uint64_t> answer = job.get();
    ++tally.answered;
    if (answer.ok() && *answer != job.id()) ++tally.wrong;
    if (!job.is_done()) ++tally.wrong;
  };
  for (int round = 0; round < rounds; ++round) {
    SubmitOptions options;
    std::optional<CancelSource> source;
    if (dice.roll(3) == 0) {
      auto [ctx, cancel] = Context(clock).with_timeout(std::chrono::microseconds(dice.roll(40))).with_cancel();
      options.context = ctx;
      source = cancel;
    }
    if (dice.roll(3) == 0) options.overflow = static_cast<OverflowPolicy>(dice.roll(5));
    if (dice.roll(4) == 0) options.processing_timeout = std::chrono::microseconds(1 + dice.roll(20));
    ++tally.submitted;
    Body body(&tally, dice.roll(5));
    Job<std::uint64_t> job;
    if (dice.roll(2) == 0) {
      absl::StatusOr<Job<std::uint64_t>> submitted = pool.submit(std::move(body), std::move(options));
      if (submitted.ok()) job = *std::move(submitted);
    } else {
      static_cast<void>(pool.try_submit(std::move(body), &job, std::move(options)));
    }
    if (job.id() == 0) {
      ++tally.refused;
      if (body.tally == nullptr) ++tally.wrong;  // NOLINT(bugprone-use-after-move): a refusal leaves it alone
      body.tally = nullptr;
      continue;
    }
    switch (dice.roll(4)) {
      case 0:
        job.cancel();
        settle(job);
        break;
      case 1:
        if (source) source->cancel();
        settle(job);
        break;
      case 2:
        ++tally.answered;  // dropped: by the books it is answered all the same
        break;
      default:
        kept.push_back(std::move(job));
    }
    if (kept.size() > 8) {
      settle(kept.front());
      kept.erase(kept.begin());
    }
  }
  for (Job<std::uint64_t>& job : kept) settle(job);
}

TEST_CASE("WorkerPool: every accepted job is answered once, whatever races", "[stress][worker_pool]") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const std::size_t workers = 1 + seed % 3;
    const std::size_t max_workers = workers + seed / 3 % 3;
    const std::size_t max_replacements = seed / 9 % 3;
    ManualClock clock;
    Tally tally;
    std::atomic<bool> over{false};
    std::atomic<bool> snapshots_agree{true};
    std::atomic<bool> too_many{false};
    auto pool = testing::make_pool({.workers = workers,
                                    .queue_capacity = seed % 4,
                                    .overflow = static_cast<OverflowPolicy>(seed % 5),
                                    .enqueue_timeout = 15us,
                                    .queue_wait_limit = 25us,
                                    .processing_timeout = 30us,
                                    .clock = &clock,
                                    .max_workers = max_workers,
                                    .max_replacements = max_replacements});
    // Time goes on until all is over, so nobody waits for ever.
    std::thread time([&] {
      WorkerPoolStats last;
      while (!over) {
        clock.advance(1us);
        const WorkerPoolStats now = pool->stats();
        if (!discrepancies(now).empty() || !testing::only_grows(last, now)) snapshots_agree = false;
        if (now.live + now.joining > max_workers + max_replacements) too_many = true;
        last = now;
        std::this_thread::yield();
      }
    });
    std::vector<std::thread> submitters;
    for (std::uint64_t i = 0; i < 3; ++i) {
      submitters.emplace_back([&, i] { submit_some(*pool, clock, tally, seed * 10 + i, 60); });
    }
    std::thread closer;
    if (seed % 2 == 0) {
      closer = std::thread([&] {
        while (tally.submitted < 90) std::this_thread::yield();
        if (!pool->shutdown(Context(clock).with_timeout(5us)).is_drained()) pool->shutdown(Context(clock));
      });
    }
    for (std::thread& submitter : submitters) submitter.join();
    if (closer.joinable()) closer.join();
    pool->shutdown(Context(clock));
    over = true;
    time.join();

    INFO("seed " << seed);
    const WorkerPoolStats stats = pool->stats();
    CHECK(snapshots_agree);
    CHECK(discrepancies(stats, true).empty());
    CHECK(tally.wrong == 0);
    CHECK(stats.submitted == tally.submitted);
    CHECK(stats.accepted == tally.answered);
    CHECK(stats.accepted + tally.refused == tally.submitted);
    // A worker may take a job whose caller leaves at that moment: then it does not call it.
    CHECK(stats.started >= tally.ran);
    CHECK(stats.started - tally.ran <= stats.cancelled);
    CHECK_FALSE(too_many);
    CHECK(tally.most <= max_workers + max_replacements);
    CHECK(stats.starting + stats.queue_depth + stats.running + stats.overdue + stats.submitting == 0);
    pool.destroy();
    CHECK(tally.destroyed == stats.accepted);
  }
}

TEST_CASE("WorkerPool: submissions race with shutdown and destruction", "[stress][worker_pool]") {
  for (int round = 0; round < 300; ++round) {
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    std::atomic<bool> begin{false};
    Job<int> outliving;
    {
      auto pool = testing::make_pool({.workers = 2, .queue_capacity = 4, .overflow = OverflowPolicy::kReject});
      std::vector<std::thread> threads;
      for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
          while (!begin) std::this_thread::yield();
          for (OpStatus status = OpStatus::kOk; status != OpStatus::kClosed;) {
            status = pool->try_submit([&] { ++ran; });
            accepted += status == OpStatus::kOk;
          }
        });
      }
      begin = true;
      if (round % 2 == 0) outliving = pool->submit([] { return 1; }).value_or(Job<int>());
      CHECK(pool->shutdown(Context::background()).is_drained());
      for (std::thread& thread : threads) thread.join();
    }
    CHECK(ran == accepted);
    CHECK(outliving.is_done());
  }
}

TEST_CASE("WorkerPool: a cancellation races with the pool's end", "[stress][worker_pool]") {
  for (int round = 0; round < 500; ++round) {
    auto [ctx, source] = Context::background().with_cancel();
    Job<int> first;
    Job<int> second;
    std::thread canceller;
    {
      auto pool = testing::make_pool({.workers = 1, .shutdown_timeout = round % 3 == 0 ? 0s : 1h});
      first = pool->submit([](const JobContext&) { return 1; }, {.context = ctx}).value();
      second = pool->submit([] { return 2; }, {.context = ctx}).value();
      canceller = std::thread([&, cancel = source] {
        first.cancel();
        cancel.cancel();
        second.cancel();
      });
    }
    CHECK(first.is_done());
    CHECK(second.is_done());
    canceller.join();
  }
}

Task<int> count_up(WorkerPool& pool, int turns) {
  int sum = 0;
  for (int i = 0; i < turns; ++i) {
    absl::StatusOr<Job<int>> job = pool.submit([] { return 1; });
    if (job.ok()) sum += (co_await *job).value_or(0);
    co_await pool.schedule();
  }
  co_return sum;
}

TEST_CASE("WorkerPool: coroutines on a pool await its jobs", "[stress][worker_pool]") {
  const auto pool = testing::make_pool({.workers = 2, .queue_capacity = 100});
  std::vector<JoinHandle<int>> tasks;
  for (int i = 0; i < 50; ++i) tasks.push_back(spawn(*pool, count_up(*pool, 40)));
  for (JoinHandle<int>& task : tasks) CHECK(task.get() == 40);
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(discrepancies(pool->stats()).empty());
}

}  // namespace
}  // namespace penstock
