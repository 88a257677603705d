// SPDX-License-Identifier: MIT

// Signals that interrupt system calls, all the time and in every thread: nothing is lost, and nothing ends early.

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;

std::atomic<std::uint64_t> interruptions{0};

extern "C" void count_interruption(int) { interruptions.fetch_add(1, std::memory_order_relaxed); }

/// Sends signals to all threads of the process but its own, whose system calls they interrupt and do not restart. The
/// handler stays: the last ones may still be on their way.
class Storm {
 public:
  Storm() {
    struct sigaction action {};
    action.sa_handler = count_interruption;  // and no SA_RESTART
    if (sigaction(SIGUSR1, &action, nullptr) != 0) throw std::runtime_error("no handler");
    thread_ = std::thread([this] { blow(); });
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm() {
    over_ = true;
    thread_.join();
  }

 private:
  void blow() {
    const auto process = getpid();
    const auto self = std::to_string(syscall(SYS_gettid));
    while (!over_) {
      std::error_code gone;  // a thread may be, meanwhile
      for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", gone)) {
        const std::string name = task.path().filename().string();
        if (name != self) static_cast<void>(syscall(SYS_tgkill, process, std::stol(name), SIGUSR1));
      }
      std::this_thread::yield();
    }
  }

  std::atomic<bool> over_{false};
  std::thread thread_;
};

using Steady = std::chrono::steady_clock;

TEST_CASE("WorkerPool: in a storm of signals no job is lost", "[stress][worker_pool]") {
  constexpr int kSubmitters = 4;
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> ran{0};
  std::atomic<std::uint64_t> wrong{0};
  interruptions = 0;
  {
    const auto work = [&ran] {
      const auto until = Steady::now() + 100us;
      while (Steady::now() < until) std::this_thread::yield();
      ++ran;
    };
    auto pool = make_pool({.workers = 2, .queue_capacity = 1});
    const Storm storm;
    std::vector<std::thread> submitters;
    const auto end = Steady::now() + 300ms;
    for (int i = 0; i < kSubmitters; ++i) {
      submitters.emplace_back([&] {
        while (Steady::now() < end) {
          // More than there are places for, and they take their time: so the submitters sleep, too.
          for (int n = 0; n < 8; ++n) {
            if (pool->execute(work) != OpStatus::kOk) ++wrong;
          }
          auto job = pool->submit(work);
          if (!job.ok() || !job->get(Context::background().with_timeout(1h)).ok()) ++wrong;
          accepted += 9;
        }
      });
    }
    for (std::thread& submitter : submitters) submitter.join();
    CHECK(pool->shutdown(Context::background().with_timeout(1h)).is_drained());
    const WorkerPoolStats stats = pool->stats();
    CHECK(stats.succeeded == accepted);
    CHECK(stats.submitted == accepted);
    CHECK(discrepancies(stats, true).empty());
  }
  CHECK(wrong == 0);
  CHECK(ran == accepted);
  CHECK(accepted > 0);
  CHECK(interruptions > 100);
}

TEST_CASE("WorkerPool: in a storm of signals nothing ends before its time", "[stress][worker_pool]") {
  static constexpr auto kLimit = 20ms;
  constexpr int kRounds = 15;
  std::atomic<int> early{0};
  std::atomic<int> wrong{0};
  const auto takes = [&](auto wait, absl::StatusCode expected) {
    return [&early, &wrong, wait, expected] {
      for (int round = 0; round < kRounds; ++round) {
        const auto begin = Steady::now();
        const absl::Status status = wait();
        if (Steady::now() - begin < kLimit) ++early;
        if (status.code() != expected) ++wrong;
      }
    };
  };
  Gate gate;
  const auto full = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = kLimit});
  Job<void> waits = full->submit([] {}).value();
  std::atomic<int> answers{0};
  const auto open = make_pool({.workers = 1, .queue_capacity = 100, .processing_timeout = kLimit});
  interruptions = 0;
  {
    const Storm storm;
    std::vector<std::thread> threads;
    threads.emplace_back(takes([&] { return full->submit([] {}).status(); }, absl::StatusCode::kDeadlineExceeded));
    threads.emplace_back(takes([&] { return waits.get(Context::background().with_timeout(kLimit)); },
                               absl::StatusCode::kDeadlineExceeded));
    // The watching thread has the time of this one, whose job ends only after that.
    threads.emplace_back(takes(
        [&] {
          const absl::Status status = open->submit([&answers, mine = answers.load()] {
                                            while (answers == mine) std::this_thread::yield();
                                          })
                                          .value()
                                          .get();
          ++answers;
          return status;
        },
        absl::StatusCode::kDeadlineExceeded));
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(early == 0);
  CHECK(wrong == 0);
  CHECK(interruptions > 100);
  gate.open();
  CHECK(waits.get().ok());
  CHECK(eventually([&] { return open->stats().busy == 0; }));
  CHECK(discrepancies(open->stats()).empty());
  CHECK(full->stats().enqueue_timeouts == kRounds);
}

}  // namespace
}  // namespace penstock
