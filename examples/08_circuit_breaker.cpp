// SPDX-License-Identifier: MIT
// A provider fails for a while. The circuit breaker stops calling it, asks again after 10 s with a single probe, waits
// longer each time the probe fails, and lets everybody through once it works. Time is a clock that the program moves.
#include <chrono>
#include <cstdio>
#include <string>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/circuit_breaker.hpp"

using namespace std::chrono_literals;

int main() {
  penstock::ManualClock clock;
  penstock::CircuitBreakerOptions options;
  options.name = "bedrock";
  options.window_size = 10;       // the last ten calls ...
  options.minimum_calls = 5;      // ... and of at least five ...
  options.failure_rate_pct = 50;  // ... not half may fail
  options.open_for = 10s;
  options.open_backoff = 2;  // 10 s, 20 s, 40 s ...
  options.half_open_permits = 1;
  options.clock = &clock;

  penstock::CircuitBreaker breaker(options);
  const penstock::TimePoint start = clock.now();
  const auto seconds = [&] { return std::chrono::duration<double>(clock.now() - start).count(); };
  breaker.on_transition([&](const penstock::BreakerTransition& change) {
    std::printf("%5.0f s  %s -> %s (%s)\n", seconds(), std::string(to_string(change.from)).c_str(),
                std::string(to_string(change.to)).c_str(), std::string(to_string(change.reason)).c_str());
  });

  // The provider is down from the 5th to the 30th second.
  const auto call_provider = [&] {
    return seconds() >= 5 && seconds() < 30 ? absl::UnavailableError("connection refused") : absl::OkStatus();
  };

  int sent = 0;
  std::string last_refusal;
  for (; seconds() < 60; clock.advance(1s)) {
    penstock::BreakerRefusal why;
    if (auto permit = breaker.try_acquire(why)) {
      ++sent;
      permit->settle(call_provider());  // forgotten, or skipped by an exception, it would be given back
    } else if (last_refusal.empty()) {
      last_refusal = to_status(why, breaker.name()).ToString();
    }
  }

  const penstock::CircuitBreakerStats stats = breaker.stats();
  std::printf("the first refusal: %s\n", last_refusal.c_str());
  std::printf("60 calls: %d sent, %d of them failed, %d refused\n", sent, static_cast<int>(stats.failed),
              static_cast<int>(stats.not_permitted));
  return stats.state == penstock::BreakerState::kClosed && stats.failed < 10 ? 0 : 1;
}
