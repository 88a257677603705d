// SPDX-License-Identifier: MIT
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "exec/elastic_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "support/aborts.hpp"
#include "support/allocations.hpp"
#include "support/blocks.hpp"
#include "support/catch.hpp"
#include "support/forked.hpp"
#include "support/gate.hpp"
#include "support/status_text.hpp"
#include "support/threads.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::is_at_rest;
using testing::OpenAtEnd;
using testing::text_of;
using testing::threads_of;

TEST_CASE("ElasticPool: a drain runs all that was accepted, and says so", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .max_workers = 2});
  std::optional<ElasticShutdownReport> report;
  std::thread closer;
  {
    OpenAtEnd guard(gates);
    for (int i = 0; i < 20; ++i) {
      REQUIRE(pool.execute([&] {
        gates[0].pass();
        ++ran;
      }) == OpStatus::kOk);
    }
    REQUIRE(gates[0].await(2));
    closer = std::thread([&] { report = pool.shutdown(); });
    CHECK(eventually([&] { return pool.is_closed(); }));
    CHECK(pool.execute([&] { ++ran; }) == OpStatus::kClosed);
    const absl::Status refused = pool.submit([] {}).status();
    CHECK(absl::IsUnavailable(refused));
    CHECK_THAT(text_of(refused), ContainsSubstring("elastic pool 'p': closed"));
  }
  closer.join();
  CHECK(report->in_time);
  CHECK(report->ran == 20);
  CHECK(report->dropped == 0);
  CHECK(report->running == 0);
  CHECK(ran == 20);
  CHECK(pool.worker_count() == 0);
  CHECK(eventually([] { return threads_of("p") == 1; }));  // the keeper
  CHECK(pool.stats().refused_closed == 2);
  CHECK(discrepancies(pool.stats()) == "");
  CHECK(pool.shutdown().in_time);  // again
}

TEST_CASE("ElasticPool: a cancelling end drops what waits, and says so to everybody", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  std::atomic<int> destroyed{0};
  std::atomic<bool> begun{false};
  ElasticPool pool({.name = "p", .max_workers = 1});
  struct Counts {
    explicit Counts(std::atomic<int>& count) : destroyed(&count) {}
    Counts(Counts&& other) noexcept : destroyed(std::exchange(other.destroyed, nullptr)) {}
    ~Counts() {
      if (destroyed != nullptr) ++*destroyed;
    }
    std::atomic<int>* destroyed;
  };
  Job<absl::Status> runs = pool.submit([&](const JobContext& told) {
                                 begun = true;
                                 while (told.context.status() == OpStatus::kOk) std::this_thread::yield();
                                 return told.context.cause();
                               })
                               .value();
  REQUIRE(eventually([&] { return begun.load(); }));
  for (int i = 0; i < 10; ++i) {
    REQUIRE(pool.execute([&ran, counts = Counts(destroyed)] { ++ran; }) == OpStatus::kOk);
  }
  Job<int> waits = pool.submit([&] { return ++ran; }).value();
  const ElasticShutdownReport report = pool.shutdown(Context::background(), ElasticEnd::kCancel);
  CHECK(report.in_time);
  CHECK(report.ran == 1);
  CHECK(report.dropped == 11);
  CHECK(ran == 0);
  CHECK(destroyed == 10);
  CHECK_THAT(text_of(runs.get()), ContainsSubstring("elastic pool 'p': shutting down"));
  CHECK(absl::IsCancelled(waits.get().status()));
  CHECK_THAT(text_of(waits.get().status()),
             ContainsSubstring("elastic pool 'p': job 12 dropped by shutdown before it started"));
  CHECK(pool.stats().dropped == 11);
  CHECK(discrepancies(pool.stats()) == "");
}

TEST_CASE("ElasticPool: a drain whose time is up drops the rest, and says what still runs", "[exec][elastic_pool]") {
  ManualClock clock;
  std::array<Gate, 1> gates;
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .max_workers = 1, .clock = &clock});
  OpenAtEnd guard(gates);
  REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  REQUIRE(pool.execute([&] { ++ran; }) == OpStatus::kOk);
  std::optional<ElasticShutdownReport> report;
  std::thread closer([&] { report = pool.shutdown(Context(clock).with_timeout(5s)); });
  CHECK(eventually([&] { return pool.is_closed() && clock.armed() == 1; }));
  clock.advance(5s);
  closer.join();
  CHECK_FALSE(report->in_time);
  CHECK(report->dropped == 1);
  CHECK(report->running == 1);
  CHECK(report->waiting == 0);
  CHECK(report->took == 5s);
  CHECK(ran == 0);
}

// X22, E8: whoever is told kOk finds its task run, or in the report.
TEST_CASE("ElasticPool: what comes during the end is run, dropped and reported, or refused", "[exec][elastic_pool]") {
  for (int round = 0; round < 100; ++round) {
    std::atomic<std::uint64_t> accepted{0};
    std::atomic<std::uint64_t> ran{0};
    ElasticPool pool({.name = "p", .max_workers = 2});
    std::vector<std::thread> submitters;
    for (int i = 0; i < 2; ++i) {
      submitters.emplace_back([&] {
        for (;;) {
          const OpStatus status = pool.execute([&] { ++ran; });
          if (status == OpStatus::kClosed) return;
          if (status == OpStatus::kOk) ++accepted;
        }
      });
    }
    while (accepted < static_cast<std::uint64_t>(round)) std::this_thread::yield();
    const ElasticShutdownReport report =
        pool.shutdown(Context::background(), round % 2 == 0 ? ElasticEnd::kCancel : ElasticEnd::kDrain);
    for (std::thread& submitter : submitters) submitter.join();
    const ElasticPoolStats stats = pool.stats();
    REQUIRE(report.in_time);
    REQUIRE(stats.accepted == accepted);
    REQUIRE(stats.succeeded == ran);
    REQUIRE(stats.succeeded + stats.dropped == accepted);
    REQUIRE(discrepancies(stats) == "");
  }
}

// X23
TEST_CASE("ElasticPool: an end while it shrinks is just an end", "[exec][elastic_pool]") {
  for (int round = 0; round < 20; ++round) {
    ManualClock clock;
    auto pool = std::make_unique<ElasticPool>(
        ElasticPoolOptions{.name = "p", .min_workers = 8, .trim = IdleTimeout{1ms, 0}, .clock = &clock});
    REQUIRE(pool->resize(0, kUnlimited).ok());
    std::thread trimmer([&] { clock.advance(1s); });
    std::thread closer([&] { pool->shutdown(); });
    trimmer.join();
    closer.join();
    REQUIRE(pool->worker_count() == 0);
    pool.reset();
    REQUIRE(clock.armed() == 0);
  }
}

TEST_CASE("ElasticPool: a task may end its pool", "[exec][elastic_pool]") {
  std::array<Gate, 1> gates;
  std::atomic<bool> ran{false};
  ElasticPool pool({.name = "p"});
  OpenAtEnd guard(gates);
  REQUIRE(pool.execute([&] { gates[0].pass(); }) == OpStatus::kOk);
  REQUIRE(gates[0].await(1));
  Job<bool> ends = pool.submit([&] {
                         const bool queued = pool.execute([&] { ran = true; }) == OpStatus::kOk;
                         gates[0].open();
                         return queued && pool.shutdown().in_time;
                       })
                       .value();
  CHECK(ends.get().value());
  CHECK(ran);
  CHECK(eventually([&] { return pool.worker_count() == 0; }));
}

TEST_CASE("ElasticPool: the only worker there may be can end its pool, and the rest is run", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .max_workers = 1});
  Job<std::size_t> ends = pool.submit([&] {
                                if (pool.execute([&] { ++ran; }) != OpStatus::kOk) return std::size_t{99};
                                return pool.shutdown().waiting;
                              })
                              .value();
  CHECK(ends.get().value() == 1);
  CHECK(pool.shutdown().in_time);
  CHECK(ran == 1);
}

TEST_CASE("ElasticPool: what is posted after the end is run", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  {
    ElasticPool pool({.name = "p"});
    CHECK(pool.shutdown().in_time);
    pool.post([&] { ++ran; });
    CHECK(eventually([&] { return ran == 1; }));
    CHECK(eventually([&] { return pool.worker_count() == 0; }));
    pool.post([&] { ++ran; });
  }
  CHECK(ran == 2);  // its destructor waits for that
  CHECK(eventually([] { return threads_of("p") == 0; }));
}

// G5, E7
TEST_CASE("ElasticPool: no thread outlives it", "[exec][elastic_pool]") {
  for (int round = 0; round < 20; ++round) {
    {
      ElasticPool pool({.name = "gone", .min_workers = 3});
      for (int i = 0; i < 20; ++i) REQUIRE(pool.execute([] { std::this_thread::yield(); }) == OpStatus::kOk);
    }
    REQUIRE(eventually([] { return threads_of("gone") == 0; }));
  }
}

TEST_CASE("ElasticPool: a handle may outlive its pool", "[exec][elastic_pool]") {
  std::optional<Job<int>> job;
  {
    ElasticPool pool({.name = "p"});
    job = pool.submit([] { return 3; }).value();
  }
  CHECK(job->get().value() == 3);
  CHECK_FALSE(job->cancel());
}

#if PENSTOCK_TEST_BUSY_FORKS
TEST_CASE("ElasticPool: a forked child's copy refuses everything", "[exec][elastic_pool]") {
  auto pool = std::make_unique<ElasticPool>(ElasticPoolOptions{.name = "p", .min_workers = 2});
  const int answer = testing::answer_of_child([&] {
    int right = 0;
    right += pool->execute([] {}) == OpStatus::kClosed ? 1 : 0;
    right += absl::IsFailedPrecondition(pool->submit([] {}).status()) ? 2 : 0;
    right += pool->shutdown().in_time ? 4 : 0;
    right += pool->worker_count() == 0 ? 8 : 0;
    right += absl::IsFailedPrecondition(pool->resize(3, 4)) ? 16 : 0;
    right += absl::IsFailedPrecondition(pool->set_trim(LowWater{})) ? 32 : 0;
    pool.reset();
    return right;
  });
  CHECK(answer == 63);
  CHECK(pool->submit([] { return 1; })->get().value() == 1);
}
#endif

TEST_CASE("ElasticPool: bad options are all named at once", "[exec][elastic_pool]") {
  ElasticPoolOptions options;
  options.min_workers = 9;
  options.max_workers = 0;
  options.trim = PoisonPill{0s, -1, 3};
  options.growth = {.at_once = 5000, .look_every = 0s, .look_at_most = -1s, .most_at_a_look = 0};
  options.size = RigidSize{{{2, 0}}, -1};
  options.size_interval = 0s;
  options.size_buffer = 2'000'000;
  options.shutdown_timeout = -1s;
  options.clock = nullptr;
  const std::string text = text_of(options.validate());
  for (const char* field :
       {"options.name", "options.min_workers", "options.max_workers", "options.trim.interval", "options.trim.delay",
        "options.growth.at_once", "options.growth.look_every", "options.growth.look_at_most",
        "options.growth.most_at_a_look", "options.size.levels[0].load_ratio", "options.size.max_changes",
        "options.size_interval", "options.size_buffer", "options.shutdown_timeout", "options.clock"}) {
    CHECK_THAT(text, ContainsSubstring(field));
  }
  CHECK_THROWS_AS(ElasticPool(options), std::invalid_argument);
  options = {};
  options.name = "p";
  options.queue_capacity = 5;
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.queue_capacity must be unlimited"));
  options.queue_capacity = kUnlimited;
  options.size = AgileSize{};
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("there is a size policy"));
  options = {};
  options.name = std::string(257, 'x');
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("1 to 256 bytes long, got 257"));
}

TEST_CASE("ElasticPool: nothing to call, and a context that has ended, are refused", "[exec][elastic_pool]") {
  ElasticPool pool({.name = "p"});
  CHECK_THROWS_AS(pool.execute(std::function<void()>()), std::invalid_argument);
  CHECK(absl::IsInvalidArgument(pool.submit(std::function<int()>()).status()));
  CHECK_THROWS_AS(pool.post(absl::AnyInvocable<void() &&>()), std::invalid_argument);
  CHECK(absl::IsDeadlineExceeded(pool.submit([] {}, Context::background().with_timeout(-1s)).status()));
  const Context::Cancellable gone = Context::background().with_cancel();
  gone.source.cancel();
  CHECK(absl::IsCancelled(pool.submit([] {}, gone.context).status()));
  CHECK(pool.stats().refused_ended == 2);
  CHECK(pool.stats().accepted == 0);
}

// G9
TEST_CASE("ElasticPool: no memory for a task is that task's affair", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .min_workers = 1, .growth = {.at_once = 1}});  // the test's thread makes no worker
  REQUIRE(is_at_rest(pool));
  int right = 0;
  const int failures = testing::failures_of(
      [&] {
        if (pool.execute([&ran, large = testing::TooLargeToKeep()] { ran += 1 + large.bytes[0]; }) == OpStatus::kOk) {
          ++right;
        }
        auto job = pool.submit([&ran, large = testing::TooLargeToKeep()](const JobContext& /*told*/) {
          return ran += 1 + large.bytes[0];
        });
        if (job.ok()) ++right;
      },
      [&](bool threw) { CHECK((threw || right > 0)); });
  CHECK(failures >= 2);
  REQUIRE(is_at_rest(pool));
  CHECK(ran == right);
  CHECK(pool.stats().unmade == static_cast<std::uint64_t>(failures));
  CHECK(discrepancies(pool.stats()) == "");
  CHECK(pool.submit([] { return 1; })->get().value() == 1);
}

TEST_CASE("ElasticPool: a small task takes no memory but what its thread has kept", "[exec][elastic_pool]") {
  std::atomic<int> ran{0};
  ElasticPool pool({.name = "p", .min_workers = 2, .growth = {.at_once = 1}});
  REQUIRE(is_at_rest(pool));
  testing::stock_blocks();
  OpStatus status = OpStatus::kFull;
  const auto most = PENSTOCK_TEST_MANY_THREADS < 10'000 ? 1U : 0U;  // under a sanitizer nothing is kept
  CHECK(testing::allocations_of([&] { status = pool.execute([&ran] { ++ran; }); }) <= most);
  CHECK(status == OpStatus::kOk);
  REQUIRE(is_at_rest(pool));
}

TEST_CASE("ElasticPool: a copy that throws leaves the pool as it was", "[exec][elastic_pool]") {
  struct Throws {
    Throws() = default;
    Throws(const Throws& /*other*/) { throw std::runtime_error("copy"); }
    void operator()() const {}
  };
  ElasticPool pool({.name = "p", .max_workers = 1, .queue_capacity = 0});
  const Throws function;
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_AS(pool.execute(function), std::runtime_error);
    CHECK_THROWS_AS(pool.submit(function), std::runtime_error);
    CHECK(pool.submit([] { return 1; })->get().value() == 1);
    REQUIRE(is_at_rest(pool));
  }
  CHECK(pool.stats().unmade == 6);
  CHECK(discrepancies(pool.stats()) == "");
}

}  // namespace
}  // namespace penstock
