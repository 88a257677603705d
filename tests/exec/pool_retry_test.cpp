// SPDX-License-Identifier: MIT

// async_retry_on: attempts that are jobs of a pool, and waits that hold none of its workers.

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "exec/retry_support.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/pool_retry.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::kRefused;
using testing::make_pool;
using testing::text_of;
using testing::without_jitter;

using Answer = absl::StatusOr<int>;
using Function = std::function<Answer(const RetryAttempt&)>;

/// A pool of one worker and a loop, both in a time that stands still.
struct Scenery {
  explicit Scenery(WorkerPoolOptions options = {}) : pool(make_pool(in_time(std::move(options)))) {}

  WorkerPoolOptions in_time(WorkerPoolOptions options) {
    options.workers = 1;
    options.clock = &clock;
    options.queue_wait_limit = options.processing_timeout = 1h;
    return options;
  }

  JoinHandle<Answer> start(Retrier& retrier, Function function, SubmitOptions options = {}) {
    auto handle = spawn(loop, async_retry_on(*pool, retrier, std::move(function), options));
    loop.run_ready();
    return handle;
  }
  /// Lets the loop run until `done()`.
  template <class Done>
  [[nodiscard]] bool until(Done done) {
    return eventually([&] {
      loop.run_ready();
      return done();
    });
  }
  [[nodiscard]] bool ended(const Retrier& retrier) {
    return until([&] { return retrier.stats().running == 0; }) && until([&] { return loop.run_ready() == 0; });
  }

  ManualClock clock;
  RunLoop loop;
  testing::TestPool pool;
};

/// Fails as often as it is told.
Function failing(std::atomic<int>& made, int failures, absl::Status failure = kRefused) {
  return [&made, failures, failure](const RetryAttempt& attempt) -> Answer {
    ++made;
    if (static_cast<int>(attempt.number) <= failures) return failure;
    return static_cast<int>(attempt.number);
  };
}

TEST_CASE("async_retry_on: a wait holds no worker", "[exec][retry][pool_retry]") {
  Scenery scene;
  Retrier retrier(without_jitter());
  std::atomic<int> made{0};
  auto call = scene.start(retrier, failing(made, 2));
  REQUIRE(scene.until([&] { return made == 1 && retrier.stats().backoff_total == 500ms; }));
  for (int i = 0; i < 10; ++i) CHECK(scene.pool->submit([i] { return i; })->get().value() == i);  // the one worker
  CHECK(made == 1);
  scene.clock.advance(500ms);
  REQUIRE(scene.until([&] { return made == 2 && retrier.stats().backoff_total == 1500ms; }));
  scene.clock.advance(1s);
  REQUIRE(scene.ended(retrier));
  CHECK(call.get().value() == 3);
  CHECK(retrier.stats().succeeded_after_retry == 1);
  const WorkerPoolStats stats = scene.pool->stats();
  CHECK(stats.failed == 2);
  CHECK(stats.succeeded == 11);
  CHECK(discrepancies(stats).empty());
}

TEST_CASE("async_retry_on: many calls wait on one worker", "[exec][retry][pool_retry]") {
  constexpr int kCalls = 1000;
  Scenery scene({.queue_capacity = 10, .enqueue_timeout = 1h});
  RetryOptions options = without_jitter();
  options.budget.capacity = 1'000'000;
  Retrier retrier(options);
  std::atomic<int> made{0};
  Gate gate;
  Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  std::vector<JoinHandle<Answer>> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(scene.start(retrier, failing(made, 1)));
  REQUIRE(scene.until([&] { return scene.pool->stats().blocked == kCalls - 10; }));
  gate.open();
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == kCalls * 500ms; }));
  scene.clock.advance(500ms);
  REQUIRE(scene.ended(retrier));
  for (auto& call : calls) CHECK(call.get().value() == 2);
  CHECK(made == 2 * kCalls);
}

TEST_CASE("async_retry_on: another attempt goes in front of the jobs that are queued", "[exec][retry][pool_retry]") {
  Scenery scene;
  Retrier retrier(without_jitter());
  testing::Recorder<std::string> order;
  auto call = scene.start(retrier, [&order](const RetryAttempt& attempt) -> Answer {
    order.record("attempt " + std::to_string(attempt.number));
    if (attempt.number == 1) return kRefused;
    return 1;
  });
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 500ms; }));
  Gate gate;
  Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  Job<void> queued = scene.pool->submit([&] { order.record("job"); }).value();
  scene.clock.advance(500ms);
  CHECK(scene.until([&] { return scene.pool->stats().queue_depth == 2; }));
  gate.open();
  REQUIRE(scene.ended(retrier));
  CHECK(queued.get().ok());
  CHECK(order.events() == std::vector<std::string>{"attempt 1", "attempt 2", "job"});
}

TEST_CASE("async_retry_on: an attempt knows what came before and how long it may take", "[exec][retry][pool_retry]") {
  Scenery scene;
  Retrier retrier(without_jitter(2));
  testing::Recorder<std::string> seen;
  auto call =
      scene.start(retrier,
                  [&seen](const RetryAttempt& attempt) -> Answer {
                    seen.record(std::string(attempt.previous.message()) + (attempt.is_last() ? " last" : " first") +
                                std::to_string(std::chrono::duration_cast<std::chrono::seconds>(
                                                   attempt.context.deadline() - attempt.context.clock().now())
                                                   .count()));
                    return kRefused;
                  },
                  {.processing_timeout = 7s});
  REQUIRE(scene.until([&] { return seen.size() == 1 && retrier.stats().backoff_total != Duration::zero(); }));
  scene.clock.advance(500ms);
  REQUIRE(scene.ended(retrier));
  CHECK(text_of(call.get().status()) == "refused (after 2 attempts)");
  CHECK(seen.events() == std::vector<std::string>{" first7", "refused last7"});
}

TEST_CASE("async_retry_on: stops early when it makes no sense", "[exec][retry][pool_retry]") {
  Scenery scene;
  std::atomic<int> made{0};
  RetryOptions options = without_jitter();
  RetryStop expected{};
  Function function = failing(made, 9);
  Context ctx = Context::background();
  bool uses_budget_up = false;
  SECTION("the deadline comes before the next attempt") {
    ctx = Context(scene.clock).with_timeout(499ms);
    expected = RetryStop::kDeadline;
  }
  SECTION("the budget is used up") {
    options.budget = {.ratio = 0, .capacity = 1};
    uses_budget_up = true;
    expected = RetryStop::kBudget;
  }
  SECTION("the breaker is open") {
    options.breaker_open = [] { return true; };
    expected = RetryStop::kBreaker;
  }
  SECTION("the other side asks for too long a wait") {
    options.max_retry_after = 1s;
    function = failing(made, 9, with_retry_after(kRefused, 2s));
    expected = RetryStop::kRetryAfter;
  }
  SECTION("it would fail again") {
    function = failing(made, 9, absl::InvalidArgumentError("bad"));
    expected = RetryStop::kVerdict;
  }
  SECTION("it throws") {
    function = [&made](const RetryAttempt& /*attempt*/) -> Answer {
      ++made;
      throw std::runtime_error("lost");
    };
    expected = RetryStop::kVerdict;
  }
  Retrier retrier(options);
  if (uses_budget_up) {
    for (bool is_more = true; is_more;) {
      CHECK(retrier.begin());
      is_more = retrier.after_failure(1, kRefused, scene.clock.now()).retries();
      if (is_more) retrier.stopped(RetryStop::kAbandoned);
    }
  }
  auto call = scene.start(retrier, function, {.context = ctx});
  REQUIRE(scene.ended(retrier));
  CHECK_FALSE(call.get().ok());
  CHECK(made == 1);
  CHECK(retrier.stats().stopped(expected) == (uses_budget_up ? 2 : 1));
}

TEST_CASE("async_retry_on: what the other side asks for wins over the formula", "[exec][retry][pool_retry]") {
  Scenery scene;
  Retrier retrier(without_jitter());
  std::atomic<int> made{0};
  auto call = scene.start(retrier, failing(made, 1, with_retry_after(kRefused, 3s)));
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 3s; }));
  scene.clock.advance(3s - 1ns);
  CHECK(scene.loop.run_ready() == 0);
  scene.clock.advance(1ns);
  REQUIRE(scene.ended(retrier));
  CHECK(call.get().value() == 2);
}

TEST_CASE("async_retry_on: a cancellation ends the wait", "[exec][retry][pool_retry]") {
  Scenery scene;
  Retrier retrier(without_jitter());
  std::atomic<int> made{0};
  const auto [ctx, source] = Context(scene.clock).with_cancel();
  auto call = scene.start(retrier, failing(made, 9), {.context = ctx});
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 500ms; }));
  source.cancel(absl::AbortedError("client went away"));
  CHECK(scene.loop.run_ready() == 1);
  CHECK(absl::IsAborted(call.get().status()));
  CHECK(made == 1);
  CHECK(retrier.stats().stopped(RetryStop::kCancelled) == 1);
}

TEST_CASE("async_retry_on: a shutdown ends the call, in the wait and in the queue", "[exec][retry][pool_retry]") {
  Scenery scene({.name = "p"});
  Retrier retrier(without_jitter());
  std::atomic<int> made{0};
  auto resting = scene.start(retrier, failing(made, 9));
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 500ms; }));
  Gate gate;
  Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  auto queued = scene.start(retrier, failing(made, 9));
  scene.pool->shutdown(Context(scene.clock).with_timeout(0s));
  gate.open();
  scene.clock.advance(500ms);
  REQUIRE(scene.ended(retrier));
  CHECK(text_of(resting.get().status()) == "worker pool 'p': shut down");
  CHECK(absl::IsCancelled(queued.get().status()));
  CHECK(retrier.stats().stopped(RetryStop::kVerdict) == 2);
  CHECK(made == 1);
}

TEST_CASE("async_retry_on: an attempt that outruns its time is made again beside it", "[exec][retry][pool_retry]") {
  ManualClock clock;
  RunLoop loop;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 2, .processing_timeout = 1s, .clock = &clock});
  Retrier retrier(without_jitter());
  auto owned = std::make_shared<int>(7);
  auto call = spawn(loop, async_retry_on(*pool, retrier, [&gate, owned](const RetryAttempt& attempt) -> Answer {
                      if (attempt.number == 1) gate.pass();
                      return *owned;
                    }));
  loop.run_ready();
  REQUIRE(gate.await(1));
  clock.advance(1s);
  REQUIRE(eventually([&] {
    loop.run_ready();
    return retrier.stats().backoff_total == 500ms;
  }));
  clock.advance(500ms);
  REQUIRE(eventually([&] {
    loop.run_ready();
    return retrier.stats().succeeded_after_retry == 1;
  }));
  loop.run_ready();
  CHECK(call.get().value() == 7);
  gate.open();
  CHECK(eventually([&] { return pool->stats().late_results == 1; }));
  CHECK(eventually([&] { return owned.use_count() == 1; }));
}

TEST_CASE("async_retry_on: a full queue ends the call", "[exec][retry][pool_retry]") {
  Gate gate;
  Scenery scene({.queue_capacity = 0, .overflow = OverflowPolicy::kReject});
  Retrier retrier(without_jitter());
  Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  std::atomic<int> made{0};
  auto call = scene.start(retrier, failing(made, 0));
  CHECK(scene.ended(retrier));
  gate.open();
  CHECK(absl::IsResourceExhausted(call.get().status()));
  CHECK(retrier.stats().stopped(RetryStop::kVerdict) == 1);
  CHECK(made == 0);
}

TEST_CASE("async_retry_on: a full queue is a failure like others, where a verdict says so",
          "[exec][retry][pool_retry]") {
  Gate gate;
  Scenery scene({.queue_capacity = 0, .overflow = OverflowPolicy::kReject});
  RetryOptions options = without_jitter();
  options.classify = [](const absl::Status&) { return RetryVerdict::kRetry; };
  Retrier retrier(options);
  Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
  REQUIRE(gate.await(1));
  std::atomic<int> made{0};
  auto call = scene.start(retrier, failing(made, 0));
  REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 500ms; }));
  gate.open();
  REQUIRE(held.get().ok());
  REQUIRE(eventually([&] { return scene.pool->stats().idle == 1; }));
  scene.clock.advance(500ms);
  REQUIRE(scene.ended(retrier));
  CHECK(call.get().value() == 2);
}

testing::Detached calling(RunLoop& /*loop*/, WorkerPool& pool, Retrier& retrier, const Function& function) {
  static_cast<void>(co_await async_retry_on(pool, retrier, function));
}

TEST_CASE("async_retry_on: may be destroyed where it is suspended", "[exec][retry][pool_retry]") {
  Scenery scene({.queue_capacity = 1, .enqueue_timeout = 1h});
  Retrier retrier(without_jitter());
  std::atomic<int> made{0};
  Gate gate;
  SECTION("between two attempts") {
    const testing::Detached call = calling(scene.loop, *scene.pool, retrier, failing(made, 9));
    REQUIRE(scene.until([&] { return retrier.stats().backoff_total == 500ms; }));
    call.handle.destroy();
  }
  SECTION("in the queue, and in line for it") {
    Job<void> held = scene.pool->submit([&] { gate.pass(); }).value();
    REQUIRE(gate.await(1));
    const testing::Detached queued = calling(scene.loop, *scene.pool, retrier, failing(made, 9));
    const testing::Detached in_line = calling(scene.loop, *scene.pool, retrier, failing(made, 9));
    REQUIRE(scene.pool->stats().submitting == 1);
    in_line.handle.destroy();
    CHECK(scene.pool->stats().submitting == 0);
    queued.handle.destroy();
    CHECK(scene.pool->stats().queue_depth == 0);
    gate.open();
    CHECK(held.get().ok());
    CHECK(made == 0);
  }
  SECTION("while an attempt runs") {
    std::atomic<bool> stopped{false};
    const testing::Detached call =
        calling(scene.loop, *scene.pool, retrier, [&](const RetryAttempt& attempt) -> Answer {
          ++made;
          stopped = eventually([&] { return attempt.context.is_done(); });
          return kRefused;
        });
    REQUIRE(eventually([&] { return made == 1; }));
    call.handle.destroy();
    CHECK(eventually([&] { return stopped.load(); }));
  }
  CHECK(retrier.stats().running == 0);
  CHECK(retrier.stats().stopped(RetryStop::kAbandoned) > 0);
  scene.pool->shutdown(Context(scene.clock));
  CHECK(scene.loop.run_ready() == 0);
  CHECK(discrepancies(scene.pool->stats()).empty());
}

TEST_CASE("async_retry_on: runs on the pool itself, and for a thread that waits", "[exec][retry][pool_retry]") {
  const auto pool = make_pool({.workers = 1, .queue_capacity = 0, .enqueue_timeout = 1h});
  RetryOptions options = without_jitter();
  options.initial = 0s;
  Retrier retrier(options);
  std::atomic<int> made{0};
  CHECK(sync_wait(async_retry_on(*pool, retrier, failing(made, 1))).value() == 2);
  CHECK(spawn(*pool, async_retry_on(*pool, retrier, failing(made, 2))).get().value() == 3);
  CHECK(sync_wait(async_retry_on(*pool, retrier, [](const RetryAttempt& attempt) {
          return attempt.number == 2 ? absl::OkStatus() : kRefused;
        })).ok());
  CHECK(made == 5);
}

// --- with a resource for each attempt ---

struct Key {
  int number;
};

/// One attempt with a key that the one before has not had.
class Caller {
 public:
  Caller(WorkerPool& pool, ResourcePool<Key>& keys) : pool_(pool), keys_(keys) {}

  Task<absl::StatusOr<int>> attempt(const RetryAttempt& attempt) {
    AcquireOptions<Key> another;
    if (attempt.verdict != RetryVerdict::kRetry) {
      another.filter = [last = last_](std::string_view /*id*/, const Key& key) { return key.number != last; };
    }
    auto key = co_await keys_.async_acquire(another, attempt.context);
    if (!key.ok()) co_return key.status();
    last_ = (*key)->number;
    SubmitOptions options;
    options.context = attempt.context;
    options.front = attempt.number > 1;
    auto job = co_await pool_.async_submit(
        [number = last_]() -> absl::StatusOr<int> {
          if (number == 1) return absl::ResourceExhaustedError("quota of this key");
          return number;
        },
        options);
    if (!job.ok()) co_return job.status();
    co_return co_await *job;
  }

 private:
  WorkerPool& pool_;
  ResourcePool<Key>& keys_;
  int last_ = 0;
};

TEST_CASE("async_retry: each attempt takes another resource, and is a job of a pool", "[exec][retry][pool_retry]") {
  const auto pool = make_pool({.workers = 1});
  ResourcePool<Key> keys({.name = "keys", .seed = 1});
  REQUIRE(keys.add("one", Key{1}, {.weight = 1e9}).ok());
  REQUIRE(keys.add("two", Key{2}, {.weight = 1e-9}).ok());
  RetryOptions options = without_jitter();
  options.initial = 0s;
  options.rotates_resources = true;
  Retrier retrier(options);
  Caller caller(*pool, keys);
  const auto answer =
      sync_wait(async_retry(retrier, [&caller](const RetryAttempt& attempt) { return caller.attempt(attempt); }));
  CHECK(answer.value() == 2);
  CHECK(retrier.stats().retries == 1);
}

TEST_CASE("async_retry_on: there has to be a function", "[exec][retry][pool_retry]") {
  const auto pool = make_pool({.workers = 1});
  Retrier retrier(without_jitter());
  absl::Status (*const none)(const RetryAttempt&) = nullptr;
  CHECK(absl::IsInvalidArgument(sync_wait(async_retry_on(*pool, retrier, none))));
  const std::function<absl::Status(const RetryAttempt&)> empty;
  CHECK(absl::IsInvalidArgument(sync_wait(async_retry_on(*pool, retrier, empty))));
  CHECK(retrier.stats().calls == 0);
}

}  // namespace
}  // namespace penstock
