// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::text_of;
using testing::threads_of;
using Phase = StartupReport::Phase;

struct Start {
  explicit Start(WorkerPoolOptions options) {
    if (options.name.empty()) options.name = "p";
    auto made = WorkerPool::create(std::move(options), &report);
    if (made.ok()) {
      pool = *std::move(made);
    } else {
      failure = made.status();
      leaves_nothing = eventually([&] { return threads_of("p") == 0; });
    }
  }
  [[nodiscard]] std::vector<Phase> phases() const {
    std::vector<Phase> result;
    for (const StartupReport::Step& step : report.steps) result.push_back(step.phase);
    return result;
  }
  // Whether all phases but the last have passed, and that one shows the failure.
  [[nodiscard]] bool fails_last() const {
    for (std::size_t i = 0; i + 1 < report.steps.size(); ++i) {
      if (!report.steps[i].status.ok()) return false;
    }
    return !failure.ok() && report.steps.back().status == failure;
  }

  StartupReport report;
  std::unique_ptr<WorkerPool> pool;
  absl::Status failure;
  bool leaves_nothing = false;
};

TEST_CASE("WorkerPool: a start goes through its phases in order, and says how long each took", "[exec][worker_pool]") {
  ManualClock clock;
  Start start({.workers = 1,
               .clock = &clock,
               .on_worker_start =
                   [&clock](std::size_t) {
                     clock.advance(3s);
                     return absl::OkStatus();
                   },
               .health_check =
                   [&clock](const Context&) {
                     clock.advance(2s);
                     return absl::OkStatus();
                   }});
  REQUIRE(start.pool != nullptr);
  CHECK(start.phases() ==
        std::vector<Phase>{Phase::kOptions, Phase::kThreads, Phase::kWorkers, Phase::kHealthCheck, Phase::kReady});
  for (const StartupReport::Step& step : start.report.steps) CHECK(step.status.ok());
  // The worker may have begun before its thread was known to be there.
  CHECK(start.report.steps[1].took + start.report.steps[2].took == 3s);
  CHECK(start.report.steps[3].took == 2s);
  CHECK(start.pool->submit([] { return 7; }).value().get().value() == 7);
}

TEST_CASE("WorkerPool: the phases have names", "[exec][worker_pool]") {
  CHECK(to_string(Phase::kOptions) == "options");
  CHECK(to_string(Phase::kThreads) == "threads");
  CHECK(to_string(Phase::kWorkers) == "workers");
  CHECK(to_string(Phase::kHealthCheck) == "health check");
  CHECK(to_string(Phase::kReady) == "ready");
}

TEST_CASE("WorkerPool: bad options end a start in its first phase", "[exec][worker_pool]") {
  const Start start({.workers = 0, .max_replacements = 5000});
  CHECK(start.phases() == std::vector<Phase>{Phase::kOptions});
  CHECK(start.fails_last());
  CHECK(start.leaves_nothing);
  CHECK(start.failure.code() == absl::StatusCode::kInvalidArgument);
  CHECK(text_of(start.failure).find("options.workers must be in [1, 4096], got 0") != std::string::npos);
  CHECK(text_of(start.failure).find("options.max_replacements must be in [0, 4096], got 5000") != std::string::npos);
}

TEST_CASE("WorkerPool: all options that make no sense are named, with the numbers", "[exec][worker_pool]") {
  const WorkerPoolOptions options{.name = "p",
                                  .workers = 4,
                                  .min_workers = 5,
                                  .max_workers = 3,
                                  .idle_timeout = 0s,
                                  .discipline = static_cast<QueueDiscipline>(9),
                                  .codel = CodelOptions{.target = 0s, .interval = -1s},
                                  .dispatch = static_cast<DispatchMode>(8),
                                  .inside_wait = static_cast<InsideWait>(7),
                                  .idle_spin = -1ns,
                                  .health_check_timeout = 0s};
  const std::string text = text_of(options.validate());
  for (const char* wrong :
       {"options.min_workers must be in [0, workers = 4], got 5",
        "options.max_workers must be 0 or in [workers = 4, 4096], got 3",
        "options.idle_timeout must be positive, got 0 s", "options.discipline must be one of the named ones, got 9",
        "options.codel.target must be positive, got 0 s", "options.codel.interval must be positive, got -1 s",
        "options.dispatch must be one of the named ones, got 8",
        "options.inside_wait must be one of the named ones, got 7", "options.idle_spin must be at least 0 s, got -1 ns",
        "options.health_check_timeout must be positive, got 0 s"}) {
    INFO(wrong);
    CHECK(text.find(wrong) != std::string::npos);
  }
}

TEST_CASE("WorkerPool: a worker that does not start ends the start", "[exec][worker_pool]") {
  std::atomic<int> checked{0};
  const Start start({.workers = 3,
                     .on_worker_start = [](std::size_t id) -> absl::Status {
                       return id == 1 ? absl::PermissionDeniedError("no key") : absl::OkStatus();
                     },
                     .health_check =
                         [&checked](const Context&) {
                           ++checked;
                           return absl::OkStatus();
                         }});
  CHECK(start.phases() == std::vector<Phase>{Phase::kOptions, Phase::kThreads, Phase::kWorkers});
  CHECK(start.fails_last());
  CHECK(start.leaves_nothing);
  CHECK(start.failure.code() == absl::StatusCode::kPermissionDenied);
  CHECK(text_of(start.failure) == "worker pool 'p': worker 1 did not start: no key");
  CHECK(checked == 0);
}

TEST_CASE("WorkerPool: a health check that fails ends the start", "[exec][worker_pool]") {
  const Start start(
      {.workers = 2, .health_check = [](const Context&) { return absl::UnavailableError("provider is down"); }});
  CHECK(start.phases() == std::vector<Phase>{Phase::kOptions, Phase::kThreads, Phase::kWorkers, Phase::kHealthCheck});
  CHECK(start.fails_last());
  CHECK(start.leaves_nothing);
  CHECK(start.failure.code() == absl::StatusCode::kUnavailable);
  CHECK(text_of(start.failure) == "worker pool 'p': health check failed: provider is down");
}

TEST_CASE("WorkerPool: a health check that throws ends the start", "[exec][worker_pool]") {
  const Start start(
      {.workers = 2, .health_check = [](const Context&) -> absl::Status { throw std::runtime_error("boom"); }});
  CHECK(start.phases().back() == Phase::kHealthCheck);
  CHECK(start.fails_last());
  CHECK(start.leaves_nothing);
  CHECK(start.failure.code() == absl::StatusCode::kInternal);
  CHECK(text_of(start.failure) == "worker pool 'p': health_check threw std::runtime_error: boom");
}

TEST_CASE("WorkerPool: the context of a health check ends after health_check_timeout", "[exec][worker_pool]") {
  ManualClock clock;
  std::vector<OpStatus> seen;
  const Start start({.workers = 1,
                     .clock = &clock,
                     .health_check =
                         [&](const Context& ctx) {
                           clock.advance(7s - 1ns);
                           seen.push_back(ctx.status());
                           clock.advance(1ns);
                           seen.push_back(ctx.status());
                           return absl::DeadlineExceededError("no answer");
                         },
                     .health_check_timeout = 7s});
  CHECK(seen == std::vector<OpStatus>{OpStatus::kOk, OpStatus::kTimedOut});
  CHECK(start.failure.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(start.report.steps.back().took == 7s);
  CHECK(start.leaves_nothing);
}

TEST_CASE("WorkerPool: a health check runs in the calling thread, when all workers are there", "[exec][worker_pool]") {
  std::atomic<int> started{0};
  int seen = 0;
  std::thread::id checker;
  const Start start({.workers = 3,
                     .on_worker_start =
                         [&started](std::size_t) {
                           ++started;
                           return absl::OkStatus();
                         },
                     .health_check =
                         [&](const Context&) {
                           seen = started;
                           checker = std::this_thread::get_id();
                           return absl::OkStatus();
                         }});
  REQUIRE(start.pool != nullptr);
  CHECK(seen == 3);
  CHECK(checker == std::this_thread::get_id());
}

TEST_CASE("WorkerPool: a report is about the last start alone", "[exec][worker_pool]") {
  StartupReport report;
  CHECK_FALSE(WorkerPool::create({.name = "p", .workers = 0}, &report).ok());
  CHECK(WorkerPool::create({.name = "p", .workers = 1}, &report).ok());
  CHECK(report.steps.size() == 5);
}

TEST_CASE("WorkerPool: options at odds with each other are refused", "[exec][worker_pool]") {
  const auto code = [](WorkerPoolOptions options) {
    options.name = "p";
    return WorkerPool::create(std::move(options)).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  CHECK(code({.workers = 4, .min_workers = 5}) == kInvalid);
  CHECK(code({.workers = 4, .max_workers = 3}) == kInvalid);
  CHECK(code({.workers = 4, .min_workers = 6, .max_workers = 5}) == kInvalid);
  CHECK(code({.workers = static_cast<std::size_t>(-1)}) == kInvalid);
  CHECK(code({.workers = 1, .max_workers = static_cast<std::size_t>(-1)}) == kInvalid);
  CHECK(code({.workers = 1, .idle_timeout = -1s}) == kInvalid);
  CHECK(code({.workers = 1, .idle_timeout = 0s}) == kInvalid);
  CHECK(code({.workers = 1, .queue_wait_limit = Duration::min()}) == kInvalid);
  CHECK(code({.workers = 1, .discipline = static_cast<QueueDiscipline>(7)}) == kInvalid);
  CHECK(code({.workers = 1, .codel = CodelOptions{.target = 0s}}) == kInvalid);
  CHECK(code({.workers = 1, .dispatch = static_cast<DispatchMode>(7)}) == kInvalid);
  CHECK(code({.workers = 1, .inside_wait = static_cast<InsideWait>(7)}) == kInvalid);
  CHECK(code({.workers = 1, .idle_spin = -1ns}) == kInvalid);
}

TEST_CASE("WorkerPool: without options it is as the manual says", "[exec][worker_pool]") {
  const WorkerPoolOptions options;
  CHECK(options.workers == 10);
  CHECK(options.queue_capacity == 100);
  CHECK(options.overflow == OverflowPolicy::kBlock);
  CHECK(options.enqueue_timeout == 1s);
  CHECK(options.queue_wait_limit == 10s);
  CHECK(options.processing_timeout == 30s);
  CHECK(options.shutdown_timeout == 5s);
  CHECK(options.warnings().empty());
}

TEST_CASE("WorkerPool: options that are valid but unusual are named, with the numbers", "[exec][worker_pool]") {
  const WorkerPoolOptions far_out{.name = "p",
                                  .workers = 101,
                                  .queue_capacity = 99,
                                  .queue_wait_limit = 11s,
                                  .processing_timeout = 29s,
                                  .shutdown_timeout = 4s,
                                  .max_workers = 120};
  CHECK(far_out.validate().ok());
  CHECK(
      far_out.warnings() ==
      std::vector<std::string>{"worker pool 'p': workers is usually 10 to 100, got 101",
                               "worker pool 'p': queue_capacity is usually 100 to 1000, got 99",
                               "worker pool 'p': queue_capacity is usually at least one for each worker (120), got 99",
                               "worker pool 'p': queue_wait_limit is usually 1 to 10 s, got 11 s",
                               "worker pool 'p': processing_timeout is usually 30 to 300 s, got 29 s",
                               "worker pool 'p': shutdown_timeout is usually 5 to 30 s, got 4 s"});
  WorkerPoolOptions usual{.name = "p", .workers = 100, .queue_capacity = 1000, .queue_wait_limit = 1s};
  usual.processing_timeout = 300s;
  usual.shutdown_timeout = 30s;
  CHECK(usual.warnings().empty());
}

}  // namespace
}  // namespace penstock
