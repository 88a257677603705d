// SPDX-License-Identifier: MIT
// What an observer learns of how a job ended, for each of the outcomes that a pool counts.
#include <chrono>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/pool_observer.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::Recorder;
using testing::Samples;

constexpr JobOutcome kAll[] = {JobOutcome::kSucceeded,     JobOutcome::kFailed,    JobOutcome::kPanicked,
                               JobOutcome::kCancelled,     JobOutcome::kShed,      JobOutcome::kQueueExpired,
                               JobOutcome::kDroppedOldest, JobOutcome::kAbandoned, JobOutcome::kProcessingTimeout};

struct Told {
  std::string step;
  std::uint64_t job_id;
  JobOutcome outcome;
  absl::StatusCode code;
};

class Listener : public PoolObserver {
 public:
  void on_submit(const JobEvent& event) override { record("submit", event); }
  void on_start(const JobEvent& event) override { record("start", event); }
  void on_finish(const JobEvent& event) override { record("finish", event); }
  void on_drop(const JobEvent& event) override { record("drop", event); }

  /// The step with which the job ended and its outcome: "drop shed"; all of them if it ended more than once.
  [[nodiscard]] std::string end_of(std::uint64_t job_id) const {
    std::string ends;
    for (const Told& told : told_.events()) {
      if (told.job_id != job_id || told.outcome == JobOutcome::kNone) continue;
      ends += (ends.empty() ? "" : ", ") + told.step + " " + std::string(to_string(told.outcome));
    }
    return ends;
  }

  /// How many jobs ended with each outcome.
  [[nodiscard]] std::map<JobOutcome, double> totals() const {
    std::map<JobOutcome, double> totals;
    for (const Told& told : told_.events()) {
      if (told.step == "finish" || told.step == "drop") ++totals[told.outcome];
    }
    return totals;
  }

  [[nodiscard]] std::vector<Told> all() const { return told_.events(); }

 private:
  void record(const char* step, const JobEvent& event) {
    told_.record({step, event.job_id, event.outcome, event.code});
  }

  Recorder<Told> told_;
};

TEST_CASE("JobOutcome: each one has its own word", "[exec][pool_outcome]") {
  std::set<std::string_view> words{to_string(JobOutcome::kNone)};
  for (const JobOutcome outcome : kAll) words.insert(to_string(outcome));
  CHECK(words.size() == 10);
  CHECK(words.count("unknown outcome") == 0);
  CHECK(to_string(static_cast<JobOutcome>(99)) == "unknown outcome");
}

TEST_CASE("JobOutcome: of functions that were called", "[exec][pool_outcome]") {
  Listener listener;
  const auto pool = make_pool({.workers = 1, .observer = &listener});
  const auto end_of = [&](auto function) {
    auto job = pool->submit(std::move(function)).value();
    static_cast<void>(job.wait());
    return listener.end_of(job.id());
  };
  CHECK(end_of([] {}) == "finish succeeded");
  CHECK(end_of([]() -> absl::StatusOr<int> { return 7; }) == "finish succeeded");
  CHECK(end_of([] { return absl::NotFoundError("none"); }) == "finish failed");
  CHECK(end_of([] { throw std::runtime_error("boom"); }) == "finish panicked");
  // What it returns looks like another end.
  CHECK(end_of([] { return absl::AbortedError("its own"); }) == "finish failed");
  CHECK(end_of([] { return absl::CancelledError("nobody asked"); }) == "finish failed");
  CHECK(end_of([] { return absl::DeadlineExceededError("its own"); }) == "finish failed");
}

TEST_CASE("JobOutcome: a function that was asked to stop, and did, was cancelled", "[exec][pool_outcome]") {
  Listener listener;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .observer = &listener});
  Job<absl::Status> obeys = pool->submit([&gate](const JobContext& job) {
                                  gate.pass();
                                  return job.context.cause();
                                })
                                .value();
  REQUIRE(gate.await(1));
  CHECK(obeys.cancel());
  gate.open();
  CHECK(absl::IsCancelled(obeys.get()));
  CHECK(listener.end_of(obeys.id()) == "finish cancelled");
}

TEST_CASE("JobOutcome: a function that outran its time, whatever it returns", "[exec][pool_outcome]") {
  ManualClock clock;
  Listener listener;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2, .processing_timeout = 5s, .clock = &clock, .observer = &listener});
  Job<int> answered = pool->submit([&gate] {
                            gate.pass();
                            return 7;
                          })
                          .value();
  REQUIRE(pool->execute([&gate]() -> absl::Status {
    gate.pass();
    return absl::InternalError("late, too");
  }) == OpStatus::kOk);
  REQUIRE(gate.await(2));
  clock.advance(5s);
  CHECK(absl::IsDeadlineExceeded(answered.get().status()));
  REQUIRE(eventually([&] { return pool->stats().processing_timeouts == 2; }));
  CHECK(listener.end_of(1).empty());
  gate.open();
  CHECK(eventually([&] { return listener.end_of(1) == "finish processing_timeout"; }));
  CHECK(eventually([&] { return listener.end_of(2) == "finish processing_timeout"; }));
  // What the functions came to is told as well.
  std::map<std::uint64_t, absl::StatusCode> codes;
  for (const Told& told : listener.all()) {
    if (told.step == "finish") codes[told.job_id] = told.code;
  }
  CHECK(codes ==
        std::map<std::uint64_t, absl::StatusCode>{{1, absl::StatusCode::kOk}, {2, absl::StatusCode::kInternal}});
}

TEST_CASE("JobOutcome: of jobs that were given up in the queue", "[exec][pool_outcome]") {
  ManualClock clock;
  Listener listener;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 3, .clock = &clock, .observer = &listener});
  Job<void> cancelled = pool->submit([] {}).value();
  CHECK(cancelled.cancel());
  CHECK(listener.end_of(cancelled.id()) == "drop cancelled");

  const Context::Cancellable caller = Context(clock).with_cancel();
  Job<void> called_off = pool->submit([] {}, {.context = caller.context}).value();
  caller.source.cancel();
  CHECK(called_off.is_done());
  CHECK(listener.end_of(called_off.id()) == "drop cancelled");

  Job<void> expires = pool->submit([] {}, {.queue_wait_limit = 4s}).value();
  Job<void> runs_out = pool->submit([] {}, {.context = Context(clock).with_timeout(4s)}).value();
  clock.advance(4s);
  CHECK(absl::IsDeadlineExceeded(expires.get()));
  CHECK(absl::IsDeadlineExceeded(runs_out.get()));
  CHECK(listener.end_of(expires.id()) == "drop queue_expired");
  CHECK(listener.end_of(runs_out.id()) == "drop queue_expired");

  Job<void> evicted = pool->submit([] {}).value();
  Job<void> last;
  for (int i = 0; i < 3; ++i) last = pool->submit([] {}, {.overflow = OverflowPolicy::kDropOldest}).value();
  CHECK(absl::IsAborted(evicted.get()));
  CHECK(listener.end_of(evicted.id()) == "drop dropped_oldest");

  pool->shutdown(Context(clock).with_timeout(0s));
  CHECK(absl::IsCancelled(last.get()));
  CHECK(listener.end_of(last.id()) == "drop abandoned");
}

TEST_CASE("JobOutcome: a job that CoDel takes out was shed, one that returns the same code failed",
          "[exec][pool_outcome]") {
  ManualClock clock;
  Listener listener;
  const auto pool = make_pool({.workers = 1,
                               .queue_capacity = 10,
                               .clock = &clock,
                               .codel = CodelOptions{.target = 10ms, .interval = 100ms},
                               .observer = &listener});
  // Each waits too long, through more than an interval.
  std::vector<Job<absl::Status>> jobs;
  for (int round = 0; round < 3; ++round) {
    pool->pause();
    for (int i = 0; i < 2; ++i) {
      jobs.push_back(pool->submit([] { return absl::ResourceExhaustedError("its own"); }).value());
    }
    clock.advance(101ms);
    pool->resume();
    for (Job<absl::Status>& job : jobs) static_cast<void>(job.wait());
  }
  REQUIRE(pool->stats().shed > 0);
  std::map<std::string, std::uint64_t> ends;
  for (Job<absl::Status>& job : jobs) {
    CHECK(absl::IsResourceExhausted(job.get()));
    ++ends[listener.end_of(job.id())];
  }
  const WorkerPoolStats stats = pool->stats();
  CHECK(ends == std::map<std::string, std::uint64_t>{{"drop shed", stats.shed}, {"finish failed", stats.failed}});
}

TEST_CASE("JobOutcome: jobs that their submitter runs, and plain ones, end as others do", "[exec][pool_outcome]") {
  Listener listener;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .observer = &listener});
  REQUIRE(pool->execute([] { throw 1; }) == OpStatus::kOk);  // number 2, in the queue
  const SubmitOptions mine{.overflow = OverflowPolicy::kCallerRuns};
  Job<absl::Status> fails = pool->submit([] { return absl::NotFoundError("none"); }, mine).value();
  CHECK(listener.end_of(fails.id()) == "finish failed");
  Job<void> throws = pool->submit([] { throw 1; }, mine).value();
  CHECK(listener.end_of(throws.id()) == "finish panicked");
  gate.open();
  CHECK(eventually([&] { return listener.end_of(2) == "finish panicked"; }));
}

TEST_CASE("JobOutcome: only ends have one, and they add up to what the pool counts", "[exec][pool_outcome]") {
  ManualClock clock;
  Listener listener;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 20, .clock = &clock, .observer = &listener});
  std::vector<Job<void>> jobs;
  for (int i = 0; i < 12; ++i) {
    if (i % 3 == 0) {
      jobs.push_back(pool->submit([] { throw 1; }).value());
    } else {
      jobs.push_back(pool->submit([] {}, {.queue_wait_limit = i % 3 == 1 ? 1s : 60s}).value());
    }
    if (i % 4 == 0) CHECK(jobs.back().cancel());
  }
  clock.advance(2s);
  gate.open();
  for (Job<void>& job : jobs) static_cast<void>(job.wait());
  CHECK(pool->shutdown(Context(clock)).is_drained());
  for (const Told& told : listener.all()) {
    const bool is_end = told.step == "finish" || told.step == "drop";
    if (is_end != (told.outcome != JobOutcome::kNone)) FAIL(told.step + " " + std::string(to_string(told.outcome)));
  }
  Samples samples;
  pool->collect(samples);
  std::map<JobOutcome, double> totals = listener.totals();
  for (const JobOutcome outcome : kAll) {
    CHECK(samples.at("penstock_pool_jobs_total p " + std::string(to_string(outcome))) == totals[outcome]);
  }
  CHECK(totals[JobOutcome::kQueueExpired] > 0);
  CHECK(totals[JobOutcome::kCancelled] > 0);
  CHECK(totals[JobOutcome::kPanicked] > 0);
}

}  // namespace
}  // namespace penstock
