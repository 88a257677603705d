// SPDX-License-Identifier: MIT

#include <chrono>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/metrics/alert.hpp"
#include "penstock/metrics/prometheus_writer.hpp"
#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using penstock::Alert;
using penstock::AlertChange;
using penstock::AlertDirection;
using penstock::AlertRule;
using penstock::AlertState;
using penstock::Duration;
using penstock::TimePoint;
using penstock::testing::ContainsSubstring;
using penstock::testing::text_of;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr TimePoint kStart{1000s};

/// Bad below 0.8, well from 0.9 on, after 10 s, from 100 samples.
AlertRule hit_ratio() {
  AlertRule rule;
  rule.name = "hit ratio";
  rule.threshold = 0.8;
  rule.clear_at = 0.9;
  rule.hold = 10s;
  rule.min_count = 100;
  return rule;
}

AlertRule at_once(AlertDirection direction, double threshold) {
  AlertRule rule;
  rule.direction = direction;
  rule.threshold = threshold;
  return rule;
}

}  // namespace

TEST_CASE("Alert: is raised once the value has been bad for as long as the rule says", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(0.85, 100, kStart) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.step(0.5, 100, kStart + 1s) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kPending);
  CHECK(alert.since() == kStart + 1s);
  CHECK(alert.step(0.7, 100, kStart + 11s - 1ns) == AlertChange::kNone);
  CHECK(alert.step(0.6, 100, kStart + 11s) == AlertChange::kRaised);
  CHECK(alert.is_raised());
  CHECK(alert.since() == kStart + 11s);
  CHECK(alert.value() == 0.6);
  CHECK(alert.step(0.5, 100, kStart + 30s) == AlertChange::kNone);  // only once
  CHECK(alert.stats().raised == 1);
}

TEST_CASE("Alert: a value that is not bad begins the hold anew", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(0.5, 100, kStart) == AlertChange::kNone);
  CHECK(alert.step(0.8, 100, kStart + 9s) == AlertChange::kNone);  // the threshold itself is not bad
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.since() == kStart + 9s);
  CHECK(alert.step(0.5, 100, kStart + 10s) == AlertChange::kNone);
  CHECK(alert.step(0.5, 100, kStart + 19s) == AlertChange::kNone);
  CHECK(alert.step(0.5, 100, kStart + 20s) == AlertChange::kRaised);
}

TEST_CASE("Alert: is cleared at the other bound only, and at once", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(0.5, 100, kStart) == AlertChange::kNone);
  REQUIRE(alert.step(0.5, 100, kStart + 10s) == AlertChange::kRaised);
  CHECK(alert.step(0.85, 100, kStart + 100s) == AlertChange::kNone);  // between the two: as it was
  CHECK(alert.step(0.8999, 100, kStart + 101s) == AlertChange::kNone);
  CHECK(alert.since() == kStart + 10s);
  CHECK(alert.step(0.9, 100, kStart + 102s) == AlertChange::kCleared);
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.since() == kStart + 102s);
  CHECK(alert.step(0.85, 100, kStart + 103s) == AlertChange::kNone);  // between the two: as it was
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.stats().cleared == 1);
}

TEST_CASE("Alert: without a hold the first bad value raises it, without a bound of its own the threshold clears it",
          "[metrics][alert]") {
  Alert below(at_once(AlertDirection::kBelow, 5));
  CHECK(below.step(5, 0, kStart) == AlertChange::kNone);
  CHECK(below.step(4.9, 0, kStart) == AlertChange::kRaised);
  CHECK(below.step(4.9, 0, kStart) == AlertChange::kNone);
  CHECK(below.step(5, 0, kStart) == AlertChange::kCleared);

  Alert above(at_once(AlertDirection::kAbove, 5));
  CHECK(above.step(5, 0, kStart) == AlertChange::kNone);
  CHECK(above.step(5.1, 0, kStart) == AlertChange::kRaised);
  CHECK(above.step(5, 0, kStart) == AlertChange::kCleared);
}

TEST_CASE("Alert: above is below, upside down", "[metrics][alert]") {
  AlertRule rule = at_once(AlertDirection::kAbove, 100);
  rule.clear_at = 80;
  rule.hold = 1s;
  Alert alert(rule);
  CHECK(alert.step(101, 1, kStart) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kPending);
  CHECK(alert.step(100, 1, kStart + 500ms) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.step(200, 1, kStart + 1s) == AlertChange::kNone);
  CHECK(alert.step(200, 1, kStart + 2s) == AlertChange::kRaised);
  CHECK(alert.step(80.5, 1, kStart + 3s) == AlertChange::kNone);
  CHECK(alert.step(80, 1, kStart + 4s) == AlertChange::kCleared);
}

TEST_CASE("Alert: infinite values are on their side of the threshold", "[metrics][alert]") {
  Alert above(at_once(AlertDirection::kAbove, 5));
  CHECK(above.step(-kInf, 0, kStart) == AlertChange::kNone);
  CHECK(above.step(kInf, 0, kStart) == AlertChange::kRaised);
  CHECK(above.step(-kInf, 0, kStart) == AlertChange::kCleared);
}

TEST_CASE("Alert: no number, or one from too few samples, changes nothing", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(0.1, 99, kStart) == AlertChange::kNone);
  CHECK(alert.step(kNan, 100, kStart + 1s) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kCalm);
  CHECK(alert.value() != alert.value());  // there has been none
  CHECK(alert.step(0.5, 100, kStart + 2s) == AlertChange::kNone);
  CHECK(alert.step(kNan, 100, kStart + 4s) == AlertChange::kNone);
  CHECK(alert.step(0.95, 99, kStart + 5s) == AlertChange::kNone);
  CHECK(alert.state() == AlertState::kPending);
  CHECK(alert.step(kNan, 100, kStart + 100s) == AlertChange::kNone);  // nor does it raise
  CHECK(alert.state() == AlertState::kPending);
  CHECK(alert.step(0.5, 100, kStart + 101s) == AlertChange::kRaised);  // the hold went on
  CHECK(alert.step(kNan, 100, kStart + 102s) == AlertChange::kNone);
  CHECK(alert.step(1.0, 99, kStart + 103s) == AlertChange::kNone);
  CHECK(alert.is_raised());
  CHECK(alert.value() == 0.5);
  CHECK(alert.stats().count == 100);
  CHECK(alert.stats().steps == 9);
  CHECK(alert.stats().unknown == 4);
  CHECK(alert.stats().too_few == 3);
}

TEST_CASE("Alert: a NaN from too few samples is one that is not known", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(kNan, 0, kStart) == AlertChange::kNone);
  CHECK(alert.stats().unknown == 1);
  CHECK(alert.stats().too_few == 0);
}

TEST_CASE("Alert: a clock that steps back neither raises it early nor holds it up", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.step(0.5, 100, kStart) == AlertChange::kNone);
  CHECK(alert.step(0.5, 100, kStart + 6s) == AlertChange::kNone);
  CHECK(alert.step(0.5, 100, kStart - 500s) == AlertChange::kNone);  // 6 s have passed so far
  CHECK(alert.since() == kStart - 506s);
  SECTION("seen by values that count") {
    CHECK(alert.step(0.5, 100, kStart - 496s - 1ns) == AlertChange::kNone);
    CHECK(alert.step(0.5, 100, kStart - 496s) == AlertChange::kRaised);
  }
  SECTION("seen by one that does not") {
    CHECK(alert.step(kNan, 0, kStart - 800s) == AlertChange::kNone);
    CHECK(alert.step(0.5, 100, kStart - 796s - 1ns) == AlertChange::kNone);
    CHECK(alert.step(0.5, 100, kStart - 796s) == AlertChange::kRaised);
  }
}

TEST_CASE("Alert: the ends of time are times", "[metrics][alert]") {
  AlertRule rule = hit_ratio();
  rule.hold = Duration::max();
  Alert alert(rule);
  CHECK(alert.step(0.5, 100, TimePoint::min()) == AlertChange::kNone);
  CHECK(alert.step(0.5, 100, TimePoint() - 2ns) == AlertChange::kNone);
  SECTION("forward") {
    CHECK(alert.step(0.5, 100, TimePoint::max()) == AlertChange::kRaised);
    CHECK_FALSE(alert.text(TimePoint::max()).empty());
  }
  SECTION("and back") {
    CHECK(alert.step(0.5, 100, TimePoint::min()) == AlertChange::kNone);
    CHECK(alert.since() == TimePoint::min());
    CHECK(alert.step(0.5, 100, TimePoint::max()) == AlertChange::kRaised);
    CHECK(alert.step(0.5, 100, TimePoint::min()) == AlertChange::kNone);
    CHECK(alert.is_raised());
  }
}

TEST_CASE("AlertRule: validate names every violation", "[metrics][alert]") {
  CHECK(AlertRule().validate().ok());
  CHECK(hit_ratio().validate().ok());
  AlertRule rule = hit_ratio();
  rule.clear_at = 0.8;  // the threshold itself
  CHECK(rule.validate().ok());
  rule.name = std::string(257, 'n');
  rule.clear_at = 0.7;
  rule.hold = -1s;
  const std::string text = text_of(rule.validate());
  CHECK_THAT(text, ContainsSubstring("alert 'nnn"));
  CHECK_THAT(text, ContainsSubstring("options.name must be at most 256 bytes long, got 257"));
  CHECK_THAT(text, ContainsSubstring("options.clear_at must be at least threshold (0.8), got 0.7"));
  CHECK_THAT(text, ContainsSubstring("options.hold must be at least 0 s, got -1 s"));

  rule = at_once(AlertDirection::kAbove, 5);
  rule.clear_at = 5.5;
  CHECK(text_of(rule.validate()) == "alert 'unnamed': options.clear_at must be at most threshold (5), got 5.5");
  for (const double bad : {kNan, kInf, -kInf}) {
    rule = at_once(AlertDirection::kAbove, bad);
    rule.clear_at = bad;
    CHECK_THAT(text_of(rule.validate()), ContainsSubstring("options.threshold must be a finite number, got "));
    CHECK_THAT(text_of(rule.validate()), ContainsSubstring("options.clear_at must be a finite number, got "));
  }
  rule = at_once(static_cast<AlertDirection>(7), 5);
  rule.clear_at = 5;
  CHECK(text_of(rule.validate()) == "alert 'unnamed': options.direction must be kBelow or kAbove, got 7");
  CHECK_THROWS_AS(Alert(rule), std::invalid_argument);
}

TEST_CASE("Alert: says how it is", "[metrics][alert]") {
  Alert alert(hit_ratio());
  CHECK(alert.text(kStart) == "alert 'hit ratio': calm for 0 s, no value yet (bad below 0.8 for 10 s, well at 0.9)");
  (void)alert.step(0.25, 1200, kStart);
  CHECK(alert.text(kStart + 250ms) ==
        "alert 'hit ratio': pending for 250 ms, 0.25 from 1200 samples (bad below 0.8 for 10 s, well at 0.9)");
  (void)alert.step(0.25, 1200, kStart + 10s);
  CHECK_THAT(alert.text(kStart), ContainsSubstring("raised for 0 s"));  // asked of a clock that has stepped back
  Alert above(at_once(AlertDirection::kAbove, 5));
  (void)above.step(7, 1, kStart);
  CHECK(above.text(kStart) == "alert 'unnamed': raised for 0 s, 7 from 1 sample (bad above 5, well at 5)");

  CHECK(to_string(AlertDirection::kBelow) == "below");
  CHECK(to_string(AlertDirection::kAbove) == "above");
  CHECK(to_string(static_cast<AlertDirection>(7)) == "unknown");
  CHECK(to_string(AlertState::kCalm) == "calm");
  CHECK(to_string(AlertState::kPending) == "pending");
  CHECK(to_string(AlertState::kRaised) == "raised");
  CHECK(to_string(static_cast<AlertState>(7)) == "unknown");
  CHECK(to_string(AlertChange::kNone) == "none");
  CHECK(to_string(AlertChange::kRaised) == "raised");
  CHECK(to_string(AlertChange::kCleared) == "cleared");
  CHECK(to_string(static_cast<AlertChange>(7)) == "unknown");
}

TEST_CASE("Alert: gives a sink its figures", "[metrics][alert]") {
  Alert alert(hit_ratio());
  const auto page = [&alert] {
    penstock::PrometheusWriter writer;
    alert.collect(writer);
    return writer.text();
  };
  const std::string before = page();
  CHECK_THAT(before, ContainsSubstring("penstock_alert_active{alert=\"hit ratio\"} 0\n"));
  CHECK_THAT(before, !ContainsSubstring("penstock_alert_value"));
  (void)alert.step(0.5, 100, kStart);
  CHECK_THAT(page(), ContainsSubstring("penstock_alert_pending{alert=\"hit ratio\"} 1\n"));
  (void)alert.step(0.5, 100, kStart + 10s);
  (void)alert.step(0.95, 100, kStart + 11s);
  (void)alert.step(kNan, 100, kStart + 12s);
  (void)alert.step(0.5, 1, kStart + 13s);
  (void)alert.step(0.5, 100, kStart + 14s);
  (void)alert.step(0.25, 100, kStart + 24s);
  const std::string after = page();
  CHECK_THAT(after, ContainsSubstring("penstock_alert_active{alert=\"hit ratio\"} 1\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_pending{alert=\"hit ratio\"} 0\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_threshold{alert=\"hit ratio\"} 0.8\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_value{alert=\"hit ratio\"} 0.25\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_raised_total{alert=\"hit ratio\"} 2\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_cleared_total{alert=\"hit ratio\"} 1\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_steps_total{alert=\"hit ratio\"} 7\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_unknown_total{alert=\"hit ratio\"} 1\n"));
  CHECK_THAT(after, ContainsSubstring("penstock_alert_too_few_total{alert=\"hit ratio\"} 1\n"));
}

// --- against a reference that remembers everything and looks back ---

namespace {

/// Keeps all steps, and finds out from them alone, each time anew, how things stand.
class Remembering {
 public:
  explicit Remembering(const AlertRule& rule) : rule_(rule) {}

  AlertChange step(double value, std::uint64_t count, TimePoint now) {
    if (!times_.empty() && now > times_.back()) passed_ += now - times_.back();
    times_.push_back(now);
    if (value != value || count < rule_.min_count) return AlertChange::kNone;
    looks_.push_back({rule_.direction == AlertDirection::kBelow ? value : -value, passed_});
    const bool was = raised_;
    raised_ = was ? !is_well() : is_bad_for_long();
    if (raised_ && !was) since_raised_ = passed_;
    if (!raised_ && was) first_ = looks_.size();  // what came before the end of an alert is no reason for the next
    return raised_ == was ? AlertChange::kNone : raised_ ? AlertChange::kRaised : AlertChange::kCleared;
  }

  [[nodiscard]] bool is_raised() const { return raised_; }
  [[nodiscard]] bool is_pending() const { return !raised_ && bad_in_a_row() != 0; }
  /// How long it has been raised or pending. Requires: it is one of them.
  [[nodiscard]] Duration lasted() const {
    return passed_ - (raised_ ? since_raised_ : looks_[looks_.size() - bad_in_a_row()].passed);
  }

 private:
  struct Look {
    double value;  // the higher the better
    Duration passed;
  };

  [[nodiscard]] double sign() const { return rule_.direction == AlertDirection::kBelow ? 1 : -1; }
  [[nodiscard]] bool is_well() const {
    return looks_.back().value >= sign() * (rule_.clear_at ? *rule_.clear_at : rule_.threshold);
  }
  [[nodiscard]] std::size_t bad_in_a_row() const {
    std::size_t bad = 0;
    for (std::size_t i = looks_.size(); i > first_ && looks_[i - 1].value < sign() * rule_.threshold; --i) ++bad;
    return bad;
  }
  [[nodiscard]] bool is_bad_for_long() const {
    const std::size_t bad = bad_in_a_row();
    return bad != 0 && passed_ - looks_[looks_.size() - bad].passed >= rule_.hold;
  }

  const AlertRule rule_;
  std::vector<TimePoint> times_;
  std::vector<Look> looks_;
  std::size_t first_ = 0;
  Duration passed_{};
  Duration since_raised_{};
  bool raised_ = false;
};

}  // namespace

TEST_CASE("Alert: under random rules, values and clocks it does what the whole past says", "[metrics][alert]") {
  std::mt19937_64 random(20);
  const auto below = [&random](std::uint64_t end) { return random() % end; };
  std::uint64_t raised = 0;
  std::uint64_t cleared = 0;
  for (int round = 0; round < 2000; ++round) {
    AlertRule rule;
    rule.direction = below(2) == 0 ? AlertDirection::kBelow : AlertDirection::kAbove;
    rule.threshold = static_cast<double>(below(7));
    const double sign = rule.direction == AlertDirection::kBelow ? 1 : -1;
    if (below(2) == 0) rule.clear_at = rule.threshold + sign * static_cast<double>(below(3));
    rule.hold = Duration(below(3) == 0 ? 0 : below(20));
    rule.min_count = below(4);
    Alert alert(rule);
    Remembering reference(rule);
    TimePoint now = kStart;
    const std::uint64_t drift = 1 + below(8);  // values that stay for a while, and such that jump
    double value = rule.threshold;
    for (int i = 0; i < 200; ++i) {
      now += Duration(below(6));
      if (below(20) == 0) now -= Duration(below(40));
      if (below(drift) == 0) value = static_cast<double>(below(9)) - 1;
      const double seen = below(10) == 0 ? kNan : below(30) == 0 ? (below(2) == 0 ? kInf : -kInf) : value;
      const std::uint64_t count = below(5);
      const AlertChange change = alert.step(seen, count, now);
      raised += change == AlertChange::kRaised ? 1 : 0;
      cleared += change == AlertChange::kCleared ? 1 : 0;
      const bool is_same = change == reference.step(seen, count, now) && alert.is_raised() == reference.is_raised() &&
                           (alert.state() == AlertState::kPending) == reference.is_pending() &&
                           (alert.state() == AlertState::kCalm || now - alert.since() == reference.lasted());
      if (!is_same) {
        CAPTURE(round, i, seen, count, alert.text(now));
        FAIL("it differs from the reference");
      }
    }
    CHECK(alert.stats().raised == alert.stats().cleared + (alert.is_raised() ? 1 : 0));
  }
  CHECK(raised > 10'000);  // or nothing was tested
  CHECK(cleared > 10'000);
}
