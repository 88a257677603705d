// SPDX-License-Identifier: MIT
#include "penstock/exec/launch_policy.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::text_of;

struct Row {
  std::size_t waiters;
  std::size_t starters;
  std::size_t runners;
  std::uint64_t wait_ms;
  std::uint64_t start_ms;
  std::uint64_t run_ms;
  bool needed;
};

LaunchSample sample_of(const Row& row) {
  return {.waiters = row.waiters,
          .starters = row.starters,
          .runners = row.runners,
          .wait_ms = row.wait_ms,
          .start_ms = row.start_ms,
          .run_ms = row.run_ms};
}

TEST_CASE("DocumentLaunch: the published rows", "[exec][slot_queue]") {
  const std::vector<Row> rows{
      {0, 0, 5, 900, 1, 1, false},       {1, 0, 0, 0, 0, 0, true},         {1, 1, 0, 0, 0, 0, false},
      {1, 1, 0, 900, 1, 1, false},       {5, 4, 0, 0, 0, 0, false},        {5, 4, 0, 1, 0, 0, true},
      {100, 0, 1, 0, 300, 60000, false}, {10, 0, 4, 100, 1000, 199, true}, {10, 0, 4, 100, 1000, 203, false},
      {10, 0, 1, 100, 1000, 99, true},   {10, 0, 1, 100, 99, 5000, true},  {10, 0, 1, 100, 100, 100, false},
      {10, 0, 4, 100, 1000, 200, false}, {10, 2, 2, 100, 1000, 199, true}, {10, 0, 4, 100, 100, 204, false},
      {0, 0, 0, 0, 0, 0, false},
  };
  for (const Row& row : rows) {
    INFO(row.waiters << " " << row.starters << " " << row.runners << " " << row.wait_ms << " " << row.start_ms << " "
                     << row.run_ms);
    CHECK(DocumentLaunch{}.decide(sample_of(row)) == LaunchDecision{.launches = row.needed ? 1U : 0U});
  }
}

/// The rule again, as the table says it: the first row that holds.
bool document_reference(const Row& row) {
  const std::uint64_t executors = row.starters + row.runners;
  if (row.waiters == 0) return false;
  if (row.starters >= row.waiters) return false;
  if (row.starters + row.runners == 0) return true;
  if (row.wait_ms == 0) return false;
  if (row.run_ms / executors * 2 < row.wait_ms) return true;
  if (row.run_ms < row.wait_ms) return true;
  if (row.start_ms < row.wait_ms) return true;
  return false;
}

TEST_CASE("DocumentLaunch: against the table", "[exec][slot_queue]") {
  std::mt19937_64 random(3);  // NOLINT(cert-msc51-cpp): the same each time
  for (int i = 0; i != 200'000; ++i) {
    const auto below = [&](std::uint64_t end) { return random() % end; };
    const Row row{below(4), below(4), below(4), below(5) * below(100), below(500), below(500), false};
    REQUIRE((DocumentLaunch{}.decide(sample_of(row)).launches == 1) == document_reference(row));
  }
}

TEST_CASE("EffectiveLaunch: the published rows", "[exec][slot_queue]") {
  const auto needed = [](std::size_t queued, std::size_t starting, std::size_t idle) {
    return EffectiveLaunch{}.decide({.waiters = queued, .starters = starting, .idle = idle}).launches != 0;
  };
  CHECK_FALSE(needed(0, 0, 0));
  CHECK_FALSE(needed(1, 10, 0));
  CHECK(needed(10, 1, 0));
  CHECK_FALSE(needed(10, 0, 11));
  CHECK(needed(10, 0, 5));
  CHECK(needed(1, 0, 0));
}

TEST_CASE("CustomLaunch: what stands still is stalled", "[exec][slot_queue]") {
  // A rule that fn has had for a while, and that needs what was before.
  LaunchSample last;
  const LaunchPolicy policy = CustomLaunch{[&last](const LaunchSample& sample) {
    const bool stalled =
        sample.wait_ms == last.wait_ms && sample.start_ms == last.start_ms && sample.run_ms == last.run_ms;
    last = sample;
    return LaunchDecision{.launches = stalled && sample.waiters != 0 ? 1U : 0U};
  }};
  const LaunchSample steady{.waiters = 1, .wait_ms = 5, .start_ms = 5, .run_ms = 5};
  CHECK(decide(policy, steady).launches == 0);
  CHECK(decide(policy, steady).launches == 1);
  CHECK(decide(policy, {.waiters = 1, .wait_ms = 6, .start_ms = 5, .run_ms = 5}).launches == 0);
}

TEST_CASE("CombinedLaunch: one for each who lacks one", "[exec][slot_queue]") {
  const CombinedLaunch policy;
  CHECK(policy.decide({.waiters = 5}).launches == 5);
  CHECK(policy.decide({.waiters = 5, .starters = 2}).launches == 3);
  CHECK(policy.decide({.waiters = 5, .starters = 2, .idle = 2}).launches == 1);
  CHECK(policy.decide({.waiters = 5, .starters = 9}) == LaunchDecision{});
  CHECK(policy.decide({}) == LaunchDecision{});
  // Where the document's rule waits for ever.
  CHECK(policy.decide({.waiters = 100, .runners = 1, .start_ms = 300, .run_ms = 60'000}).launches == 100);
}

TEST_CASE("CombinedLaunch: the first in line has waited", "[exec][slot_queue]") {
  const CombinedLaunch policy{.patience = 100ms};
  CHECK(policy.decide({.waiters = 2, .oldest_wait = 30ms}) == LaunchDecision{.look_again_in = 70ms});
  CHECK(policy.decide({.waiters = 2, .oldest_wait = 100ms}).launches == 2);
  CHECK(policy.decide({.waiters = 2, .oldest_wait = -1h}) == LaunchDecision{.look_again_in = 100ms});
}

TEST_CASE("CombinedLaunch: so many at once, and no faster", "[exec][slot_queue]") {
  const CombinedLaunch policy{.at_once = 2, .interval = 1s};
  CHECK(policy.decide({.waiters = 5}) == LaunchDecision{.launches = 2, .look_again_in = 1s});
  CHECK(policy.decide({.waiters = 2}) == LaunchDecision{.launches = 2});
  CHECK(policy.decide({.waiters = 5, .starters = 2, .since_last_launch = 400ms}) ==
        LaunchDecision{.look_again_in = 600ms});
  CHECK(policy.decide({.waiters = 5, .starters = 2, .since_last_launch = 1s}).launches == 2);
}

TEST_CASE("CombinedLaunch: its limits", "[exec][slot_queue]") {
  CHECK(CombinedLaunch{.max_starters = 3}.decide({.waiters = 9, .starters = 1}).launches == 2);
  CHECK(CombinedLaunch{.max_runners = 4}.decide({.waiters = 9, .starters = 1, .runners = 2}).launches == 1);
  CHECK(CombinedLaunch{.max_runners = 4}.decide({.waiters = 9, .runners = 7}) == LaunchDecision{});
}

TEST_CASE("CombinedLaunch: it cannot stall", "[exec][slot_queue]") {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  std::mt19937_64 random(5);  // NOLINT(cert-msc51-cpp): the same each time
  const auto below = [&](std::uint64_t end) { return static_cast<std::size_t>(random() % end); };
  const auto some_time = [&] {
    return below(8) == 0 ? Duration::max() - 1ns : Duration(static_cast<Duration::rep>(below(1'000)));
  };
  for (int i = 0; i != 200'000; ++i) {
    const CombinedLaunch policy{.patience = some_time(),
                                .at_once = 1 + below(4),
                                .interval = some_time(),
                                .max_starters = below(2) == 0 ? kMost : 1 + below(6),
                                .max_runners = below(2) == 0 ? kMost : 1 + below(6)};
    const LaunchSample sample{.waiters = below(20) == 0 ? kMost : below(10),
                              .starters = below(20) == 0 ? kMost : below(6),
                              .runners = below(6),
                              .idle = below(4),
                              .oldest_wait = some_time(),
                              .since_last_launch = some_time()};
    const LaunchDecision decision = policy.decide(sample);
    const std::size_t served = sample.idle > kMost - sample.starters ? kMost : sample.idle + sample.starters;
    const bool lacks = sample.waiters > served;
    const bool has_room =
        sample.starters < policy.max_starters &&
        (sample.starters < policy.max_runners && sample.runners < policy.max_runners - sample.starters);
    // Who lacks a slot while there is room gets a launch, or a time that is no later than both waits together.
    const bool moves =
        decision.launches != 0 || (decision.look_again_in <= std::max(policy.patience, policy.interval) &&
                                   decision.look_again_in > Duration::zero());
    REQUIRE(moves == (lacks && has_room));
    if (decision.launches != 0) {
      REQUIRE(decision.launches <= sample.waiters - served);
      REQUIRE(sample.starters + decision.launches <= policy.max_starters);
      REQUIRE(sample.oldest_wait >= policy.patience);
      REQUIRE(sample.since_last_launch >= policy.interval);
    }
  }
}

TEST_CASE("LaunchPolicy: what is wrong with one is said at once", "[exec][slot_queue]") {
  CHECK(validate(CombinedLaunch{}).ok());
  CHECK(validate(DocumentLaunch{}).ok());
  CHECK(validate(EffectiveLaunch{}).ok());
  const absl::Status bad =
      validate(CombinedLaunch{.patience = -1ms, .at_once = 0, .interval = -2s, .max_starters = 0, .max_runners = 0});
  CHECK(absl::IsInvalidArgument(bad));
  CHECK(text_of(bad) ==
        "options.patience must be at least 0, got -1 ms; options.at_once must be at least 1, got 0; options.interval "
        "must be at least 0, got -2 s; options.max_starters must be at least 1, got 0; options.max_runners must be at "
        "least 1, got 0");
  CHECK_THAT(text_of(validate(CustomLaunch{})), ContainsSubstring("decide must be a function"));
}

}  // namespace
}  // namespace penstock
