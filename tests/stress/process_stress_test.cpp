// SPDX-License-Identifier: MIT

// Starts and stops of one process by many at once: everybody gets an answer, and nothing is left.

#include <atomic>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

#include "penstock/core/task.hpp"
#include "support/catch.hpp"
#include "support/rounds.hpp"
#include "swap/process_support.hpp"

using namespace penstock;
using namespace penstock::testing;
using namespace std::chrono_literals;

namespace {

/// Whether a start may end like this among stops.
bool is_answer(const absl::Status& status) {
  return status.ok() || status.code() == absl::StatusCode::kAborted ||
         status.code() == absl::StatusCode::kUnavailable;  // killed by the test before it was ready
}

}  // namespace

TEST_CASE("Process: ten pairs that start and stop it at once all get an answer (P14)", "[swap][process][stress]") {
  constexpr int kPairs = 10;
  const std::size_t descriptors = open_descriptors();
  std::atomic<int> wrong{0};
  {
    ProcessSupervisor supervisor;
    Process process(supervisor, server());
    for (Rounds rounds(40, 8s); rounds.next();) {
      std::vector<std::thread> threads;
      for (int i = 0; i < kPairs; ++i) {
        threads.emplace_back([&] {
          if (!is_answer(process.ensure_ready())) ++wrong;
        });
        threads.emplace_back([&] {
          if (!process.stop().ok()) ++wrong;
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    CHECK(wrong == 0);
    CHECK(process.stop().ok());
    const ProcessStats stats = process.stats();
    CHECK(stats.starts == stats.ready + stats.start_failures + stats.aborted);
    CHECK(stats.crashes == 0);
    CHECK(children() == 0);
  }
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("Process: killed, started, stopped and destroyed in all orders it leaves nothing",
          "[swap][process][stress]") {
  std::atomic<int> wrong{0};
  for (Rounds rounds(100, 8s); rounds.next();) {
    ProcessSupervisor supervisor;
    auto process = std::make_unique<Process>(supervisor, rounds.begun() % 2 == 0 ? server() : child({"print", "up"}));
    JoinHandle<absl::Status> first = started(*process);
    std::thread killer([&] {
      if (const int pid = process->pid(); pid != 0) kill(pid, SIGKILL);
      static_cast<void>(process->try_stop());
      if (!is_answer(process->ensure_ready())) ++wrong;
    });
    if (rounds.begun() % 3 == 0) static_cast<void>(process->stop());
    killer.join();
    process.reset();
    if (const absl::Status status = first.get();
        !is_answer(status) && status.code() != absl::StatusCode::kFailedPrecondition) {
      ++wrong;
    }
  }
  CHECK(wrong == 0);
  CHECK(children() == 0);
}
