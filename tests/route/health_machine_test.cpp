// SPDX-License-Identifier: MIT

// The decisions of a health watch, without clocks and threads.

#include "penstock/route/detail/health_machine.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "support/catch.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using penstock::detail::HealthMachine;
using penstock::detail::HealthRules;
using penstock::detail::HealthVerdict;
using Kind = HealthVerdict::Kind;

namespace {

const TimePoint kStart(1h);

/// One check after another, each a second long, 10 s apart.
struct Series {
  explicit Series(HealthRules rules, Health start = Health::kUnknown, bool first_decides = false)
      : machine(rules, start, first_decides, kStart) {}

  HealthVerdict check(bool passed) {
    at += 10s;
    const std::uint64_t number = machine.begin(at - 1s, at + 4s);
    return machine.end(number, at, passed);
  }

  HealthMachine machine;
  TimePoint at = kStart;
};

}  // namespace

TEST_CASE("HealthMachine: so many failures in a row, and one success, make the difference", "[route][health_monitor]") {
  Series series({.unhealthy_after = 3, .healthy_after = 1});
  CHECK(series.machine.health() == Health::kUnknown);
  CHECK(series.check(true).to == Health::kHealthy);
  series.check(false);
  series.check(false);
  CHECK(series.check(true).to == Health::kHealthy);  // in a row
  series.check(false);
  CHECK(series.check(false).to == Health::kHealthy);
  const HealthVerdict third = series.check(false);
  CHECK(third.kind == Kind::kFailed);
  CHECK(third.from == Health::kHealthy);
  CHECK(third.to == Health::kUnhealthy);
  CHECK(series.machine.since() == series.at);
  const HealthVerdict fourth = series.check(false);
  CHECK(fourth.from == fourth.to);
  CHECK(series.machine.since() == series.at - 10s);
  CHECK(series.machine.failures_in_a_row() == 4);
  CHECK(series.check(true).to == Health::kHealthy);
  CHECK(series.machine.failures_in_a_row() == 0);
  CHECK(series.machine.successes_in_a_row() == 1);
}

TEST_CASE("HealthMachine: so many successes in a row", "[route][health_monitor]") {
  Series series({.unhealthy_after = 1, .healthy_after = 2});
  CHECK(series.check(true).to == Health::kUnknown);
  CHECK(series.check(false).to == Health::kUnhealthy);
  CHECK(series.check(true).to == Health::kUnhealthy);
  CHECK(series.check(false).to == Health::kUnhealthy);
  CHECK(series.check(true).to == Health::kUnhealthy);
  CHECK(series.check(true).to == Health::kHealthy);
}

TEST_CASE("HealthMachine: the first check decides alone where it is told to", "[route][health_monitor]") {
  Series passes({.unhealthy_after = 3, .healthy_after = 5}, Health::kUnhealthy, true);
  CHECK(passes.check(true).to == Health::kHealthy);
  CHECK(passes.check(false).to == Health::kHealthy);
  Series fails({.unhealthy_after = 3, .healthy_after = 2}, Health::kUnhealthy, true);
  CHECK(fails.check(false).to == Health::kUnhealthy);
  CHECK(fails.check(true).to == Health::kUnhealthy);
  CHECK(fails.check(true).to == Health::kHealthy);
  Series unknown({.unhealthy_after = 3}, Health::kUnknown, true);
  CHECK(unknown.check(false).to == Health::kUnhealthy);
}

TEST_CASE("HealthMachine: a check has failed at its deadline, and what it says later does not matter",
          "[route][health_monitor]") {
  HealthMachine machine({.interval = 10s, .unhealthy_after = 1}, Health::kHealthy, false, kStart);
  const std::uint64_t number = machine.begin(kStart, kStart + 5s);
  CHECK(machine.due() == kStart + 5s);
  CHECK(machine.advance(kStart + 5s - 1ns).kind == Kind::kNone);
  const HealthVerdict verdict = machine.advance(kStart + 5s);
  CHECK(verdict.kind == Kind::kTimedOut);
  CHECK(verdict.is_first);
  CHECK(verdict.to == Health::kUnhealthy);
  CHECK(machine.known() == number);
  CHECK(machine.is_checking());
  CHECK(machine.end(number, kStart + 6s, true).kind == Kind::kNone);
  CHECK(machine.health() == Health::kUnhealthy);
  CHECK(machine.counts() == HealthMachine::Counts{.checks = 1, .timed_out = 1, .late_results = 1});
  CHECK(machine.due() == TimePoint::max());
}

TEST_CASE("HealthMachine: an end at the deadline that nobody has noticed is too late", "[route][health_monitor]") {
  HealthMachine machine({.interval = 10s, .unhealthy_after = 2}, Health::kHealthy, false, kStart);
  const HealthVerdict verdict = machine.end(machine.begin(kStart, kStart + 5s), kStart + 5s, true);
  CHECK(verdict.kind == Kind::kTimedOut);
  CHECK(verdict.at == kStart + 5s);
  CHECK(machine.failures_in_a_row() == 1);
  CHECK(machine.counts() == HealthMachine::Counts{.checks = 1, .timed_out = 1, .late_results = 1});
}

TEST_CASE("HealthMachine: what hangs fails once more in each interval", "[route][health_monitor]") {
  HealthMachine machine({.interval = 10s, .unhealthy_after = 3}, Health::kHealthy, false, kStart);
  const std::uint64_t number = machine.begin(kStart, kStart + 5s);
  CHECK(machine.advance(kStart + 5s).to == Health::kHealthy);
  CHECK(machine.due() == kStart + 15s);
  CHECK(machine.advance(kStart + 15s).to == Health::kHealthy);
  // However late anybody looks, it is unhealthy from when the third was due.
  const HealthVerdict late = machine.advance(kStart + 60s);
  CHECK(late.times == 4);
  CHECK_FALSE(late.is_first);
  CHECK(late.to == Health::kUnhealthy);
  CHECK(late.at == kStart + 55s);
  CHECK(machine.since() == kStart + 25s);
  machine.end(number, kStart + 64s, false);
  CHECK(machine.counts() == HealthMachine::Counts{.checks = 1, .timed_out = 1, .overdue = 5, .late_results = 1});
}

TEST_CASE("HealthMachine: ends of what is not on its way are counted and ignored", "[route][health_monitor]") {
  HealthMachine machine({.unhealthy_after = 1}, Health::kUnknown, false, kStart);
  machine.end(1, kStart, false);
  const std::uint64_t number = machine.begin(kStart, TimePoint::max());
  machine.end(number + 1, kStart, false);
  CHECK(machine.health() == Health::kUnknown);
  CHECK(machine.advance(kStart + 1000h).kind == Kind::kNone);
  machine.end(number, kStart, true);
  machine.end(number, kStart, false);
  CHECK(machine.health() == Health::kHealthy);
  CHECK(machine.counts().late_results == 3);
}

TEST_CASE("HealthMachine: a clock that steps back is harmless", "[route][health_monitor]") {
  HealthMachine machine({.interval = 10s, .unhealthy_after = 1}, Health::kUnknown, false, kStart);
  const std::uint64_t number = machine.begin(kStart, kStart + 5s);
  CHECK(machine.advance(kStart - 30min).kind == Kind::kNone);
  CHECK(machine.end(number, kStart - 30min, true).to == Health::kHealthy);
}

// --- against a naive reference ---

namespace {

/// Remembers everything, and derives all from that.
struct Reference {
  struct Result {
    TimePoint at;
    bool passed;
  };

  HealthRules rules;
  Health start;
  bool first_decides;
  std::vector<Result> results;
  std::uint64_t checks = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t overdue = 0;
  std::uint64_t late = 0;
  bool on_its_way = false;
  bool is_known = false;
  TimePoint due;
  Health health_now;
  TimePoint since = kStart;

  void begin(TimePoint deadline) {
    ++checks;
    on_its_way = true;
    is_known = false;
    due = deadline;
  }
  void advance(TimePoint now) {
    while (on_its_way && due <= now) {
      ++(is_known ? overdue : timed_out);
      is_known = true;
      add({due, false});
      due += rules.interval;
    }
  }
  void end(TimePoint now, bool passed) {
    advance(now);
    on_its_way = false;
    if (is_known) {
      ++late;
    } else {
      add({now, passed});
    }
  }
  [[nodiscard]] std::uint64_t in_a_row(bool passed) const {
    std::uint64_t count = 0;
    for (auto result = results.rbegin(); result != results.rend() && result->passed == passed; ++result) ++count;
    return count;
  }
  void add(Result result) {
    results.push_back(result);
    Health next = health_now;
    if (results.size() == 1 && first_decides) {
      next = result.passed ? Health::kHealthy : Health::kUnhealthy;
    } else if (result.passed && in_a_row(true) >= rules.healthy_after) {
      next = Health::kHealthy;
    } else if (!result.passed && in_a_row(false) >= rules.unhealthy_after) {
      next = Health::kUnhealthy;
    }
    if (next != health_now) since = result.at;
    health_now = next;
  }
};

}  // namespace

TEST_CASE("HealthMachine: decides what a naive reference does", "[route][health_monitor]") {
  std::mt19937_64 random(16);
  const auto below = [&random](std::uint64_t bound) { return random() % bound; };
  for (int round = 0; round < 3'000; ++round) {
    HealthRules rules{.interval = Duration(1 + below(20)),
                      .unhealthy_after = static_cast<std::uint32_t>(1 + below(5)),
                      .healthy_after = static_cast<std::uint32_t>(1 + below(4))};
    const auto start = static_cast<Health>(below(3));
    const bool first_decides = below(2) == 0;
    HealthMachine machine(rules, start, first_decides, kStart);
    Reference reference{rules, start, first_decides, {}, 0, 0, 0, 0, false, false, {}, start};
    TimePoint now = kStart;
    std::uint64_t number = 0;
    std::uint64_t strays = 0;
    for (int step = 0; step < 60; ++step) {
      now += Duration(below(25));
      const Health before = machine.health();
      switch (below(8)) {
        case 0:
        case 1:
        case 2:
          if (machine.is_checking()) break;
          number = machine.begin(now, now + Duration(below(15)));
          reference.begin(machine.due());
          break;
        case 3:
        case 4:
        case 5: {
          if (!machine.is_checking()) break;
          const bool passed = below(3) != 0;
          const HealthVerdict verdict = machine.end(number, now, passed);
          reference.end(now, passed);
          REQUIRE(verdict.from == before);
          REQUIRE(verdict.to == machine.health());
          break;
        }
        case 6: {
          const HealthVerdict verdict = machine.advance(now);
          reference.advance(now);
          REQUIRE(verdict.to == machine.health());
          break;
        }
        default:
          if (machine.is_checking() && below(2) == 0) break;
          machine.end(number + 7, now, below(2) == 0);  // a stray report, of what never began
          ++strays;
          break;
      }
      REQUIRE(machine.health() == reference.health_now);
      REQUIRE(machine.since() == reference.since);
      REQUIRE(machine.failures_in_a_row() == reference.in_a_row(false));
      REQUIRE(machine.successes_in_a_row() == reference.in_a_row(true));
      REQUIRE(machine.is_checking() == reference.on_its_way);
      if (reference.on_its_way) REQUIRE(machine.due() == reference.due);
      const HealthMachine::Counts& counts = machine.counts();
      REQUIRE(counts.checks == reference.checks);
      REQUIRE(counts.timed_out == reference.timed_out);
      REQUIRE(counts.overdue == reference.overdue);
      REQUIRE(counts.late_results == reference.late + strays);
      const std::uint64_t pending = reference.on_its_way && !reference.is_known ? 1 : 0;
      REQUIRE(counts.checks == counts.passed + counts.failed + counts.timed_out + pending);
    }
  }
}
