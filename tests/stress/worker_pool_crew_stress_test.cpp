// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::make_pool;

// Jobs come while the crew grows by itself, shrinks when idle, and two threads make it larger and smaller.
TEST_CASE("WorkerPool: a crew that changes all the time loses no job", "[exec][worker_pool][stress]") {
  const auto dispatch = GENERATE(DispatchMode::kSharedQueue, DispatchMode::kRoundRobin);
  std::atomic<std::size_t> started{0};
  std::atomic<std::size_t> stopped{0};
  auto pool = make_pool({.workers = 2,
                         .queue_capacity = 16,
                         .enqueue_timeout = 1h,
                         .on_worker_start =
                             [&started](std::size_t) {
                               ++started;
                               return absl::OkStatus();
                             },
                         .min_workers = 1,
                         .max_workers = 6,
                         .idle_timeout = 1ms,
                         .on_worker_stop = [&stopped](std::size_t) { ++stopped; },
                         .dispatch = dispatch});
  std::atomic<bool> ends{false};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> ran{0};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int submitter = 0; submitter < 2; ++submitter) {
    threads.emplace_back([&, submitter] {
      while (!ends) {
        if (submitter == 0) {
          if (pool->execute([&ran] { ++ran; }) != OpStatus::kOk) ++wrong;
        } else {
          auto job = pool->submit([&ran] { return ++ran; });
          if (!job.ok() || !job->get().ok()) ++wrong;
        }
        ++accepted;
      }
    });
  }
  for (std::size_t changer = 0; changer < 2; ++changer) {
    threads.emplace_back([&, changer] {
      for (std::size_t turn = changer; !ends; ++turn) {
        // Any of them may be out of bounds by now, and is refused then.
        const absl::Status status = turn % 3 == 0   ? pool->add_workers(2)
                                    : turn % 3 == 1 ? pool->remove_workers(1)
                                                    : pool->resize(1 + turn % 6);
        if (!status.ok() && status.code() != absl::StatusCode::kInvalidArgument) ++wrong;
      }
    });
  }
  std::string discrepancy;
  const auto end = std::chrono::steady_clock::now() + 300ms;
  while (std::chrono::steady_clock::now() < end && discrepancy.empty()) {
    const WorkerPoolStats stats = pool->stats();
    discrepancy = discrepancies(stats);
    if (stats.configured < 1 || stats.configured > 6) discrepancy += "configured";
  }
  ends = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(discrepancy == "");
  CHECK(wrong == 0);
  CHECK(pool->shutdown(Context::background()).is_drained());
  const WorkerPoolStats stats = pool->stats();
  CHECK(discrepancies(stats).empty());
  CHECK(stats.succeeded == accepted);
  CHECK(ran == accepted);
  pool.destroy();
  CHECK(started == stopped);
}

}  // namespace
}  // namespace penstock
