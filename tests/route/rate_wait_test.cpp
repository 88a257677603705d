// SPDX-License-Identifier: MIT

// The line of a rate limiter: first come, first served, threads and coroutines alike, never early, and nobody is left
// in it.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "route/rate_support.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/detached.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::Detached;
using testing::eventually;
using testing::kBothAlgorithms;
using testing::limited;
using testing::Recorder;
using testing::text_of;

bool in_line(const RateLimiter& limiter, std::size_t count) {
  return eventually([&] { return limiter.stats().waiting == count; });
}

Task<OpStatus> acquire_in(RateLimiter& limiter, Context ctx, std::uint64_t n) {
  co_return co_await limiter.async_acquire(ctx, n);
}

/// Runs on the thread that resumes it, and tells when that was.
JoinHandle<> tell(RateLimiter& limiter, Recorder<std::string>& to, std::string name, std::uint64_t n = 1,
                  Context ctx = Context::background()) {
  const auto run = [](RateLimiter& from, Recorder<std::string>& recorder, std::string who, std::uint64_t count,
                      Context context) -> Task<> {
    const OpStatus status = co_await from.async_acquire(context, count);
    recorder.record(who + (status == OpStatus::kOk ? "" : " " + std::string(to_string(status))));
  };
  return spawn(Executor::inline_executor(), run(limiter, to, std::move(name), n, std::move(ctx)));
}

using Names = std::vector<std::string>;

TEST_CASE("RateLimiter: who waits gets its tokens in turn, when they have come in", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 2, algorithm));
    REQUIRE(limiter.try_acquire(2));
    Recorder<std::string> served;
    static_cast<void>(tell(limiter, served, "first"));
    static_cast<void>(tell(limiter, served, "second", 2));
    static_cast<void>(tell(limiter, served, "third"));
    CHECK(limiter.stats().waiting == 3);
    CHECK(clock.armed() == 1);
    clock.advance(100ms - 1ns);
    CHECK(served.size() == 0);
    clock.advance(1ns);
    CHECK(served.events() == Names{"first"});
    clock.advance(100ms);
    CHECK_FALSE(limiter.try_acquire());  // there is one, but it is for who waits for two
    clock.advance(100ms - 1ns);
    CHECK(served.size() == 1);
    clock.advance(1ns);
    CHECK(served.events() == Names{"first", "second"});
    clock.advance(1s);
    CHECK(served.events() == Names{"first", "second", "third"});
    const RateLimiterStats stats = limiter.stats();
    CHECK(stats.waiting == 0);
    CHECK(stats.acquired == 4);
    CHECK(stats.tokens_acquired == 6);
    CHECK(stats.waited == 3);
    CHECK(stats.wait.sum() == 800ms);
    CHECK(limiter.try_acquire(2));
    CHECK(clock.armed() == 0);
  }
}

TEST_CASE("RateLimiter: threads and coroutines stand in one line", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 1, algorithm));
    REQUIRE(limiter.try_acquire());
    Recorder<std::string> served;
    static_cast<void>(tell(limiter, served, "coroutine 1"));
    std::thread second([&] {
      if (limiter.acquire() == OpStatus::kOk) served.record("thread 2");
    });
    CHECK(in_line(limiter, 2));
    static_cast<void>(tell(limiter, served, "coroutine 3"));
    const Context lasting = Context(clock).with_timeout(1h);
    std::thread fourth([&] {
      if (limiter.acquire(lasting) == OpStatus::kOk) served.record("thread 4");
    });
    CHECK(in_line(limiter, 4));
    for (std::size_t count = 1; count != 5; ++count) {
      clock.advance(100ms);
      CHECK(eventually([&] { return served.size() == count; }));
    }
    second.join();
    fourth.join();
    CHECK(served.events() == Names{"coroutine 1", "thread 2", "coroutine 3", "thread 4"});
  }
}

TEST_CASE("RateLimiter: who leaves the line leaves its place to the next", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 5, algorithm));
    REQUIRE(limiter.try_acquire(3));
    Recorder<std::string> served;
    const Context::Cancellable leaving = Context::background().with_cancel();
    static_cast<void>(tell(limiter, served, "large", 5, leaving.context));
    static_cast<void>(tell(limiter, served, "small", 2));
    static_cast<void>(tell(limiter, served, "last", 1));
    CHECK(served.size() == 0);
    leaving.source.cancel();  // two are there
    CHECK(served.events() == Names{"large cancelled", "small"});
    clock.advance(100ms);
    CHECK(served.events() == Names{"large cancelled", "small", "last"});
    CHECK(limiter.stats().cancelled == 1);
  }
}

TEST_CASE("RateLimiter: a wait that would end after the deadline is refused at once", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 1, algorithm));
    REQUIRE(limiter.try_acquire());
    Recorder<std::string> served;
    static_cast<void>(tell(limiter, served, "first"));
    static_cast<void>(tell(limiter, served, "second"));
    RateRefusal why;
    CHECK(limiter.acquire(Context(clock).with_timeout(300ms), 1, why) == OpStatus::kFull);
    CHECK(why.reason == RateReason::kTooLate);
    CHECK(why.waiting == 2);
    CHECK(why.retry_after >= 300ms);
    CHECK(why.retry_after <= 300ms + 1ns);
    const absl::Status status = to_status(why, limiter.name());
    CHECK(text_of(status) ==
          "rate limiter 'openai': 10 per second used up, 2 in line, next in 300 ms, but the deadline is in 300 ms");
    CHECK(status.code() == absl::StatusCode::kResourceExhausted);
    CHECK(retry_after(status) == why.retry_after);
    CHECK(limiter.stats().waiting == 2);

    static_cast<void>(tell(limiter, served, "third", 1, Context(clock).with_timeout(301ms)));
    CHECK(limiter.stats().waiting == 3);
    clock.advance(300ms);
    CHECK(served.events() == Names{"first", "second", "third"});
  }
}

TEST_CASE("RateLimiter: a context that has ended looks once, and says how it ended", "[route][rate_limiter]") {
  ManualClock clock;
  RateLimiter limiter(limited(clock, 10, 1));
  const Context late = Context(clock).with_timeout(0s);
  const Context::Cancellable called_off = Context::background().with_cancel();
  called_off.source.cancel();
  CHECK(limiter.acquire(late) == OpStatus::kOk);
  for (int time = 0; time != 2; ++time) {
    RateRefusal why;
    CHECK(limiter.acquire(late, 1, why) == OpStatus::kTimedOut);
    CHECK(text_of(to_status(why, "openai")) ==
          "rate limiter 'openai': not in time (waited 0 ns; 10 per second used up, next in 100 ms)");
    CHECK(to_status(why, "openai").code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(limiter.acquire(called_off.context, 1, why) == OpStatus::kCancelled);
    CHECK(to_status(why, "openai").code() == absl::StatusCode::kCancelled);
    CHECK(limiter.acquire(late, 2, why) == OpStatus::kFull);
    CHECK(why.reason == RateReason::kTooMany);
    RunLoop loop;  // the timers have been started by the second time
    auto waiting = spawn(loop, acquire_in(limiter, Context::background(), 1));
    loop.run_ready();
    clock.advance(100ms);
    loop.run_ready();
    CHECK(waiting.get() == OpStatus::kOk);
  }
}

TEST_CASE("RateLimiter: the line has an end", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiterOptions options = limited(clock, 10, 1, algorithm);
    options.max_waiting = 1;
    RateLimiter limiter(options);
    REQUIRE(limiter.try_acquire());
    Recorder<std::string> served;
    static_cast<void>(tell(limiter, served, "first"));
    RateRefusal why;
    CHECK(limiter.acquire(Context::background(), 1, why) == OpStatus::kFull);
    CHECK(text_of(to_status(why, "openai")) ==
          "rate limiter 'openai': line full (10 per second used up, 1 in line, next in 200 ms)");
    CHECK(why.reason == RateReason::kLineFull);
    options.max_waiting = 0;
    CHECK(limiter.set_options(options).ok());
    CHECK(limiter.stats().waiting == 1);
    clock.advance(100ms);
    CHECK(served.events() == Names{"first"});
    CHECK(limiter.acquire() == OpStatus::kFull);
    CHECK(limiter.stats().line_full == 2);
  }
}

TEST_CASE("RateLimiter: changed options count for who waits", "[route][rate_limiter]") {
  for (const RateAlgorithm from : kBothAlgorithms) {
    for (const RateAlgorithm to : kBothAlgorithms) {
      ManualClock clock;
      RateLimiter limiter(limited(clock, 1, 10, from));
      REQUIRE(limiter.try_acquire(10));
      Recorder<std::string> served;
      static_cast<void>(tell(limiter, served, "first"));
      static_cast<void>(tell(limiter, served, "eight", 8));
      static_cast<void>(tell(limiter, served, "hasty", 1, Context(clock).with_timeout(11s)));
      REQUIRE(limiter.stats().waiting == 3);

      CHECK(limiter.set_options(limited(clock, 100, 10, to)).ok());
      clock.advance(10ms);
      CHECK(served.events() == Names{"first"});
      // Less than the eight that were promised fit in now, but they come.
      CHECK(limiter.set_options(limited(clock, 2, 3, from)).ok());
      clock.advance(4s - 1ns);
      CHECK(served.events() == Names{"first"});
      clock.advance(2ns);
      CHECK(served.events() == Names{"first", "eight"});
      CHECK(limiter.set_options(limited(clock, 0.001, 3, to)).ok());
      clock.advance(10s);
      CHECK(served.events() == Names{"first", "eight", "hasty timed out"});
      CHECK(limiter.stats().timed_out == 1);
      CHECK(limiter.set_options(limited(clock, 1e6, 3, to)).ok());
      clock.advance(3us);
      CHECK(limiter.try_acquire(3));
    }
  }
}

TEST_CASE("RateLimiter: closing refuses all who wait", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    RateLimiter limiter(limited(clock, 10, 1, algorithm));
    REQUIRE(limiter.try_acquire());
    Recorder<std::string> served;
    static_cast<void>(tell(limiter, served, "coroutine"));
    OpStatus end = OpStatus::kOk;
    std::thread waiting([&] { end = limiter.acquire(); });
    CHECK(in_line(limiter, 2));
    CHECK(limiter.close());
    waiting.join();
    CHECK(end == OpStatus::kClosed);
    CHECK(served.events() == Names{"coroutine closed"});
    clock.advance(1h);
    CHECK(limiter.stats().closed == 2);
    CHECK(limiter.stats().waiting == 0);
  }
}

Detached wait_on(RunLoop& /*loop*/, RateLimiter& limiter, std::uint64_t n, int& got) {
  const OpStatus status = co_await limiter.async_acquire(Context::background(), n);
  if (status == OpStatus::kOk) ++got;
}

TEST_CASE("RateLimiter: a coroutine may be destroyed while it waits", "[route][rate_limiter]") {
  ManualClock clock;
  RateLimiter limiter(limited(clock, 10, 2));
  REQUIRE(limiter.try_acquire(2));
  RunLoop loop;
  int got = 0;
  const Detached first = wait_on(loop, limiter, 2, got);
  const Detached second = wait_on(loop, limiter, 1, got);
  const Detached third = wait_on(loop, limiter, 1, got);
  SECTION("in line: the next one has its place") {
    clock.advance(100ms);
    first.handle.destroy();
    CHECK(loop.run_ready() == 1);
    CHECK(got == 1);
    CHECK(second.handle.done());
    clock.advance(100ms);
    CHECK(loop.run_ready() == 1);
    second.handle.destroy();
  }
  SECTION("served, but not resumed: its tokens are used") {
    clock.advance(200ms);
    CHECK(limiter.stats().waiting == 2);
    first.handle.destroy();
    CHECK(loop.run_ready() == 0);
    clock.advance(200ms);
    CHECK(loop.run_ready() == 2);
    CHECK(got == 2);
    second.handle.destroy();
  }
  third.handle.destroy();
}

TEST_CASE("RateLimiter: who is served may destroy it", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    ManualClock clock;
    auto limiter = std::make_unique<RateLimiter>(limited(clock, 10, 1, algorithm));
    REQUIRE(limiter->try_acquire());
    const auto run = [](std::unique_ptr<RateLimiter>& owner) -> Task<> {
      static_cast<void>(co_await owner->async_acquire());
      owner.reset();
    };
    static_cast<void>(spawn(Executor::inline_executor(), run(limiter)));
    clock.advance(100ms);
    CHECK(limiter == nullptr);
    CHECK(clock.armed() == 0);
  }
}

/// Has no timers, and cannot start any.
class TimerlessClock final : public Clock {
 public:
  [[nodiscard]] TimePoint now() const noexcept override { return TimePoint(1h); }
  void start_timers() override {
    throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
  }
  bool arm(Timer& /*timer*/, TimePoint /*when*/) noexcept override { return true; }
  void disarm(Timer& /*timer*/) noexcept override {}
};

TEST_CASE("RateLimiter: a clock that cannot start its timers makes a wait throw, and nothing else",
          "[route][rate_limiter]") {
  TimerlessClock clock;
  RateLimiter limiter(limited(clock, 10, 1));
  CHECK(limiter.acquire() == OpStatus::kOk);
  CHECK_THROWS_AS(limiter.acquire(), std::system_error);
  CHECK_THROWS_AS(sync_wait(acquire_in(limiter, Context::background(), 1)), std::system_error);
  CHECK_FALSE(limiter.try_acquire());
  CHECK(limiter.stats().waiting == 0);
}

TEST_CASE("RateLimiter: waiting does not allocate", "[route][rate_limiter]") {
  ManualClock clock;
  RateLimiter limiter(limited(clock, 10, 1));
  REQUIRE(limiter.try_acquire());
  std::uint64_t allocations = 1;
  std::atomic<int> taken{0};
  std::thread waiting([&] {
    static_cast<void>(limiter.acquire());  // the first wait of a thread may
    taken = 1;
    allocations = testing::allocations_of([&] { static_cast<void>(limiter.acquire()); });
    taken = 2;
  });
  for (const int take : {1, 2}) {
    // One token for each take, once it stands in line: were there a second one the next take would not have to wait.
    CHECK(eventually([&] { return limiter.stats().waiting == 1; }));
    clock.advance(100ms);
    CHECK(eventually([&] { return taken == take; }));
  }
  waiting.join();
  CHECK(limiter.stats().waited == 2);
  CHECK(allocations == 0);
}

TEST_CASE("RateLimiter: on the machine's clock no wait ends early", "[route][rate_limiter]") {
  for (const RateAlgorithm algorithm : kBothAlgorithms) {
    RateLimiter limiter(limited(Clock::steady(), 2000, 3, algorithm));
    const TimePoint begin = Clock::steady().now();
    std::vector<std::thread> threads;
    std::atomic<int> early{0};
    std::atomic<int> got{0};
    for (int thread = 0; thread != 3; ++thread) {
      threads.emplace_back([&] {
        for (int take = 0; take != 20; ++take) {
          if (limiter.acquire() != OpStatus::kOk) continue;
          const int number = ++got;
          // Three at once, then one each half millisecond.
          if (Clock::steady().now() - begin < (number - 3) * 500us) ++early;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(got == 60);
    CHECK(early == 0);
    CHECK(limiter.stats().waited > 0);    // nearly all, unless the machine is slow
    CHECK(limiter.stats().waited <= 57);  // but not those three
  }
}

}  // namespace
}  // namespace penstock
