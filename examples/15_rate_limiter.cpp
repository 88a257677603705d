// SPDX-License-Identifier: MIT
// A provider allows ten calls per second, and five at once. Who comes faster is told when to come again, or waits in
// line; who could not be served before its deadline does not wait at all. Time is a clock that the program moves.
#include <chrono>
#include <cstdio>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"
#include "penstock/route/rate_limiter.hpp"

using namespace std::chrono_literals;

namespace {

penstock::Task<bool> call(penstock::RateLimiter& limiter, penstock::Context ctx, int number) {
  penstock::RateRefusal why;
  const penstock::OpStatus status = co_await limiter.async_acquire(ctx, 1, why);
  if (status != penstock::OpStatus::kOk) {
    std::printf("call %d: %s\n", number, to_status(why, limiter.name()).ToString().c_str());
    co_return false;
  }
  std::printf("call %d goes\n", number);
  co_return true;
}

}  // namespace

int main() {
  penstock::ManualClock clock;
  penstock::RateLimiterOptions options;
  options.name = "openai";
  options.rate_per_second = 10;
  options.burst = 5;
  options.clock = &clock;
  penstock::RateLimiter limiter(options);

  // Now or never.
  int went = 0;
  while (limiter.try_acquire()) ++went;
  penstock::RateRefusal why;
  if (!limiter.try_acquire(1, why)) {
    std::printf("%d went at once, then: %s\n", went, to_status(why, limiter.name()).ToString().c_str());
  }

  // In turn, for at most 250 ms: two of three, and the third one learns at once that it is not worth waiting.
  penstock::RunLoop loop;
  const penstock::Context ctx = penstock::Context(clock).with_timeout(250ms);
  for (int number = 1; number <= 3; ++number) static_cast<void>(spawn(loop, call(limiter, ctx, number)));
  for (int step = 0; step != 3; ++step, clock.advance(100ms)) {
    loop.run_ready();
    std::printf("after %d ms: %zu in line\n", step * 100, limiter.stats().waiting);
  }

  // The provider allows more: from now on.
  options.rate_per_second = 100;
  const absl::Status changed = limiter.set_options(options);
  clock.advance(50ms);
  const penstock::RateLimiterStats stats = limiter.stats();
  std::printf("%s; %.0f tokens are there, %d calls went, %d came too late\n", changed.ToString().c_str(), stats.tokens,
              static_cast<int>(stats.acquired), static_cast<int>(stats.too_late));
  return went == 5 && stats.acquired == 7 && stats.too_late == 1 && stats.tokens >= 4.99 ? 0 : 1;
}
