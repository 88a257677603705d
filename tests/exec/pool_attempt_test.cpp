// SPDX-License-Identifier: MIT

// Attempts: what the jobs of one call have in common, for their functions, for observers and in a trace.

#include <chrono>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "exec/pool_support.hpp"
#include "exec/retry_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/exec/chrome_trace.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::eventually;
using testing::kRefused;
using testing::make_pool;
using testing::without_jitter;

struct Attempt {
  std::uint64_t job_id;
  std::uint32_t attempt;
  std::uint64_t call_id;
  friend bool operator==(const Attempt&, const Attempt&) = default;
};

/// Keeps the ends of jobs.
class Ends : public PoolObserver {
 public:
  void on_finish(const JobEvent& event) override { ends.record({event.job_id, event.attempt, event.call_id}); }
  testing::Recorder<Attempt> ends;
};

TEST_CASE("WorkerPool: a job is the first attempt of a call of its own, unless its submitter says otherwise",
          "[exec][worker_pool]") {
  Ends observer;
  const auto pool = make_pool({.workers = 1, .observer = &observer});
  const auto look = [](const JobContext& job) { return Attempt{job.job_id, job.attempt, job.call_id}; };
  CHECK(pool->submit(look).value().get().value() == Attempt{1, 1, 1});
  CHECK(pool->submit(look, {.attempt = 3, .call_id = 77}).value().get().value() == Attempt{2, 3, 77});
  CHECK(pool->submit(look, {.attempt = 2}).value().get().value() == Attempt{3, 2, 3});
  CHECK(pool->execute([] {}) == OpStatus::kOk);
  REQUIRE(eventually([&] { return observer.ends.size() == 4; }));
  CHECK(observer.ends.events() == std::vector<Attempt>{{1, 1, 1}, {2, 3, 77}, {3, 2, 3}, {4, 1, 4}});
}

TEST_CASE("async_retry_on: its attempts have the call in common", "[exec][retry][pool_retry]") {
  ManualClock clock;
  RunLoop loop;
  Ends observer;
  const auto pool = make_pool(
      {.workers = 1, .queue_wait_limit = 1h, .processing_timeout = 1h, .clock = &clock, .observer = &observer});
  Retrier retrier(without_jitter());
  const auto function = [](const RetryAttempt& attempt) -> absl::Status {
    return attempt.is_last() ? absl::OkStatus() : kRefused;
  };
  REQUIRE(pool->submit([] {}).value().get().ok());
  SubmitOptions options;
  std::uint64_t call_id = 2;
  SECTION("the first one's id") {}
  SECTION("what the options say") { options.call_id = call_id = 77; }
  auto call = spawn(loop, async_retry_on(*pool, retrier, function, options));
  REQUIRE(eventually([&] {
    loop.run_ready();
    if (retrier.stats().running != 0) clock.advance(500ms);
    return observer.ends.size() == 4 && retrier.stats().running == 0;
  }));
  while (loop.run_ready() != 0) {
  }
  CHECK(call.get().ok());
  CHECK(observer.ends.events() == std::vector<Attempt>{{1, 1, 1}, {2, 1, call_id}, {3, 2, call_id}, {4, 3, call_id}});
}

TEST_CASE("ChromeTrace: another attempt says which one it is, and of what call", "[exec][chrome_trace]") {
  std::ostringstream text;
  ChromeTrace trace(text);
  auto pool = make_pool({.workers = 1, .observer = &trace});
  CHECK(pool->submit([] {}).value().get().ok());
  CHECK(pool->submit([] {}, {.attempt = 2, .call_id = 1}).value().get().ok());
  pool.destroy();
  REQUIRE(trace.finish().ok());
  CHECK_THAT(text.str(), ContainsSubstring(R"("job":2,"code":"OK","outcome":"succeeded","attempt":2,"call":1)"));
  CHECK_THAT(text.str(), ContainsSubstring(R"("job":1,"code":"OK","outcome":"succeeded"})"));
}

}  // namespace
}  // namespace penstock
