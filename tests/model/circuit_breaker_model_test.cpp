// SPDX-License-Identifier: MIT

// Successes that are counted without the breaker's lock, against everything that changes what they are worth: under
// every schedule.

#include "penstock/route/circuit_breaker.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "penstock/core/manual_clock.hpp"
#include "penstock/route/detail/success_count.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::Calm;
using checker::must_find;
using checker::must_pass;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

CircuitBreakerOptions small(Clock& clock) {
  CircuitBreakerOptions options;
  options.name = "b";
  options.window_size = options.minimum_calls = 2;
  options.failure_rate_pct = 50;
  options.open_for = 10s;
  options.half_open_permits = 1;
  options.clock = &clock;
  return options;
}

/// Which row the calling thread counts in.
void use_row(std::uint32_t row) { world::thread_local_value<detail::SuccessRowTag, std::uint32_t>() = row; }

void success(CircuitBreaker& breaker) {
  if (auto permit = breaker.try_acquire()) permit->success();
}

/// A breaker with full window and both rows open: successes take no lock.
struct Warm {
  explicit Warm(CircuitBreakerOptions options) : breaker(std::move(options)) {
    for (const std::uint32_t row : {1U, 2U}) {
      use_row(row);
      success(breaker);
      success(breaker);
    }
  }
  static constexpr std::uint64_t kSuccesses = 4;

  CircuitBreaker breaker;
};

std::uint64_t reported(const CircuitBreakerStats& stats) {
  return stats.succeeded + stats.failed + stats.ignored + stats.abandoned + stats.late_results;
}

}  // namespace

TEST_CASE("CircuitBreaker: successes of two rows against the failure that opens it", "[model][circuit_breaker]") {
  for (const bool one_row : {true, false}) {
    must_pass({.name = one_row ? "opening, one row" : "opening, two rows", .preemptions = 2, .executions = 3'000}, [&] {
      ManualClock clock;
      std::optional<Warm> warm;
      {
        const Calm calm;
        warm.emplace(small(clock));
      }
      CircuitBreaker& breaker = warm->breaker;
      auto first = breaker.try_acquire();
      auto second = breaker.try_acquire();
      auto failure = breaker.try_acquire();
      world::Thread one([&] {
        use_row(1);
        first->success();
      });
      world::Thread two([&] {
        use_row(one_row ? 1 : 2);
        second->success();
      });
      failure->failure();  // with the one before, or with a success: a half of the last two
      MODEL_ASSERT(breaker.state() == BreakerState::kOpen);
      const CircuitBreakerStats at_once = breaker.stats();
      one.join();
      two.join();
      const CircuitBreakerStats stats = breaker.stats();
      MODEL_ASSERT(stats.state == BreakerState::kOpen && stats.failed == 1);
      MODEL_ASSERT(reported(stats) == Warm::kSuccesses + 3);
      MODEL_ASSERT(stats.succeeded == at_once.succeeded);  // whatever comes now is late
      MODEL_ASSERT(stats.window == (CallTally{2, 1, 0}));
    });
  }
}

TEST_CASE("CircuitBreaker: a thread's success comes before its failure", "[model][circuit_breaker]") {
  // Three successes and a failure are 25 %. Had the success of the failing thread come after its failure, that would
  // have been one of three.
  must_pass({.name = "order of one thread", .preemptions = 2, .executions = 3'000}, [] {
    ManualClock clock;
    CircuitBreakerOptions options = small(clock);
    options.window_size = 4;
    options.minimum_calls = 3;
    options.failure_rate_pct = 30;
    std::optional<CircuitBreaker> breaker;
    {
      const Calm calm;
      breaker.emplace(options);
      use_row(2);
      success(*breaker);
      use_row(1);
      success(*breaker);  // opens row 1; two are in the window, so two more may still wait
    }
    world::Thread other([&] {
      use_row(2);
      success(*breaker);
    });
    success(*breaker);
    breaker->try_acquire()->failure();
    MODEL_ASSERT(breaker->state() == BreakerState::kClosed);
    other.join();
    const CircuitBreakerStats stats = breaker->stats();
    MODEL_ASSERT(stats.state == BreakerState::kClosed);
    MODEL_ASSERT(stats.succeeded == 4 && stats.failed == 1 && stats.window == (CallTally{4, 1, 0}));
  });
}

TEST_CASE("CircuitBreaker: successes against stats", "[model][circuit_breaker]") {
  must_pass({.name = "stats", .preemptions = 3, .executions = 3'000}, [] {
    ManualClock clock;
    std::optional<Warm> warm;
    {
      const Calm calm;
      warm.emplace(small(clock));
    }
    CircuitBreaker& breaker = warm->breaker;
    world::Thread one([&] {
      use_row(1);
      success(breaker);
      success(breaker);
    });
    const std::uint64_t before = breaker.stats().succeeded;
    use_row(2);
    success(breaker);
    const std::uint64_t after = breaker.stats().succeeded;
    MODEL_ASSERT(before >= Warm::kSuccesses && after >= before + 1);
    one.join();
    MODEL_ASSERT(breaker.stats().succeeded == Warm::kSuccesses + 3);
  });
}

TEST_CASE("CircuitBreaker: a success against a reset is counted, or late", "[model][circuit_breaker]") {
  must_pass({.name = "reset", .preemptions = 3, .executions = 3'000}, [] {
    ManualClock clock;
    std::optional<Warm> warm;
    {
      const Calm calm;
      warm.emplace(small(clock));
    }
    CircuitBreaker& breaker = warm->breaker;
    world::Thread other([&] {
      use_row(1);
      success(breaker);
      success(breaker);
    });
    use_row(2);
    auto before = breaker.try_acquire();
    breaker.reset();
    before->success();
    success(breaker);  // of the new generation
    other.join();
    const CircuitBreakerStats stats = breaker.stats();
    MODEL_ASSERT(stats.succeeded + stats.late_results == Warm::kSuccesses + 4);
    MODEL_ASSERT(stats.late_results >= 1 && stats.succeeded >= Warm::kSuccesses + 2);
    MODEL_ASSERT(stats.window.failed == 0 && stats.window.calls >= 1 && stats.window.calls <= 2);
  });
}

TEST_CASE("CircuitBreaker: other options against acquisition and reports", "[model][circuit_breaker]") {
  must_pass({.name = "options", .preemptions = 2, .executions = 3'000}, [] {
    ManualClock clock;
    std::optional<Warm> warm;
    {
      const Calm calm;
      warm.emplace(small(clock));
    }
    CircuitBreaker& breaker = warm->breaker;
    world::Thread other([&] {
      use_row(1);
      if (auto permit = breaker.try_acquire()) permit->success(1s);  // slow from now on
      if (auto permit = breaker.try_acquire()) permit->failure();
    });
    CircuitBreakerOptions options = small(clock);
    options.window_size = options.minimum_calls = 5;
    options.slow_call = 1ms;
    MODEL_ASSERT(breaker.set_options(options).ok());
    use_row(2);
    success(breaker);
    other.join();
    const CircuitBreakerStats stats = breaker.stats();
    MODEL_ASSERT(reported(stats) + stats.not_permitted == Warm::kSuccesses + 3);
    // The failure opened it if it came before the options, when two calls were enough.
    const bool opened = stats.count(BreakerState::kClosed, BreakerState::kOpen) == 1;
    MODEL_ASSERT(opened == (stats.state == BreakerState::kOpen));
    // Of what came before the options two calls are left.
    MODEL_ASSERT(opened || (stats.window.calls >= 4 && stats.window.calls <= 5 && stats.window.failed == 1));
    MODEL_ASSERT(stats.slow <= 1);
  });
}

TEST_CASE("CircuitBreaker: other options against probes", "[model][circuit_breaker]") {
  must_pass({.name = "options and probes", .preemptions = 2, .executions = 3'000}, [] {
    ManualClock clock;
    CircuitBreakerOptions options = small(clock);
    std::optional<CircuitBreaker> breaker;
    {
      const Calm calm;
      breaker.emplace(options);
      breaker->try_acquire()->failure();
      breaker->try_acquire()->failure();
      clock.advance(10s + 1ns);
    }
    bool let_through[2] = {};
    const auto probe = [&](bool& mine) {
      if (auto permit = breaker->try_acquire()) {
        mine = true;
        permit->ignore();
      }
    };
    world::Thread one([&] { probe(let_through[0]); });
    world::Thread two([&] { probe(let_through[1]); });
    options.half_open_permits = 2;
    MODEL_ASSERT(breaker->set_options(options).ok());
    one.join();
    two.join();
    const CircuitBreakerStats stats = breaker->stats();
    const std::uint64_t granted = (let_through[0] ? 1U : 0U) + (let_through[1] ? 1U : 0U);
    MODEL_ASSERT(granted >= 1 && stats.ignored == granted && stats.not_permitted == 2 - granted);
    MODEL_ASSERT(stats.state == BreakerState::kHalfOpen && stats.probes == 0);
  });
}

TEST_CASE("CircuitBreaker: a probe is one caller's, and its success closes it for the others",
          "[model][circuit_breaker]") {
  must_pass({.name = "probe", .preemptions = 2, .executions = 3'000}, [] {
    ManualClock clock;
    std::optional<CircuitBreaker> breaker;
    {
      const Calm calm;
      breaker.emplace(small(clock));
      breaker->try_acquire()->failure();
      breaker->try_acquire()->failure();
      clock.advance(10s + 1ns);
    }
    world::Thread one([&] {
      use_row(1);
      success(*breaker);
    });
    use_row(2);
    success(*breaker);
    one.join();
    const CircuitBreakerStats stats = breaker->stats();
    MODEL_ASSERT(stats.state == BreakerState::kClosed);
    MODEL_ASSERT(stats.succeeded + stats.not_permitted == 2 && stats.late_results == 0);
    MODEL_ASSERT(stats.window.calls == stats.succeeded - 1);  // but for the probe
  });
}

TEST_CASE("CircuitBreaker: successes of a time window against the end of a bucket", "[model][circuit_breaker]") {
  must_pass({.name = "bucket", .preemptions = 2, .executions = 3'000}, [] {
    ManualClock clock;
    CircuitBreakerOptions options = small(clock);
    options.window = CircuitBreakerOptions::Window::kTime;
    options.bucket = 1s;
    options.minimum_calls = 100;
    std::optional<Warm> warm;
    {
      const Calm calm;
      warm.emplace(options);
    }
    CircuitBreaker& breaker = warm->breaker;
    world::Thread other([&] {
      use_row(1);
      success(breaker);
    });
    clock.advance(1s);
    use_row(2);
    success(breaker);  // in the new bucket
    other.join();
    MODEL_ASSERT(breaker.stats().window.calls == Warm::kSuccesses + 2);
    clock.advance(1s);
    const std::uint64_t left = breaker.stats().window.calls;
    MODEL_ASSERT(left == 1 || left == 2);  // the other's is in the one bucket or in the other
    clock.advance(1s);
    MODEL_ASSERT(breaker.stats().window.calls == 0 && breaker.stats().succeeded == Warm::kSuccesses + 2);
  });
}

TEST_CASE("CircuitBreaker: a changed classifier is the old one or the new one", "[model][circuit_breaker]") {
  must_pass({.name = "classifier", .preemptions = 2, .executions = 2'000}, [] {
    ManualClock clock;
    CircuitBreakerOptions options = small(clock);
    options.window_size = options.minimum_calls = 100;
    options.classify = [](const absl::Status&) { return CallOutcome::kIgnored; };
    CircuitBreaker breaker(options);
    world::Thread other([&] { breaker.try_acquire()->settle(absl::OkStatus()); });
    options.classify = [](const absl::Status&) { return CallOutcome::kSuccess; };
    MODEL_ASSERT(breaker.set_options(options).ok());
    breaker.try_acquire()->settle(absl::InternalError(""));
    other.join();
    const CircuitBreakerStats stats = breaker.stats();
    MODEL_ASSERT(stats.succeeded + stats.ignored == 2 && stats.succeeded >= 1 && stats.failed == 0);
  });
}

TEST_CASE("SuccessCount: nothing is lost, and nothing counted for another generation", "[model][circuit_breaker]") {
  must_pass({.name = "success count", .preemptions = 3, .executions = 3'000, .store_delay = true, .spurious_wakes = 1},
            [] {
              detail::SuccessCount successes;
              successes.open(1);
              int counted[2] = {};
              const auto count = [&](int& mine) {
                for (int call = 0; call < 2; ++call) mine += successes.count(1) ? 1 : 0;
              };
              world::Thread one([&] { count(counted[0]); });
              world::Thread two([&] { count(counted[1]); });
              const std::uint64_t taken = successes.take();
              const std::uint64_t last = successes.shut();
              successes.open(2);
              one.join();
              two.join();
              MODEL_ASSERT(taken + last == static_cast<std::uint64_t>(counted[0] + counted[1]));
              MODEL_ASSERT(successes.shut() == 0);
            });
}

TEST_CASE("SuccessCount: taking in two steps would lose a success", "[model][circuit_breaker]") {
  must_find(Kind::kAssertion, {.name = "read, then clear"}, 1'000, [] {
    world::Atomic<int> count{0};
    world::Thread other([&] { count.fetch_add(1, std::memory_order_relaxed); });
    int taken = count.load(std::memory_order_relaxed);
    count.store(0, std::memory_order_relaxed);
    other.join();
    taken += count.load(std::memory_order_relaxed);
    MODEL_ASSERT(taken == 1);
  });
}
