// SPDX-License-Identifier: MIT

// Pools that are replaced while they are used: a chain of them, each of which hands over to the next.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/long_run.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::runs_long;

/// The pool that new jobs go to.
class Current {
 public:
  [[nodiscard]] std::shared_ptr<WorkerPool> get() const {
    const std::lock_guard lock(mutex_);
    return pool_;
  }
  void set(std::shared_ptr<WorkerPool> pool) {
    const std::lock_guard lock(mutex_);
    pool_ = std::move(pool);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<WorkerPool> pool_;
};

/// What happened to one job.
struct Fate {
  std::atomic<std::uint8_t> ran{0};
  std::atomic<std::uint8_t> refused{0};  // for good
  std::atomic<std::uint8_t> called_off{0};
};

WorkerPoolOptions options_of(std::uint64_t version) {
  static constexpr QueueDiscipline kDisciplines[] = {QueueDiscipline::kFifo, QueueDiscipline::kPriority,
                                                     QueueDiscipline::kLifo, QueueDiscipline::kAdaptiveLifo};
  WorkerPoolOptions options{.name = "p" + std::to_string(version),
                            .workers = 1 + version % 3,
                            .queue_capacity = 50 + 50 * (version % 4),
                            .overflow = version % 5 == 4 ? OverflowPolicy::kReject : OverflowPolicy::kBlock,
                            .enqueue_timeout = 1h,
                            .queue_wait_limit = 1h,
                            .processing_timeout = 1h,
                            .shutdown_timeout = 1h,
                            .discipline = kDisciplines[version % 4],
                            .dispatch = version % 7 == 6 ? DispatchMode::kRoundRobin : DispatchMode::kSharedQueue};
  if (version % 2 != 0) options.measure = false;
  return options;
}

/// Submits a job until a pool takes it.
void submit_one(const Current& current, Fate& fate, std::uint64_t number) {
  for (;;) {
    const std::shared_ptr<WorkerPool> pool = current.get();
    const auto function = [&fate] { ++fate.ran; };
    OpStatus status = OpStatus::kOk;
    if (number % 4 == 0) {
      absl::StatusOr<Job<void>> job =
          pool->submit(function, {.tag = "t", .priority = static_cast<int>(number % 3), .front = number % 32 == 0});
      if (job.ok()) {
        if (number % 8 == 0) {
          job->cancel();
          const absl::Status answer = job->get();
          if (absl::IsCancelled(answer)) ++fate.called_off;
        } else if (number % 512 == 4) {
          if (!job->get().ok()) ++fate.refused;
        }
        return;
      }
      status = absl::IsUnavailable(job.status()) ? OpStatus::kClosed : OpStatus::kFull;
    } else {
      status = pool->execute(function);
    }
    if (status == OpStatus::kOk) return;
    if (status == OpStatus::kFull) std::this_thread::yield();
  }
}

TEST_CASE("WorkerPool: pools are replaced under load, and no job is lost or runs twice", "[stress][worker_pool]") {
  const std::uint64_t jobs = runs_long() ? 1'000'000 : 60'000;
  const std::uint64_t versions = runs_long() ? 400 : 100;
  constexpr std::uint64_t kSubmitters = 4;
  std::vector<Fate> fates(jobs);
  std::atomic<std::uint64_t> next_job{0};
  Current current;
  current.set(*WorkerPool::create(options_of(0)));

  std::vector<std::thread> submitters;
  for (std::uint64_t i = 0; i < kSubmitters; ++i) {
    submitters.emplace_back([&] {
      for (std::uint64_t number = 0; (number = next_job.fetch_add(1)) < jobs;) {
        submit_one(current, fates[number], number);
      }
    });
  }
  std::uint64_t handed_over = 0;
  std::uint64_t taken_over = 0;
  std::uint64_t accepted = 0;
  std::string wrong;
  const auto close = [&](WorkerPool& pool) {
    pool.shutdown(Context::background());
    const WorkerPoolStats stats = pool.stats();
    handed_over += stats.handed_over;
    taken_over += stats.taken_over;
    accepted += stats.accepted;
    wrong += discrepancies(stats, stats.run.count() != 0);
  };
  for (std::uint64_t version = 1; version <= versions; ++version) {
    // Spread over the whole run.
    while (next_job < std::min(jobs, jobs / versions * version)) std::this_thread::yield();
    const std::shared_ptr<WorkerPool> old = current.get();
    const std::shared_ptr<WorkerPool> next = *WorkerPool::create(options_of(version));
    current.set(next);
    const absl::StatusOr<HandOverReport> report = old->hand_over(*next);
    if (!report.ok()) wrong += std::string(report.status().message());
    close(*old);
  }
  for (std::thread& submitter : submitters) submitter.join();
  close(*current.get());
  current.set(nullptr);

  CHECK(wrong == "");
  CHECK(handed_over == taken_over);
  CHECK(handed_over > 0);
  CHECK(accepted == jobs);
  std::uint64_t lost = 0;
  std::uint64_t doubled = 0;
  for (const Fate& fate : fates) {
    const int ends = fate.ran + fate.called_off + fate.refused;
    lost += ends == 0 ? 1 : 0;
    doubled += ends > 1 ? 1 : 0;
  }
  CHECK(lost == 0);
  CHECK(doubled == 0);
}

// Everybody hands over to everybody, as far as that is open, while others cancel, wait and shut down.
TEST_CASE("WorkerPool: hand-overs in all directions", "[stress][worker_pool]") {
  const int rounds = runs_long() ? 5'000 : 300;
  for (int round = 0; round < rounds; ++round) {
    constexpr std::size_t kPools = 3;
    std::vector<std::unique_ptr<WorkerPool>> pools;
    for (std::size_t i = 0; i < kPools; ++i) {
      pools.push_back(*WorkerPool::create(options_of(4 * static_cast<std::uint64_t>(round) + i)));
    }
    std::atomic<int> ran{0};
    std::vector<Job<void>> jobs;
    for (int i = 0; i < 60; ++i) {
      absl::StatusOr<Job<void>> job = pools[static_cast<std::size_t>(i) % kPools]->submit([&ran] { ++ran; });
      if (job.ok()) jobs.push_back(*std::move(job));
    }
    std::atomic<bool> begin{false};
    std::vector<std::thread> threads;
    const auto race = [&](auto function) {
      threads.emplace_back([&begin, function] {
        while (!begin) std::this_thread::yield();
        function();
      });
    };
    for (std::size_t from = 0; from < kPools; ++from) {
      race([&pools, from] { static_cast<void>(pools[from]->hand_over(*pools[(from + 1) % kPools])); });
    }
    race([&jobs] {
      for (std::size_t i = 0; i < jobs.size(); i += 3) jobs[i].cancel();
    });
    if (round % 3 == 0) {
      race([&] { pools[0]->shutdown(Context::background().with_timeout(round % 2 == 0 ? 0s : 1h)); });
    }
    begin = true;
    for (std::thread& thread : threads) thread.join();
    for (const auto& pool : pools) {
      CHECK(pool->shutdown(Context::background()).is_drained());
      CHECK(discrepancies(pool->stats()) == "");
    }
    pools.clear();
    int succeeded = 0;
    for (Job<void>& job : jobs) {
      REQUIRE(job.is_done());
      succeeded += job.get().ok() ? 1 : 0;
    }
    CHECK(succeeded == ran);
  }
}

}  // namespace
}  // namespace penstock
