// SPDX-License-Identifier: MIT

// What must not go wrong when a pool is used as it should not be, or when the machine gives out: threads that cannot be
// made, forks, ends in the wrong place, and user code that calls back from wherever it is called.

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/aborts.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::text_of;
using testing::threads_of;

// While it lives no thread can be made: it would have more stack than there are addresses.
class NoThreads {
 public:
  NoThreads() {
    pthread_attr_t huge;
    if (pthread_getattr_default_np(&before_) != 0 || pthread_attr_init(&huge) != 0 ||
        pthread_attr_setstacksize(&huge, std::size_t{1} << 47U) != 0 || pthread_setattr_default_np(&huge) != 0) {
      throw std::runtime_error("the attributes of threads cannot be set");
    }
  }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;
  ~NoThreads() { pthread_setattr_default_np(&before_); }

 private:
  pthread_attr_t before_;
};

TEST_CASE("WorkerPool: workers that cannot be made leave the crew as it was", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 2, .max_workers = 8});
  {
    const NoThreads none;
    const absl::Status status = pool->resize(5);
    CHECK(absl::IsResourceExhausted(status));
    CHECK_THAT(text_of(status), testing::StartsWith("worker pool 'p': cannot start thread 1 of 3: "));
  }
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.live == 2);
  CHECK(stats.configured == 2);
  CHECK(stats.joining == 0);
  CHECK(discrepancies(stats).empty());
  CHECK(eventually([] { return threads_of("p") == 3; }));  // a thread is there before its name
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
  CHECK(pool->resize(5).ok());
  CHECK(pool->stats().live == 5);
}

TEST_CASE("WorkerPool: where no thread can be made a pool that would grow goes on as it is", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 4, .clock = &clock, .max_workers = 2});
  const auto hold_one = [&] { REQUIRE(pool->try_submit([&gate] { gate.pass(); }) == OpStatus::kOk); };
  {
    const NoThreads none;
    hold_one();
    REQUIRE(gate.await(1));
    hold_one();
    REQUIRE(eventually([&] { return pool->stats().worker_failures == 1; }));
    CHECK(discrepancies(pool->stats()).empty());
  }
  clock.advance(1s);
  CHECK(gate.await(2));
  CHECK(pool->stats().live == 2);
}

TEST_CASE("WorkerPool: an answer that is none of the job's own names its stage", "[exec][worker_pool]") {
  const auto stage = [](const absl::Status& status) {
    return std::string(status.GetPayload("type.penstock/stage").value_or(absl::Cord("none")));
  };
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1, .queue_capacity = 1});
  Job<absl::Status> running = pool->submit([&gate](const JobContext& job) {
                                    gate.pass();
                                    return job.context.cause();
                                  })
                                  .value();
  REQUIRE(gate.await(1));
  auto [ended, source] = Context::background().with_cancel();
  source.cancel();
  CHECK(stage(pool->submit([] {}, {.context = ended}).status()) == "enqueue");
  CHECK(stage(pool->submit([] {}, {.context = Context::background().with_timeout(0s)}).status()) == "enqueue");
  Job<void> cancelled = pool->submit([] {}).value();
  cancelled.cancel();
  CHECK(stage(cancelled.get()) == "queue");
  Job<void> evicted = pool->submit([] {}).value();
  Job<void> queued = pool->submit([] {}, {.overflow = OverflowPolicy::kDropOldest}).value();
  CHECK(absl::IsAborted(evicted.get()));
  CHECK(stage(evicted.get()) == "queue");
  pool->shutdown(Context::background().with_timeout(0s));
  CHECK(absl::IsCancelled(queued.get()));
  CHECK(stage(queued.get()) == "shutdown");
  gate.open();
  CHECK(stage(running.get()) == "shutdown");
}

TEST_CASE("WorkerPool: an exception is reported with the worker that ran the job", "[exec][worker_pool]") {
  std::atomic<std::size_t> worker{1000};
  std::atomic<std::size_t> caller{1000};
  Gate gate;
  const auto pool = make_pool(gate, {.workers = 1,
                                     .queue_capacity = 0,
                                     .overflow = OverflowPolicy::kCallerRuns,
                                     .on_exception = [&](const CaughtException& caught) {
                                       (caught.tag == "caller" ? caller : worker) = caught.worker_id;
                                     }});
  CHECK(absl::IsInternal(pool->submit([] { throw 1; }, {.tag = "worker"}).value().get()));
  CHECK(worker == 0);
  CHECK(eventually([&] { return pool->stats().idle == 1; }));
  REQUIRE(pool->try_submit([&gate] { gate.pass(); }) == OpStatus::kOk);
  CHECK(absl::IsInternal(pool->submit([] { throw 1; }, {.tag = "caller"}).value().get()));
  CHECK(caller == kCallerThread);
}

TEST_CASE("WorkerPool: one of its own threads cannot destroy it", "[exec][worker_pool]") {
  CHECK_THAT(testing::message_of_abort([] {
               auto pool = *WorkerPool::create({.name = "p", .workers = 1});
               static_cast<void>(pool->execute([&] { pool.reset(); }));
               pause();
             }),
             testing::ContainsSubstring("a worker pool is not destroyed by one of its jobs or workers"));
  CHECK_THAT(testing::message_of_abort([] {
               auto pool = *WorkerPool::create(
                   {.name = "p", .workers = 1, .queue_capacity = 0, .overflow = OverflowPolicy::kCallerRuns});
               static_cast<void>(pool->execute([] { pause(); }));
               static_cast<void>(pool->execute([&] { pool.reset(); }));  // runs here
             }),
             testing::ContainsSubstring("a worker pool is not destroyed by one of its jobs or workers"));
}

#if PENSTOCK_TEST_FORKS
TEST_CASE("WorkerPool: a forked child is told so, and can destroy its copy", "[exec][worker_pool]") {
  Gate gate;
  auto pool = held_pool(gate, {.queue_capacity = 2, .max_workers = 2});
  Job<int> queued = pool->submit([] { return 7; }).value();
  int moved_from = 0;
  auto function = [witness = std::make_unique<int>(1)] {};
  const int answer = testing::answer_of_child([&] {
    int wrong = 0;
    const auto refused = pool->submit(std::move(function));
    if (!absl::IsFailedPrecondition(refused.status())) wrong |= 1;
    const std::string told = "worker pool 'p': its threads are not in this process, which is a fork";
    if (text_of(refused.status()) != told) wrong |= 2;
    const OpStatus tried = pool->try_submit(std::move(function));  // NOLINT(bugprone-use-after-move)
    const OpStatus executed = pool->execute(std::move(function));  // NOLINT(bugprone-use-after-move)
    const OpStatus plain = pool->execute([&moved_from] { ++moved_from; });
    if (tried != OpStatus::kClosed || executed != OpStatus::kClosed || plain != OpStatus::kClosed) wrong |= 4;
    pool->post([&moved_from] { ++moved_from; });
    pool->pause();
    pool->resume();
    if (pool->stats().submitted != 0 || pool->stats().live != 0) wrong |= 8;
    if (!absl::IsFailedPrecondition(pool->resize(2)) || !absl::IsFailedPrecondition(pool->set_queue_capacity(1))) {
      wrong |= 16;
    }
    if (!pool->shutdown(Context::background()).running.empty()) wrong |= 32;
    pool.destroy();
    if (moved_from != 0) wrong |= 64;
    return wrong;
  });
  CHECK(answer == 0);
  gate.open();
  CHECK(queued.get().value() == 7);  // the parent's goes on
}
#endif

// Uses all of a pool that who is called by it may use.
void use(WorkerPool& pool, std::atomic<int>& calls) {
  ++calls;
  static_cast<void>(pool.stats());
  static_cast<void>(pool.execute([] {}, {.overflow = OverflowPolicy::kReject}));
  static_cast<void>(pool.submit([] {}, {.overflow = OverflowPolicy::kReject}));
  pool.pause();
  pool.resume();
  static_cast<void>(pool.set_overflow(OverflowPolicy::kReject));
  static_cast<void>(pool.set_queue_capacity(4));
}

// Calls back from every call, but not from those that come of that.
class Meddler : public PoolObserver {
 public:
  void on_submit(const JobEvent&) override { meddle(0); }
  void on_start(const JobEvent&) override { meddle(1); }
  void on_finish(const JobEvent&) override { meddle(2); }
  void on_drop(const JobEvent&) override { meddle(3); }
  void on_state(std::string_view, PoolState, TimePoint) override { meddle(4); }

  std::atomic<WorkerPool*> pool{nullptr};
  std::array<std::atomic<int>, 5> calls{};

 private:
  void meddle(std::size_t which) {
    static thread_local bool inside = false;
    if (pool == nullptr || inside || calls[which] >= 20) return;
    inside = true;
    use(*pool, calls[which]);
    inside = false;
  }
};

TEST_CASE("WorkerPool: whatever it calls may use it", "[exec][worker_pool]") {
  std::atomic<WorkerPool*> self{nullptr};
  std::atomic<int> hooks{0};
  std::atomic<int> stops{0};
  std::atomic<int> destructors{0};
  Meddler meddler;
  struct AtEnd {
    AtEnd(std::atomic<WorkerPool*>& of, std::atomic<int>& calls) : pool(&of), count(&calls) {}
    AtEnd(AtEnd&& other) noexcept : pool(std::exchange(other.pool, nullptr)), count(other.count) {}
    ~AtEnd() {
      if (pool != nullptr) use(**pool, *count);
    }
    void operator()() const { throw 1; }
    std::atomic<WorkerPool*>* pool;
    std::atomic<int>* count;
  };
  {
    const auto pool = make_pool({.workers = 2,
                                 .queue_capacity = 4,
                                 .on_worker_start =
                                     [&](std::size_t) {
                                       if (self != nullptr) static_cast<void>(self.load()->stats());
                                       return absl::OkStatus();
                                     },
                                 .on_exception =
                                     [&](const CaughtException&) {
                                       if (self != nullptr) use(*self, hooks);
                                     },
                                 .min_workers = 1,
                                 .max_workers = 3,
                                 .on_worker_stop =
                                     [&](std::size_t) {
                                       if (self != nullptr) use(*self, stops);
                                     },
                                 .observer = &meddler});
    self = &*pool;
    meddler.pool = &*pool;
    CHECK(absl::IsInternal(pool->submit(AtEnd(self, destructors)).value().get()));
    CHECK(hooks == 1);
    CHECK(destructors == 1);
    meddler.pool = nullptr;  // it would end the pause
    REQUIRE(eventually([&] {
      const WorkerPoolStats stats = pool->stats();
      return stats.starting + stats.queue_depth + stats.running + stats.busy == 0;
    }));
    pool->pause();
    Job<void> dropped = pool->submit(AtEnd(self, destructors)).value();
    meddler.pool = &*pool;
    CHECK(dropped.cancel());
    CHECK(absl::IsCancelled(dropped.get()));
    CHECK(destructors == 2);
    pool->resume();
    // What the hooks submit may bring back who is to go, even all of them: again, until one has gone.
    CHECK(eventually([&] {
      if (stops >= 1) return pool->stats().retiring == 0;
      CHECK(pool->resize(3).ok());
      CHECK(pool->resize(1).ok());
      return false;
    }));
    meddler.pool = nullptr;
    pool->shutdown(Context::background());
    for (const auto& calls : meddler.calls) CHECK(calls > 0);
    CHECK(discrepancies(pool->stats()).empty());
    self = nullptr;
  }
}

TEST_CASE("WorkerPool: the destructor refuses who waits for a place, and waits until he has gone",
          "[exec][worker_pool]") {
  for (int round = 0; round < 50; ++round) {
    Gate gate;
    auto pool = std::make_unique<testing::TestPool>(
        WorkerPoolOptions{.workers = 1, .queue_capacity = 0, .enqueue_timeout = 1h}, nullptr);
    REQUIRE((*pool)->execute([&gate] { gate.pass(); }) == OpStatus::kOk);
    REQUIRE(gate.await(1));
    std::vector<std::thread> submitters;
    std::atomic<int> refused{0};
    for (int i = 0; i < 3; ++i) {
      submitters.emplace_back([&, &in = **pool] { refused += absl::IsUnavailable(in.submit([] {}).status()); });
    }
    REQUIRE(eventually([&] { return (*pool)->stats().submitting == 3; }));
    std::thread destroyer([&] { pool.reset(); });
    REQUIRE(eventually([&] { return refused == 3; }));  // though the worker is still at the gate
    gate.open();
    destroyer.join();
    for (std::thread& submitter : submitters) submitter.join();
    CHECK(refused == 3);
  }
}

TEST_CASE("WorkerPool: no thread outlives it, whatever became of it", "[exec][worker_pool]") {
  ManualClock clock;
  for (int round = 0; round < 20; ++round) {
    Gate gate;
    auto pool = make_pool(gate, {.name = "gone",
                                 .workers = 2,
                                 .queue_capacity = 4,
                                 .processing_timeout = 5s,
                                 .shutdown_timeout = 0s,
                                 .clock = &clock,
                                 .min_workers = 1,
                                 .max_workers = 4,
                                 .max_replacements = 2});
    for (int i = 0; i < 3; ++i) static_cast<void>(pool->try_submit([&gate] { gate.pass(); }));
    REQUIRE(gate.await(2));
    clock.advance(5s);
    if (round % 2 == 0) REQUIRE(pool->resize(1).ok());
    if (round % 3 == 0) REQUIRE(eventually([&] { return pool->stats().stuck >= 2; }));
    gate.open();
    pool.destroy();
    CHECK(eventually([&] { return threads_of("gone") == 0; }));
  }
}

TEST_CASE("WorkerPool: who gives up waiting for a place leaves nothing behind", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 0, .enqueue_timeout = 10ms, .clock = &clock});
  for (int round = 0; round < 200; ++round) {
    std::thread submitter([&] { static_cast<void>(pool->submit([] {})); });
    REQUIRE(eventually([&] { return pool->stats().blocked == static_cast<std::uint64_t>(round) + 1; }));
    clock.advance(10ms);
    submitter.join();
  }
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.enqueue_timeouts == 200);
  CHECK(stats.submitting == 0);
  CHECK(stats.queue_depth == 0);
  CHECK(discrepancies(stats).empty());
  gate.open();
  CHECK(pool->submit([] { return 7; }).value().get().value() == 7);
}

}  // namespace
}  // namespace penstock
