// SPDX-License-Identifier: MIT

// Rate limiters under every schedule: no token is given twice or lost, who waits gets its tokens or the reason, and
// nobody is left in line, whoever closes, cancels, changes the rate or moves the clock meanwhile.

#include "penstock/route/rate_limiter.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
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

void must_pass(checker::Options options, const checker::Scenario& scenario) {
  options.executions = 10'000;
  checker::must_pass(options, scenario);
}

constexpr RateAlgorithm kBoth[] = {RateAlgorithm::kGcra, RateAlgorithm::kTokenBucket};

/// 1000 per second.
RateLimiterOptions options(Clock& clock, double burst, RateAlgorithm algorithm = RateAlgorithm::kGcra) {
  return {
      .name = "r", .algorithm = algorithm, .rate_per_second = 1000, .burst = burst, .max_waiting = 10, .clock = &clock};
}

void check_quiet(const RateLimiter& limiter, std::uint64_t tokens) {
  const RateLimiterStats stats = limiter.stats();
  MODEL_ASSERT(stats.waiting == 0);
  MODEL_ASSERT(stats.tokens_acquired == tokens);
}

Task<OpStatus> acquire_in(RateLimiter& limiter, Context ctx) { co_return co_await limiter.async_acquire(ctx); }

Detached wait_on(RunLoop& /*loop*/, RateLimiter& limiter, bool& got) {
  const OpStatus status = co_await limiter.async_acquire();
  got = status == OpStatus::kOk;
}

}  // namespace

TEST_CASE("RateLimiter: two tokens are for two of three", "[model][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBoth) {
    must_pass({.name = "rate limiter, three takers", .preemptions = 3}, [algorithm] {
      ManualClock clock;
      RateLimiter limiter(options(clock, 2, algorithm));
      int got[3] = {};
      world::Thread one([&] { got[0] = limiter.try_acquire() ? 1 : 0; });
      world::Thread two([&] { got[1] = limiter.try_acquire() ? 1 : 0; });
      got[2] = limiter.try_acquire() ? 1 : 0;
      one.join();
      two.join();
      MODEL_ASSERT(got[0] + got[1] + got[2] == 2);
      check_quiet(limiter, 2);
    });
  }
}

TEST_CASE("RateLimiter: takes while the clock moves and the rate changes", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, changed", .preemptions = 3}, [] {
    ManualClock clock;
    RateLimiter limiter(options(clock, 1));
    MODEL_ASSERT(limiter.try_acquire());
    int got = 0;
    world::Thread changer([&] {
      MODEL_ASSERT(limiter.set_options(options(clock, 2)).ok());
      MODEL_ASSERT(limiter.set_options(options(clock, 1)).ok());
    });
    world::Thread advancer([&] { clock.advance(1ms); });
    if (limiter.try_acquire()) ++got;
    if (limiter.try_acquire()) ++got;
    changer.join();
    advancer.join();
    if (limiter.try_acquire()) ++got;
    MODEL_ASSERT(got == 1);
    check_quiet(limiter, 2);
  });
}

TEST_CASE("RateLimiter: a burst that is larger for a moment gives nothing", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, there and back", .preemptions = 3}, [] {
    ManualClock clock;
    RateLimiter limiter(options(clock, 1));
    MODEL_ASSERT(limiter.try_acquire());
    // The second change brings back the word that was there before the first one.
    world::Thread changer([&] {
      MODEL_ASSERT(limiter.set_options(options(clock, 2)).ok());
      MODEL_ASSERT(limiter.set_options(options(clock, 1)).ok());
    });
    MODEL_ASSERT(!limiter.try_acquire());
    changer.join();
    check_quiet(limiter, 1);
  });
}

TEST_CASE("RateLimiter: a waiter, a closer and a canceller", "[model][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBoth) {
    must_pass({.name = "rate limiter, closer and canceller", .preemptions = 2}, [algorithm] {
      ManualClock clock;
      {
        RateLimiter limiter(options(clock, 1, algorithm));
        MODEL_ASSERT(limiter.try_acquire());
        const Context::Cancellable ending = Context::background().with_cancel();
        OpStatus end = OpStatus::kFull;
        world::Thread waiter([&] { end = limiter.acquire(ending.context); });
        world::Thread closer([&] { MODEL_ASSERT(limiter.close()); });
        world::Thread canceller([&] { ending.source.cancel(); });
        clock.advance(1ms);
        waiter.join();
        closer.join();
        canceller.join();
        MODEL_ASSERT(end == OpStatus::kOk || end == OpStatus::kClosed || end == OpStatus::kCancelled);
        check_quiet(limiter, end == OpStatus::kOk ? 2 : 1);
      }
      MODEL_ASSERT(clock.armed() == 0);
    });
  }
}

TEST_CASE("RateLimiter: two wait in turn while the clock moves", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, two waiters", .preemptions = 2}, [] {
    ManualClock clock;
    {
      RateLimiter limiter(options(clock, 2));
      MODEL_ASSERT(limiter.try_acquire(2));
      world::Thread one([&] { MODEL_ASSERT(limiter.acquire() == OpStatus::kOk); });
      world::Thread two([&] { MODEL_ASSERT(limiter.acquire() == OpStatus::kOk); });
      clock.advance(1ms);
      clock.advance(1ms);
      one.join();
      two.join();
      check_quiet(limiter, 4);
      MODEL_ASSERT(!limiter.try_acquire());
    }
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("RateLimiter: the first in line leaves while the second one is due", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, first leaves", .preemptions = 2}, [] {
    ManualClock clock;
    RateLimiter limiter(options(clock, 2));
    MODEL_ASSERT(limiter.try_acquire(2));
    RunLoop loop;
    const Context::Cancellable ending = Context::background().with_cancel();
    const auto two = [](RateLimiter& from, Context ctx) -> Task<OpStatus> {
      co_return co_await from.async_acquire(ctx, 2);
    };
    auto first = spawn(loop, two(limiter, ending.context));
    auto second = spawn(loop, acquire_in(limiter, Context::background()));
    loop.run_ready();
    world::Thread canceller([&] { ending.source.cancel(); });
    world::Thread advancer([&] { clock.advance(1ms); });
    canceller.join();
    advancer.join();
    loop.run_ready();
    MODEL_ASSERT(first.get() == OpStatus::kCancelled);
    MODEL_ASSERT(second.get() == OpStatus::kOk);
    check_quiet(limiter, 3);
  });
}

TEST_CASE("RateLimiter: who waits is served while its deadline comes", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, deadline", .preemptions = 2}, [] {
    ManualClock clock;
    {
      RateLimiter limiter(options(clock, 1));
      MODEL_ASSERT(limiter.try_acquire());
      RunLoop loop;
      auto waiting = spawn(loop, acquire_in(limiter, Context(clock).with_timeout(2ms)));
      loop.run_ready();
      RateLimiterOptions slow = options(clock, 1);
      slow.rate_per_second = 500;
      world::Thread changer([&] { MODEL_ASSERT(limiter.set_options(slow).ok()); });
      clock.advance(4ms);
      changer.join();
      loop.run_ready();
      const OpStatus end = waiting.get();
      MODEL_ASSERT(end == OpStatus::kOk || end == OpStatus::kTimedOut);
      check_quiet(limiter, end == OpStatus::kOk ? 2 : 1);
    }
    MODEL_ASSERT(clock.armed() == 0);
  });
}

TEST_CASE("RateLimiter: a coroutine is served by another thread, and takes the limiter with it",
          "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, gone with its last user", .preemptions = 2}, [] {
    ManualClock clock;
    auto limiter = std::make_unique<RateLimiter>(options(clock, 1));
    MODEL_ASSERT(limiter->try_acquire());
    world::Thread advancer([&] { clock.advance(1ms); });
    const auto run = [](std::unique_ptr<RateLimiter>& owner) -> Task<> {
      const OpStatus status = co_await owner->async_acquire();
      MODEL_ASSERT(status == OpStatus::kOk);
      owner.reset();
    };
    // It begins in this thread; who serves it may be the other one, while this one still sets the timer.
    static_cast<void>(spawn(Executor::inline_executor(), run(limiter)));
    advancer.join();
    clock.advance(1ms);
    MODEL_ASSERT(limiter == nullptr && clock.armed() == 0);
  });
}

namespace {

/// Has something done when a timer is being armed.
class WatchedClock final : public Clock {
 public:
  explicit WatchedClock(ManualClock& clock) : clock_(clock) {}
  [[nodiscard]] TimePoint now() const noexcept override { return clock_.now(); }
  void start_timers() override {}
  bool arm(Timer& timer, TimePoint when) noexcept override {
    if (on_arm) std::exchange(on_arm, nullptr)();
    return clock_.arm(timer, when);
  }
  void disarm(Timer& timer) noexcept override { clock_.disarm(timer); }

  std::function<void()> on_arm;

 private:
  ManualClock& clock_;
};

}  // namespace

TEST_CASE("RateLimiter: it goes with its last user while another thread sets its timer", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, gone while its timer is set", .preemptions = 3}, [] {
    ManualClock inner;
    WatchedClock clock(inner);
    auto limiter = std::make_unique<RateLimiter>(options(clock, 1));
    MODEL_ASSERT(limiter->try_acquire());
    RateLimiter& it = *limiter;
    std::optional<world::Thread> closer;
    clock.on_arm = [&] { closer.emplace([&it] { MODEL_ASSERT(it.close()); }); };
    const auto run = [](std::unique_ptr<RateLimiter>& owner) -> Task<> {
      const OpStatus status = co_await owner->async_acquire();
      MODEL_ASSERT(status == OpStatus::kClosed);
      owner.reset();
    };
    // Listed, and closed by the other thread, where the coroutine runs on, while this one sets the timer.
    static_cast<void>(spawn(Executor::inline_executor(), run(limiter)));
    closer->join();
    MODEL_ASSERT(limiter == nullptr && inner.armed() == 0);
  });
}

TEST_CASE("RateLimiter: a coroutine is destroyed while its tokens come in", "[model][rate_limiter]") {
  must_pass({.name = "rate limiter, coroutine destroyed", .preemptions = 2}, [] {
    ManualClock clock;
    RateLimiter limiter(options(clock, 1));
    MODEL_ASSERT(limiter.try_acquire());
    RunLoop loop;
    bool got[2] = {};
    const Detached first = wait_on(loop, limiter, got[0]);
    const Detached second = wait_on(loop, limiter, got[1]);
    world::Thread advancer([&] { clock.advance(1ms); });
    first.handle.destroy();
    advancer.join();
    clock.advance(1ms);
    loop.run_ready();
    MODEL_ASSERT(!got[0] && got[1]);
    MODEL_ASSERT(limiter.stats().waiting == 0);
    second.handle.destroy();
  });
}
