// SPDX-License-Identifier: MIT

// A pool that goes as soon as it may, while a submission that has failed leaves it: whoever is counted is waited for,
// and who has counted itself out does not look back. The address sanitizer is the judge.

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::is_closed;
using testing::make_pool;
using testing::TestPool;

/// Keeps the calling thread, and those that it starts, on one processor: then who is woken often runs before who has
/// woken it goes on.
class OneProcessor {
 public:
#if defined(__linux__)
  OneProcessor() {
    if (sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    const int here = sched_getcpu();
    CPU_SET(static_cast<std::size_t>(here < 0 ? 0 : here), &one);
    is_set_ = sched_setaffinity(0, sizeof(one), &one) == 0;
  }
  ~OneProcessor() {
    if (is_set_) static_cast<void>(sched_setaffinity(0, sizeof(before_), &before_));
  }
#else
  OneProcessor() = default;
#endif
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;

 private:
#if defined(__linux__)
  cpu_set_t before_{};
  bool is_set_ = false;
#endif
};

/// Cannot be made into a job: by the time that it says so a shutdown waits for its submission.
class Unmovable {
 public:
  Unmovable(WorkerPool& pool, std::atomic<bool>& inside) : pool_(&pool), inside_(&inside) {}
  Unmovable(const Unmovable& other) : pool_(other.pool_), inside_(other.inside_) {
    *inside_ = true;
    while (!is_closed(*pool_)) std::this_thread::yield();
    throw 1;
  }
  void operator()() const {}

 private:
  WorkerPool* pool_;
  std::atomic<bool>* inside_;
};

void fail_in(WorkerPool& pool, int way, std::atomic<bool>& inside, std::atomic<int>& thrown) {
  const Unmovable function(pool, inside);
  try {
    switch (way) {
      case 0:
        static_cast<void>(pool.submit(function));
        break;
      case 1:
        static_cast<void>(pool.try_submit(function));
        break;
      default:
        static_cast<void>(pool.execute(function));
    }
  } catch (int) {
    ++thrown;
  }
}

TEST_CASE("WorkerPool: it goes while a submission that has failed leaves it", "[stress][worker_pool]") {
  for (const bool on_one : {false, true}) {
    std::optional<OneProcessor> one;
    if (on_one) one.emplace();
    const auto end = std::chrono::steady_clock::now() + 2s;  // a round is a matter of the scheduler's
    int rounds = 0;
    std::atomic<int> thrown{0};
    for (; rounds < 300 && (rounds < 3 || std::chrono::steady_clock::now() < end); ++rounds) {
      TestPool pool = make_pool({.workers = 1, .queue_capacity = 1});
      std::atomic<bool> inside{false};
      std::thread submitter([&] { fail_in(*pool, rounds % 3, inside, thrown); });
      while (!inside) std::this_thread::yield();
      pool.destroy();
      submitter.join();
    }
    CHECK(thrown == rounds);
  }
}

}  // namespace
}  // namespace penstock
