// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;

// A submitter on a thread of its own, and what came of it.
class Submitter {
 public:
  template <class F>
  Submitter(WorkerPool& pool, F function, SubmitOptions options = {})
      : thread_([this, &pool, function, options] {
          const auto job = pool.submit(function, options);
          status_ = job.status();
          done_ = true;
        }) {}
  ~Submitter() {
    if (thread_.joinable()) thread_.join();
  }

  absl::Status result() {
    thread_.join();
    return status_;
  }
  [[nodiscard]] bool is_done() const { return done_; }

 private:
  absl::Status status_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

bool await_blocked(WorkerPool& pool, std::uint64_t count) {
  return eventually([&] {
    const WorkerPoolStats stats = pool.stats();
    return stats.submitting == count && stats.blocked >= count;  // a submission stands in line only later
  });
}

TEST_CASE("WorkerPool: kBlock waits for a place", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  Job<void> first = pool->submit([] {}).value();
  Submitter blocked(*pool, [] {});
  REQUIRE(await_blocked(*pool, 1));
  CHECK_FALSE(blocked.is_done());
  CHECK(pool->stats().blocked == 1);
  CHECK(discrepancies(pool->stats()).empty());
  CHECK(first.cancel());
  CHECK(blocked.result().ok());
  CHECK(pool->stats().queue_depth == 1);
}

TEST_CASE("WorkerPool: kBlock without a queue waits for a free worker", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  Submitter blocked(*pool, [] {});
  REQUIRE(await_blocked(*pool, 1));
  gate.open();
  CHECK(blocked.result().ok());
  CHECK(eventually([&] { return pool->stats().succeeded == 2; }));
  CHECK(pool->stats().queue_high_water == 0);
}

TEST_CASE("WorkerPool: a submission gives up after the enqueue time-out, and says so", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 0, .enqueue_timeout = 250ms, .clock = &clock});
  Submitter blocked(*pool, [] {});
  REQUIRE(await_blocked(*pool, 1));
  clock.advance(249ms);
  CHECK_FALSE(blocked.is_done());
  clock.advance(1ms);
  const absl::Status status = blocked.result();
  CHECK(absl::IsDeadlineExceeded(status));
  CHECK(text_of(status) == "worker pool 'openai': queue full (capacity 0, waited 250 ms)");
  CHECK(status.GetPayload("type.penstock/stage") == absl::Cord("enqueue"));
  CHECK(pool->stats().enqueue_timeouts == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: the caller's deadline and cancellation end the wait for a place", "[exec][worker_pool]") {
  ManualClock clock;
  ManualClock other;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "p", .queue_capacity = 0, .enqueue_timeout = 1h, .clock = &clock});
  auto [cancelled, source] = Context(clock).with_cancel();
  {
    Submitter late(*pool, [] {}, {.context = Context(clock).with_timeout(10ms)});
    Submitter elsewhere(*pool, [] {}, {.context = Context(other).with_timeout(10ms)});
    Submitter called_off(*pool, [] {}, {.context = cancelled});
    REQUIRE(await_blocked(*pool, 3));
    clock.advance(10ms);
    CHECK(absl::IsDeadlineExceeded(late.result()));
    other.advance(10ms);
    CHECK(absl::IsDeadlineExceeded(elsewhere.result()));
    source.cancel(absl::AbortedError("client went away"));
    const absl::Status status = called_off.result();
    CHECK(absl::IsCancelled(status));
    CHECK(text_of(status) == "worker pool 'p': cancelled before the job was queued (waited 10 ms): client went away");
  }
  CHECK(pool->stats().enqueue_timeouts == 2);
  CHECK(pool->stats().enqueue_cancelled == 1);
  // A context that has ended already is not even queued, though there were a place.
  gate.open();
  CHECK(eventually([&] { return pool->stats().idle == 1; }));
  CHECK(absl::IsCancelled(pool->submit([] {}, {.context = cancelled}).status()));
  CHECK(pool->try_submit([] {}, nullptr, {.context = cancelled}) == OpStatus::kCancelled);
  CHECK(pool->try_submit([] {}, nullptr, {.context = Context(clock).with_timeout(0s)}) == OpStatus::kTimedOut);
  CHECK(pool->stats().accepted == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: an enqueue time-out of zero refuses at once", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 0s});
  CHECK(absl::IsResourceExhausted(pool->submit([] {}).status()));
  CHECK(pool->stats().rejected == 1);
  CHECK(pool->stats().blocked == 0);
}

TEST_CASE("WorkerPool: blocked submitters get places in the order in which they came", "[exec][worker_pool]") {
  testing::Recorder<int> order;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  std::vector<std::unique_ptr<Submitter>> blocked;
  for (int i = 0; i < 5; ++i) {
    blocked.push_back(std::make_unique<Submitter>(*pool, [&order, i] { order.record(i); }));
    REQUIRE(await_blocked(*pool, static_cast<std::uint64_t>(i) + 1));
  }
  gate.open();
  for (const auto& submitter : blocked) CHECK(submitter->result().ok());
  CHECK(eventually([&] { return order.size() == 5; }));
  CHECK(order.events() == std::vector<int>{0, 1, 2, 3, 4});
}

TEST_CASE("WorkerPool: nobody overtakes a blocked submitter", "[exec][worker_pool]") {
  Gate gate;
  Gate second_gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1, .enqueue_timeout = 1h});
  Job<void> queued = pool->submit([&] { second_gate.pass(); }).value();
  Submitter blocked(*pool, [] {});
  REQUIRE(await_blocked(*pool, 1));
  // The place that this frees belongs to the blocked one from that moment on, before its thread has run at all.
  CHECK(queued.cancel());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
  CHECK(blocked.result().ok());
  CHECK(pool->try_submit([] {}) == OpStatus::kFull);
}

TEST_CASE("WorkerPool: a place given to a submission that fails goes to the next", "[exec][worker_pool]") {
  struct Throws {
    explicit Throws(std::atomic<bool>* on) : armed(on) {}
    Throws(const Throws& other) : armed(other.armed) {
      if (armed->load()) throw 1;
    }
    void operator()() const {}
    std::atomic<bool>* armed;
  };
  std::atomic<bool> armed{false};
  std::atomic<bool> threw{false};
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 1h});
  const Throws throws(&armed);
  std::thread first([&] {
    try {
      static_cast<void>(pool->submit(throws));
    } catch (int) {
      threw = true;
    }
  });
  REQUIRE(await_blocked(*pool, 1));
  Submitter second(*pool, [] {});
  REQUIRE(await_blocked(*pool, 2));
  armed = true;
  gate.open();
  first.join();
  CHECK(threw);
  CHECK(second.result().ok());
  CHECK(pool->stats().enqueue_failures == 1);
}

TEST_CASE("WorkerPool: shutdown refuses who waits for a place", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.name = "openai", .queue_capacity = 0, .enqueue_timeout = 1h});
  Submitter blocked(*pool, [] {});
  REQUIRE(await_blocked(*pool, 1));
  pool->shutdown(Context::background().with_timeout(0s));
  const absl::Status status = blocked.result();
  CHECK(absl::IsUnavailable(status));
  CHECK(text_of(status) == "worker pool 'openai': shut down");
  CHECK(pool->stats().refused_closed == 1);
  CHECK(discrepancies(pool->stats()).empty());
}

TEST_CASE("WorkerPool: a refusal says its stage, and is no reason to try again", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 0});
  const auto is_own = [](const absl::Status& status, const char* stage) {
    return status.GetPayload("type.penstock/stage") == absl::Cord(stage) &&
           classify_retry(status) == RetryVerdict::kStop;
  };
  Job<absl::Status> inside = pool->submit([&] {
                                   gate.pass();
                                   return pool->submit([] {}).status();
                                 })
                                 .value();
  REQUIRE(gate.await(1));
  for (const OverflowPolicy policy : {OverflowPolicy::kReject, OverflowPolicy::kDropNewest}) {
    CHECK(is_own(pool->submit([] {}, {.overflow = policy}).status(), "enqueue"));
  }
  gate.open();
  CHECK(is_own(inside.get(), "enqueue"));
  pool->shutdown(Context::background());
  CHECK(is_own(pool->submit([] {}).status(), "shutdown"));
}

}  // namespace
}  // namespace penstock
