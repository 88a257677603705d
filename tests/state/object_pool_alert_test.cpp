// SPDX-License-Identifier: MIT

// The alert on a low hit ratio.

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/state/object_pool.hpp"

#include "support/catch.hpp"
#include "support/status_text.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::ContainsSubstring;
using testing::text_of;

AlertRule below(double threshold) {
  AlertRule rule;
  rule.name = "messages";
  rule.threshold = threshold;
  return rule;
}

struct Watched {
  ManualClock clock;
  std::vector<AlertChange> changes;
  std::string text;
  ObjectPool<int> pool;

  explicit Watched(AlertRule rule)
      : pool({.name = "messages",
              .purge_every = 10s,
              .alert = std::move(rule),
              .on_alert =
                  [this](AlertChange change, const std::string& what) {
                    changes.push_back(change);
                    text = what;
                  },
              .clock = &clock}) {}

  void miss(int times) {
    for (int i = 0; i != times; ++i) pool.acquire()->discard();
  }
  void hit(int times) {
    static_cast<void>(pool.acquire());
    for (int i = 0; i != times; ++i) static_cast<void>(pool.acquire());
  }
};

TEST_CASE("ObjectPool: the clock's purge looks at the hit ratio since it looked last", "[state][object_pool]") {
  Watched watched(below(kMessageHitFloor));
  watched.hit(99);
  watched.clock.advance(10s);
  CHECK(watched.changes.empty());
  watched.miss(10);
  watched.clock.advance(10s);
  CHECK(watched.changes == std::vector<AlertChange>{AlertChange::kRaised});
  CHECK_THAT(watched.text, ContainsSubstring("alert 'messages': raised"));
  watched.clock.advance(10s);  // nothing was asked for: that says nothing
  CHECK(watched.changes.size() == 1);
  CHECK(watched.pool.stats().alert.state == AlertState::kRaised);
  watched.hit(99);
  CHECK(watched.pool.check_alert() == AlertChange::kCleared);
  CHECK(watched.changes.back() == AlertChange::kCleared);
  CHECK(watched.pool.check_alert() == AlertChange::kNone);
}

TEST_CASE("ObjectPool: few requests are put to those that come later", "[state][object_pool]") {
  AlertRule rule = below(0.5);
  rule.min_count = 10;
  Watched watched(rule);
  watched.miss(6);
  CHECK(watched.pool.check_alert() == AlertChange::kNone);
  watched.miss(6);
  CHECK(watched.pool.check_alert() == AlertChange::kRaised);
  CHECK(watched.pool.stats().alert.count == 12);
}

TEST_CASE("ObjectPool: an alert that is wrong is refused, and one that throws is counted", "[state][object_pool]") {
  ObjectPoolOptions<int> options{.name = "p", .alert = below(0.5)};
  options.alert->hold = -1s;
  CHECK_THAT(text_of(options.validate()), ContainsSubstring("options.alert must be a valid rule"));
  options.purge_every = Duration::max();
  options.alert = below(0.5);
  options.on_alert = [](AlertChange, const std::string&) { throw std::runtime_error("no"); };
  ObjectPool<int> pool(options);
  static_cast<void>(pool.acquire());
  CHECK(pool.check_alert() == AlertChange::kRaised);
  CHECK(pool.stats().caught_exceptions == 1);
}

TEST_CASE("ObjectPool: without a rule there is no alert", "[state][object_pool]") {
  ObjectPool<int> pool({.name = "p", .purge_every = Duration::max()});
  static_cast<void>(pool.acquire());
  CHECK(pool.check_alert() == AlertChange::kNone);
  CHECK(pool.stats().alert.steps == 0);
}

}  // namespace
}  // namespace penstock
