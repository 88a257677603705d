// SPDX-License-Identifier: MIT
#include "penstock/exec/retry_budget.hpp"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;

constexpr TimePoint kNow{1h};

std::uint64_t withdraw_all(RetryBudget& budget, TimePoint now) {
  std::uint64_t count = 0;
  while (budget.try_withdraw(now)) ++count;
  return count;
}

TEST_CASE("RetryBudget: ten deposits of a tenth are one retry", "[exec][retry]") {
  for (const double ratio : {0.1, 0.2, 0.25, 0.5}) {
    CAPTURE(ratio);
    RetryBudget budget({.ratio = ratio, .capacity = 10, .per_second = 0});
    CHECK(withdraw_all(budget, kNow) == 10);
    for (int call = 1; call < std::llround(1 / ratio); ++call) {
      budget.deposit();
      if (budget.try_withdraw(kNow)) FAIL_CHECK("a retry after " << call << " calls");
    }
    budget.deposit();
    CHECK(budget.try_withdraw(kNow));
    CHECK(budget.balance(kNow) == 0);
  }
}

TEST_CASE("RetryBudget: keeps no more than its capacity", "[exec][retry]") {
  RetryBudget budget({.ratio = 0.4, .capacity = 2.5, .per_second = 0});
  CHECK(budget.balance(kNow) == 2.5);
  budget.deposit();
  CHECK(budget.balance(kNow) == 2.5);
  CHECK(withdraw_all(budget, kNow) == 2);
  CHECK(budget.balance(kNow) == testing::Approx(0.5));
  for (int call = 0; call < 100; ++call) budget.deposit();
  CHECK(budget.balance(kNow) == 2.5);
}

TEST_CASE("RetryBudget: so many a second are free, and kept for a second", "[exec][retry]") {
  RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 4});
  CHECK(budget.balance(kNow) == 5);
  CHECK(withdraw_all(budget, kNow) == 5);  // four free ones, then the one it began with
  CHECK(withdraw_all(budget, kNow + 250ms - 1ns) == 0);
  CHECK(withdraw_all(budget, kNow + 250ms) == 1);
  CHECK(budget.balance(kNow + 1h) == 4);
  CHECK(withdraw_all(budget, kNow + 1h) == 4);
  CHECK(withdraw_all(budget, kNow + 30min) == 0);  // a time that is read late takes nothing back
  CHECK(withdraw_all(budget, kNow + 1h + 500ms) == 2);
}

TEST_CASE("RetryBudget: less than one a second", "[exec][retry]") {
  RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 0.1});
  CHECK(withdraw_all(budget, kNow) == 2);
  CHECK(withdraw_all(budget, kNow + 10s - 1ns) == 0);
  CHECK(withdraw_all(budget, kNow + 10s) == 1);
  CHECK(withdraw_all(budget, kNow + 1h) == 1);
}

TEST_CASE("RetryBudget: at the ends of time", "[exec][retry]") {
  RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 1e-9});
  CHECK(withdraw_all(budget, TimePoint::min()) == 2);
  CHECK(withdraw_all(budget, TimePoint(0s)) == 1);  // 292 years later
  RetryBudget late({.ratio = 0, .capacity = 1, .per_second = 1'000'000});
  CHECK(late.try_withdraw(TimePoint::max()));
  CHECK(late.balance(TimePoint::max()) > 0);
}

TEST_CASE("RetryBudget: without limit", "[exec][retry]") {
  RetryBudget budget({.ratio = std::numeric_limits<double>::infinity(), .capacity = 1, .per_second = 0});
  budget.deposit();
  for (int retry = 0; retry < 1000; ++retry) {
    if (!budget.try_withdraw(kNow)) FAIL("refused");
  }
  CHECK(budget.balance(kNow) == std::numeric_limits<double>::infinity());
}

TEST_CASE("RetryBudget: with nothing to earn", "[exec][retry]") {
  RetryBudget budget({.ratio = 0, .capacity = 1, .per_second = 0});
  CHECK(budget.try_withdraw(kNow));
  for (int call = 0; call < 1000; ++call) budget.deposit();
  CHECK_FALSE(budget.try_withdraw(kNow + 1h));
}

TEST_CASE("RetryBudget: a large ratio is not larger than the bucket", "[exec][retry]") {
  RetryBudget budget({.ratio = 1e300, .capacity = 1'000'000, .per_second = 0});
  CHECK(withdraw_all(budget, kNow) == 1'000'000);
  budget.deposit();
  CHECK(budget.balance(kNow) == 1'000'000);
}

TEST_CASE("RetryBudget: refuses options that are none", "[exec][retry]") {
  CHECK_THROWS_WITH(RetryBudget({.ratio = -1, .capacity = 0, .per_second = 2e6}),
                    ContainsSubstring("options.ratio") && ContainsSubstring("options.capacity") &&
                        ContainsSubstring("options.per_second must be in [0, 1000000], got 2"));
}

TEST_CASE("RetryBudget: exact however many threads use it", "[exec][retry][stress]") {
  constexpr int kThreads = 4;
  constexpr std::uint64_t kRounds = 20'000;
  RetryBudget budget({.ratio = 0.25, .capacity = 1'000'000, .per_second = 10});
  std::uint64_t taken_before = 0;
  while (budget.balance(kNow) >= 1) taken_before += budget.try_withdraw(kNow) ? 1 : 0;
  CHECK(taken_before == 1'000'010);

  std::atomic<std::uint64_t> granted{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::uint64_t mine = 0;
      for (std::uint64_t round = 0; round < kRounds; ++round) {
        budget.deposit();
        // Time goes on in one of the threads alone, one free retry for each hundred of its rounds.
        const Duration since = thread == 0 ? Duration(100ms) * (round / 100) : 0ms;
        mine += budget.try_withdraw(kNow + since) ? 1 : 0;
      }
      granted += mine;
    });
  }
  for (std::thread& thread : threads) thread.join();
  const TimePoint end = kNow + Duration(100ms) * ((kRounds - 1) / 100);
  const std::uint64_t left = withdraw_all(budget, end);
  // All that was earned, and one for each tenth of a second.
  CHECK(granted + left == kThreads * kRounds / 4 + (kRounds - 1) / 100);
  CHECK(budget.balance(end) < 1);
}

}  // namespace
}  // namespace penstock
