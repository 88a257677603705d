// SPDX-License-Identifier: MIT
// A provider works on ten calls at a time; more of them queue inside of it. Nobody has told us. The limiter finds out
// from how long calls take: it goes up while they are quick, and stops where they begin to queue. Then the provider
// loses half of its machines, and the limit follows. Time is a clock that the program moves.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/concurrency_limiter.hpp"

using namespace std::chrono_literals;

int main() {
  penstock::ManualClock clock;
  penstock::ConcurrencyLimiterOptions options;
  options.name = "bedrock";
  options.algorithm = penstock::Gradient2Limit{.initial = 4, .min = 1, .max = 200};
  options.probe = penstock::LimitProbe{.samples = 20, .interval = 30s};  // so that it does not drift upwards
  options.max_waiting = 0;                                               // who finds no slot is told at once
  options.clock = &clock;
  penstock::ConcurrencyLimiter limiter(options);

  const penstock::TimePoint start = clock.now();
  std::size_t highest_before = 0;
  std::size_t last = 0;
  std::string refusal;
  for (int round = 0; clock.now() - start < 120s; ++round) {
    // A hundred callers want a slot at the same time.
    std::vector<penstock::ConcurrencyLimiter::Slot> slots;
    while (slots.size() < 100) {
      penstock::LimitRefusal why;
      auto slot = limiter.try_acquire({}, why);
      if (!slot) {
        if (refusal.empty()) refusal = to_status(why, limiter.name()).ToString();
        break;
      }
      slots.push_back(std::move(*slot));
    }

    // The provider takes 100 ms for as many as it has machines for, and longer for more.
    const bool is_halved = clock.now() - start >= 60s;
    const std::size_t machines = is_halved ? 5 : 10;
    clock.advance(100ms * std::max(slots.size(), machines) / machines);
    for (penstock::ConcurrencyLimiter::Slot& slot : slots) slot.success();  // timed by the limiter's clock

    last = limiter.limit();
    if (!is_halved) highest_before = std::max(highest_before, last);
    if (round % 50 == 0) {
      std::printf("%5.1f s  %2zu machines, %2zu calls, limit %2zu\n",
                  std::chrono::duration<double>(clock.now() - start).count(), machines, slots.size(), last);
    }
  }

  const penstock::ConcurrencyLimiterStats stats = limiter.stats();
  std::printf("the first refusal: %s\n", refusal.c_str());
  std::printf("%s: %llu calls went through, at most %zu at a time before the halving\n", stats.algorithm.c_str(),
              static_cast<unsigned long long>(stats.success), highest_before);
  return highest_before >= 10 && highest_before <= 25 && last < highest_before ? 0 : 1;
}
