// SPDX-License-Identifier: MIT

// Concurrency limiters under every schedule: never more calls than the limit lets through, nobody waits while a slot is
// free for him, and no slot is lost, whoever comes, goes, cancels, closes or moves the limit.

#include "penstock/route/concurrency_limiter.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "model/planted.hpp"
#include "support/detached.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::testing::Detached;
namespace world = penstock::detail::world;

namespace {

using Slot = ConcurrencyLimiter::Slot;

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 20'000;
  checker::must_pass(options, scenario);
}

ConcurrencyLimiterOptions options(std::size_t limit) {
  ConcurrencyLimiterOptions made;
  made.name = "l";
  made.algorithm = FixedLimit{.limit = limit};
  made.seed = 1;
  return made;
}

/// Plain memory that the holder of the only slot may use: the checker reports it if two are here, or if the next one
/// does not see what this one did.
struct Exclusive {
  int uses = 0;
  bool in_use = false;
  void use() {
    MODEL_ASSERT(!in_use);
    in_use = true;
    ++uses;
    in_use = false;
  }
};

bool use(absl::StatusOr<Slot> slot, Exclusive& what, absl::StatusCode otherwise) {
  MODEL_ASSERT(slot.ok() || slot.status().code() == otherwise);
  if (!slot.ok()) return false;
  what.use();
  slot->ignore();
  return true;
}

Task<bool> use_in_coroutine(ConcurrencyLimiter& limiter, Context ctx, Exclusive& what, absl::StatusCode otherwise) {
  auto slot = co_await limiter.async_acquire(ctx);
  co_return use(std::move(slot), what, otherwise);
}

/// For one who comes second.
Task<> wait_while_used_by(ConcurrencyLimiter& limiter, Exclusive& what) {
  auto slot = co_await limiter.async_acquire();
  MODEL_ASSERT(slot.ok() && what.uses == 1);
  what.use();
}

Detached wait_on(RunLoop& /*loop*/, ConcurrencyLimiter& limiter, Context ctx, Exclusive& what) {
  auto slot = co_await limiter.async_acquire(ctx);
  if (slot.ok()) what.use();
}

void check_quiet(const ConcurrencyLimiter& limiter, std::size_t limit) {
  const ConcurrencyLimiterStats stats = limiter.stats();
  MODEL_ASSERT(stats.in_flight == 0 && stats.waiting == 0 && stats.limit == limit);
}

/// Says the next of its limits with each sample.
class Steps final : public LimitAlgorithm {
 public:
  Steps(std::size_t first, std::size_t then) noexcept : limit_(first), then_(then) {}
  std::size_t on_sample(const LimitSample&) noexcept override {
    ++samples_;  // plain: the checker reports two at a time
    return limit_ = then_;
  }
  [[nodiscard]] std::size_t limit() const noexcept override { return limit_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "steps"; }

 private:
  std::size_t limit_;
  const std::size_t then_;
  int samples_ = 0;
};

ConcurrencyLimiterOptions steps(std::size_t first, std::size_t then) {
  ConcurrencyLimiterOptions made = options(1);
  made.make_algorithm = [first, then] { return std::make_unique<Steps>(first, then); };
  made.timing = ConcurrencyLimiterOptions::Timing::kByCaller;
  return made;
}

}  // namespace

TEST_CASE("ConcurrencyLimiter: three take one slot in turn", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, three users", .preemptions = 2}, [] {
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    const auto take = [&] { use(limiter.acquire(), what, absl::StatusCode::kOk); };
    world::Thread one(take);
    world::Thread two(take);
    take();
    one.join();
    two.join();
    MODEL_ASSERT(what.uses == 3);
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: those who do not wait never overshoot", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, no overshoot", .preemptions = 3}, [] {
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    const auto take = [&] {
      if (auto slot = limiter.try_acquire()) {
        MODEL_ASSERT(slot->in_flight() == 1 && limiter.in_flight() == 1);
        what.use();
        slot->ignore();
        return;
      }
    };
    world::Thread one(take);
    world::Thread two(take);
    use(limiter.acquire(), what, absl::StatusCode::kOk);
    one.join();
    two.join();
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: nobody who comes later overtakes", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, no overtaking", .preemptions = 2, .standard_steps = true}, [] {
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    std::optional<Slot> held = limiter.try_acquire();
    RunLoop loop;
    auto first = spawn(loop, use_in_coroutine(limiter, Context::background(), what, absl::StatusCode::kOk));
    loop.run_ready();
    world::Thread holder([&] { held->ignore(); });
    MODEL_ASSERT(!limiter.try_acquire().has_value());  // it is the first one's, who has not run yet
    auto second = spawn(loop, wait_while_used_by(limiter, what));
    loop.run_ready();
    holder.join();
    loop.run_ready();
    first.get();
    loop.run_ready();
    second.get();
    MODEL_ASSERT(what.uses == 2);
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: a waiter, a closer and a canceller", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, closer and canceller", .preemptions = 2}, [] {
    ConcurrencyLimiter limiter(options(1));
    std::optional<Slot> held = limiter.try_acquire();
    const Context::Cancellable ending = Context::background().with_cancel();
    absl::StatusCode end = absl::StatusCode::kUnknown;
    world::Thread waiter([&] { end = limiter.acquire(ending.context).status().code(); });
    world::Thread closer([&] { MODEL_ASSERT(limiter.close()); });
    world::Thread canceller([&] { ending.source.cancel(); });
    held->ignore();
    waiter.join();
    closer.join();
    canceller.join();
    MODEL_ASSERT(end == absl::StatusCode::kOk || end == absl::StatusCode::kCancelled ||
                 end == absl::StatusCode::kUnavailable);
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: a slot comes back while the wait for it ends", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, deadline", .preemptions = 3}, [] {
    ManualClock clock;
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    std::optional<Slot> held = limiter.try_acquire();
    const Context late = Context(clock).with_timeout(5ms);
    world::Thread advancer([&] { clock.advance(10ms); });
    world::Thread holder([&] { held->ignore(); });
    const bool got = use(limiter.acquire(late), what, absl::StatusCode::kDeadlineExceeded);
    advancer.join();
    holder.join();
    const ConcurrencyLimiterStats stats = limiter.stats();
    MODEL_ASSERT(stats.timed_out == (got ? 0U : 1U));
    MODEL_ASSERT(limiter.try_acquire().has_value());  // it was not lost
    check_quiet(limiter, 1);
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("ConcurrencyLimiter: one in line is cancelled, the one behind is not forgotten",
          "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, cancelled in front", .preemptions = 2, .standard_steps = true}, [] {
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    std::optional<Slot> held = limiter.try_acquire();
    const Context::Cancellable ending = Context::background().with_cancel();
    auto first = spawn(Executor::inline_executor(),
                       use_in_coroutine(limiter, ending.context, what, absl::StatusCode::kCancelled));
    world::Thread behind([&] { MODEL_ASSERT(use(limiter.acquire(), what, absl::StatusCode::kOk)); });
    world::Thread canceller([&] { ending.source.cancel(); });
    held->ignore();
    canceller.join();
    behind.join();
    first.get();
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: the limit rises while two wait, and nobody is left in line",
          "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, limit rises", .preemptions = 2}, [] {
    ConcurrencyLimiter limiter(steps(1, 3));
    std::optional<Slot> held = limiter.try_acquire();
    std::optional<Slot> one_slot;
    std::optional<Slot> two_slot;
    world::Thread one([&] { one_slot.emplace(*limiter.acquire()); });  // both keep what they get
    world::Thread two([&] { two_slot.emplace(*limiter.acquire()); });
    held->success(1ms);
    one.join();
    two.join();
    MODEL_ASSERT(limiter.in_flight() == 2);
    one_slot->ignore();
    two_slot->ignore();
    check_quiet(limiter, 3);
  });
}

TEST_CASE("ConcurrencyLimiter: the limit falls while slots come back, and comes true", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, limit falls", .preemptions = 2}, [] {
    ConcurrencyLimiter limiter(steps(2, 1));
    Exclusive what;
    std::optional<Slot> one = limiter.try_acquire();
    std::optional<Slot> two = limiter.try_acquire();
    one->success(1ms);
    MODEL_ASSERT(limiter.limit() == 1);
    const auto take = [&] { use(limiter.acquire(), what, absl::StatusCode::kOk); };
    world::Thread first(take);
    world::Thread second(take);
    two->success(1ms);
    first.join();
    second.join();
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: options change while somebody waits, samples come and a slot goes back",
          "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, options", .preemptions = 2}, [] {
    ConcurrencyLimiter limiter(steps(1, 1));
    Exclusive what;
    std::optional<Slot> held = limiter.try_acquire();
    world::Thread waiter([&] { use(limiter.acquire(), what, absl::StatusCode::kOk); });
    world::Thread setter([&] {
      ConcurrencyLimiterOptions changed = steps(2, 2);
      MODEL_ASSERT(limiter.set_options(changed).ok());
    });
    held->success(1ms);
    waiter.join();
    setter.join();
    check_quiet(limiter, 2);
  });
}

TEST_CASE("ConcurrencyLimiter: samples go one at a time, and none is forgotten", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, samples", .preemptions = 2}, [] {
    ConcurrencyLimiterOptions made = options(1);
    made.algorithm = AimdLimit{.initial = 4, .min = 1};
    made.timing = ConcurrencyLimiterOptions::Timing::kByCaller;
    ConcurrencyLimiter limiter(made);
    std::optional<Slot> one = limiter.try_acquire();
    std::optional<Slot> two = limiter.try_acquire();
    std::optional<Slot> three = limiter.try_acquire();
    std::optional<Slot> four = limiter.try_acquire();
    world::Thread first([&] { four->success(1ms); });
    world::Thread second([&] { three->success(1ms); });
    two->ignore();
    first.join();
    second.join();
    one->ignore();
    check_quiet(limiter, 6);  // 4 + 1 + 1, and what the last sampler left is what the word says
  });
}

TEST_CASE("ConcurrencyLimiter: a partition takes its guarantee and no more", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, partitions", .preemptions = 2}, [] {
    ConcurrencyLimiterOptions made = options(1);
    made.partitions = {{"a", 0.5}};
    ConcurrencyLimiter limiter(made);
    Exclusive of_a;
    std::optional<Slot> held = limiter.try_acquire();  // anybody's
    const auto take = [&] { use(limiter.acquire(Context::background(), "a"), of_a, absl::StatusCode::kOk); };
    world::Thread one(take);
    world::Thread other([&] {
      if (auto slot = limiter.try_acquire()) MODEL_ASSERT(limiter.in_flight() <= 2);
    });
    take();
    one.join();
    held->ignore();
    other.join();
    MODEL_ASSERT(of_a.uses == 2);
    check_quiet(limiter, 1);
  });
}

TEST_CASE("ConcurrencyLimiter: a coroutine is destroyed where it waits while a slot comes back",
          "[model][concurrency_limiter]") {
  for (const bool can_end : {false, true}) {
    must_pass({.name = "limiter, coroutine destroyed", .preemptions = 3, .standard_steps = true}, [can_end] {
      ConcurrencyLimiter limiter(options(1));
      Exclusive what;
      RunLoop loop;
      const Context::Cancellable ending = Context::background().with_cancel();
      std::optional<Slot> held = limiter.try_acquire();
      const Detached waiting = wait_on(loop, limiter, can_end ? ending.context : Context::background(), what);
      world::Thread holder([&] { held->ignore(); });
      waiting.handle.destroy();
      holder.join();
      MODEL_ASSERT(limiter.try_acquire().has_value());
      check_quiet(limiter, 1);
    });
  }
}

TEST_CASE("ConcurrencyLimiter: threads and a coroutine with a closer", "[model][concurrency_limiter]") {
  must_pass({.name = "limiter, mixed line", .preemptions = 2, .standard_steps = true}, [] {
    ConcurrencyLimiter limiter(options(1));
    Exclusive what;
    std::optional<Slot> held = limiter.try_acquire();
    auto coroutine = spawn(Executor::inline_executor(),
                           use_in_coroutine(limiter, Context::background(), what, absl::StatusCode::kUnavailable));
    world::Thread thread([&] { use(limiter.acquire(), what, absl::StatusCode::kUnavailable); });
    world::Thread closer([&] { limiter.close(); });
    held->ignore();
    closer.join();
    thread.join();
    coroutine.get();
    check_quiet(limiter, 1);
  });
}
