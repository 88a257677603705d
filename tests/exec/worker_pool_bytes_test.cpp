// SPDX-License-Identifier: MIT
// How much memory a pool's queue holds.
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/detail/typed_job.hpp"
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
using testing::Samples;

/// A function of so many bytes that does nothing.
template <std::size_t kBytes>
struct Heavy {
  void operator()() const {}
  std::array<char, kBytes> load{};
};

template <std::size_t kBytes>
constexpr std::size_t plain_bytes() {
  return (sizeof(detail::PlainJob<Heavy<kBytes>>) + 63) / 64 * 64;
}

// A job of a small function is one line of the cache, what it is counted with included.
static_assert(sizeof(detail::PlainJob<Heavy<16>>) == 64);

std::size_t bytes_of(WorkerPool& pool) { return pool.stats().queue_bytes; }

TEST_CASE("WorkerPool: the bytes of its queue are those of the jobs that wait", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100});
  CHECK(bytes_of(*pool) == 0);  // one runs
  for (int i = 0; i < 10; ++i) CHECK(pool->execute([] {}) == OpStatus::kOk);
  CHECK(bytes_of(*pool) == 10 * 64);
  CHECK(pool->execute(Heavy<30>()) == OpStatus::kOk);
  CHECK(bytes_of(*pool) == 10 * 64 + 128);
  CHECK(pool->execute(Heavy<1000>()) == OpStatus::kOk);
  CHECK(bytes_of(*pool) == 10 * 64 + 128 + plain_bytes<1000>());
  Samples samples;
  pool->collect(samples);
  CHECK(samples.at("penstock_pool_queue_bytes p") == static_cast<double>(bytes_of(*pool)));
  gate.open();
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(bytes_of(*pool) == 0);
}

TEST_CASE("WorkerPool: what a job's submitter asks for is counted with it", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 100});
  const auto added = [&](auto function, SubmitOptions options) {
    const std::size_t before = bytes_of(*pool);
    CHECK(pool->try_submit(std::move(function), nullptr, std::move(options)) == OpStatus::kOk);
    return bytes_of(*pool) - before;
  };
  const std::size_t alone = added([] {}, {});
  const std::size_t with_tag = added([] {}, {.tag = "chat"});
  const std::size_t with_context = added([](const JobContext&) {}, {});
  CHECK(alone % 64 == 0);
  CHECK(alone > 64);
  CHECK(with_tag >= alone + sizeof(detail::JobTerms));
  CHECK(with_tag < alone + sizeof(detail::JobTerms) + 64);
  CHECK(with_context == with_tag);
  CHECK(added(Heavy<200>(), {.tag = "chat"}) >= with_tag + 128);
}

TEST_CASE("WorkerPool: whatever way jobs leave the queue, their bytes go with them", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 4,
                                     .queue_wait_limit = 60s,
                                     .clock = &clock,
                                     .discipline = QueueDiscipline::kPriority,
                                     .codel = CodelOptions{.target = 10ms, .interval = 100ms}});
  const auto fill = [&](int jobs) {
    for (int i = 0; i < jobs; ++i) CHECK(pool->execute([] {}) == OpStatus::kOk);
  };
  Job<void> cancelled = pool->submit(Heavy<100>()).value();
  fill(2);
  CHECK(bytes_of(*pool) > 2 * 64);
  CHECK(cancelled.cancel());
  CHECK(bytes_of(*pool) == 2 * 64);

  Job<void> expires = pool->submit(Heavy<100>(), {.queue_wait_limit = 1s, .priority = 3}).value();
  clock.advance(1s);
  CHECK(absl::IsDeadlineExceeded(expires.get()));
  CHECK(bytes_of(*pool) == 2 * 64);

  fill(2);
  Job<void> newer = pool->submit(Heavy<100>(), {.overflow = OverflowPolicy::kDropOldest}).value();
  const std::size_t with_newer = bytes_of(*pool);
  CHECK(with_newer > 4 * 64);
  CHECK(newer.cancel());
  CHECK(bytes_of(*pool) == 3 * 64);

  // The first of them teaches it, the rest is shed or started.
  clock.advance(200ms);
  gate.open();
  REQUIRE(eventually([&] { return bytes_of(*pool) == 0; }));
  for (int round = 0; pool->stats().shed == 0 && round < 10; ++round) {
    pool->pause();
    fill(2);
    CHECK(bytes_of(*pool) == 2 * 64);
    clock.advance(101ms);
    pool->resume();
    REQUIRE(eventually([&] { return bytes_of(*pool) == 0; }));
  }
  CHECK(pool->stats().shed > 0);
  CHECK(discrepancies(pool->stats()).empty());

  pool->pause();
  fill(3);
  CHECK(bytes_of(*pool) == 3 * 64);
  pool->resume();
  CHECK(pool->shutdown(Context(clock)).is_drained());
  CHECK(bytes_of(*pool) == 0);
}

TEST_CASE("WorkerPool: jobs that a shutdown gives up, or a helper takes, leave nothing behind", "[exec][worker_pool]") {
  SECTION("given up") {
    ManualClock clock;
    Gate gate;
    const auto pool = held_pool(gate, {.queue_capacity = 100, .clock = &clock});
    for (int i = 0; i < 80; ++i) CHECK(pool->execute([] {}) == OpStatus::kOk);
    CHECK(bytes_of(*pool) == 80 * 64);
    CHECK_FALSE(pool->shutdown(Context(clock).with_timeout(0s)).in_time);
    CHECK(bytes_of(*pool) == 0);
  }
  SECTION("helped") {
    const auto pool = make_pool({.workers = 1, .inside_wait = InsideWait::kHelp});
    std::size_t between = 0;
    std::size_t after = 1;
    Job<void> outer = pool->submit([&] {
                            Job<void> inner = pool->submit(Heavy<100>()).value();
                            between = bytes_of(*pool);
                            static_cast<void>(inner.wait());
                            after = bytes_of(*pool);
                          })
                          .value();
    CHECK(outer.get().ok());
    CHECK(between > 100);
    CHECK(after == 0);
  }
}

TEST_CASE("WorkerPool: what is not in the queue has no bytes there", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 1});
  REQUIRE(pool->execute([] {}) == OpStatus::kOk);
  REQUIRE(bytes_of(*pool) == 64);
  std::size_t inside = 0;
  const auto look = [&] { inside = bytes_of(*pool); };
  CHECK(pool->submit(look, {.overflow = OverflowPolicy::kCallerRuns}).ok());
  CHECK(inside == 64);
  CHECK(pool->try_submit([] {}, nullptr, {.overflow = OverflowPolicy::kReject}) == OpStatus::kFull);
  CHECK(bytes_of(*pool) == 64);

  // One in line for a place, from when it gets that.
  const auto submit = [](WorkerPool& to) -> Task<bool> {
    const SubmitOptions options{.overflow = OverflowPolicy::kBlock};
    absl::StatusOr<Job<void>> job = co_await to.async_submit(Heavy<100>(), options);
    co_return job.ok();
  };
  auto submitted = spawn(Executor::inline_executor(), submit(*pool));
  REQUIRE(eventually([&] { return pool->stats().submitting == 1; }));
  CHECK(bytes_of(*pool) == 64);
  gate.open();
  CHECK(sync_wait(std::move(submitted)));
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(bytes_of(*pool) == 0);
}

TEST_CASE("WorkerPool: a job of more than four MiB counts as four", "[exec][worker_pool]") {
  Gate gate;
  const auto pool = held_pool(gate, {.queue_capacity = 3});
  static const Heavy<5'000'000> huge;
  CHECK(pool->execute(huge) == OpStatus::kOk);
  CHECK(bytes_of(*pool) == std::size_t{65535} * 64);
  CHECK(pool->execute(huge, {.tag = "t"}) == OpStatus::kOk);
  CHECK(bytes_of(*pool) == std::size_t{2 * 65535} * 64);
  gate.open();
  CHECK(pool->shutdown(Context::background()).is_drained());
  CHECK(bytes_of(*pool) == 0);
}

}  // namespace
}  // namespace penstock
