// SPDX-License-Identifier: MIT

// No token of a retry budget is lost, made twice, or withdrawn by two: under every schedule.

#include "penstock/exec/retry_budget.hpp"

#include <chrono>

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_find;
using checker::must_pass;
using Kind = checker::Violation::Kind;
namespace world = penstock::detail::world;

namespace {

constexpr TimePoint kNow{std::chrono::hours(1)};

/// As `budget` when all that it began with was withdrawn.
void drain(RetryBudget& budget) {
  while (budget.try_withdraw(kNow)) {
  }
}

}  // namespace

TEST_CASE("RetryBudget: one token is for one retry, under every schedule", "[model][retry]") {
  must_pass({.name = "one token", .preemptions = 3, .executions = 5'000, .store_delay = true, .spurious_wakes = 1}, [] {
    RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 0});
    int granted[3] = {};
    world::Thread first([&] { granted[0] = budget.try_withdraw(kNow) ? 1 : 0; });
    world::Thread second([&] { granted[1] = budget.try_withdraw(kNow) ? 1 : 0; });
    granted[2] = budget.try_withdraw(kNow) ? 1 : 0;
    first.join();
    second.join();
    MODEL_ASSERT(granted[0] + granted[1] + granted[2] == 1);
    MODEL_ASSERT(budget.balance(kNow) == 0);
  });
}

TEST_CASE("RetryBudget: one free retry is for one, under every schedule", "[model][retry]") {
  must_pass({.name = "one free", .preemptions = 3, .executions = 5'000, .store_delay = true, .spurious_wakes = 1}, [] {
    RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 1});
    drain(budget);
    const TimePoint later = kNow + std::chrono::seconds(1);
    int granted[2] = {};
    world::Thread other([&] { granted[0] = budget.try_withdraw(later) ? 1 : 0; });
    granted[1] = budget.try_withdraw(later) ? 1 : 0;
    other.join();
    MODEL_ASSERT(granted[0] + granted[1] == 1);
  });
}

TEST_CASE("RetryBudget: deposits and withdrawals add up, under every schedule", "[model][retry]") {
  must_pass({.name = "conservation", .preemptions = 3, .executions = 5'000, .store_delay = true, .spurious_wakes = 1},
            [] {
              RetryBudget budget({.ratio = 0.5, .capacity = 2, .per_second = 0});
              drain(budget);
              double granted[2] = {};
              const auto calls = [&](double& mine) {
                budget.deposit();
                budget.deposit();
                mine = budget.try_withdraw(kNow) ? 1 : 0;
              };
              world::Thread other([&] { calls(granted[0]); });
              calls(granted[1]);
              other.join();
              MODEL_ASSERT(granted[0] + granted[1] == 2);  // each has paid for its own
              MODEL_ASSERT(budget.balance(kNow) == 0);
            });
}

TEST_CASE("RetryBudget: a full bucket never holds more, under every schedule", "[model][retry]") {
  must_pass({.name = "full", .preemptions = 3, .executions = 5'000, .store_delay = true, .spurious_wakes = 1}, [] {
    RetryBudget budget({.ratio = 1, .capacity = 1, .per_second = 0});
    world::Thread other([&] { budget.deposit(); });
    const bool granted = budget.try_withdraw(kNow);
    budget.deposit();
    other.join();
    MODEL_ASSERT(granted);
    MODEL_ASSERT(budget.balance(kNow) == 1);
  });
}

TEST_CASE("RetryBudget: a token that is looked at and taken in two steps is found", "[model][retry]") {
  must_find(Kind::kAssertion, {.name = "look, then take"}, 1'000, [] {
    world::Atomic<int> tokens{1};
    int granted[2] = {};
    const auto take = [&](int& mine) {
      const int seen = tokens.load(std::memory_order_relaxed);
      if (seen == 0) return;
      tokens.store(seen - 1, std::memory_order_relaxed);
      mine = 1;
    };
    world::Thread other([&] { take(granted[0]); });
    take(granted[1]);
    other.join();
    MODEL_ASSERT(granted[0] + granted[1] == 1);
  });
}
