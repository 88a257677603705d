// SPDX-License-Identifier: MIT

// Each trim policy in a pool whose load comes by chance, against a plain reading of its rule that looks at all workers
// in each millisecond.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "exec/trim_support.hpp"
#include "penstock/exec/trim_policy.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::Duration;
using penstock::IdleTimeout;
using penstock::LowWater;
using penstock::PoisonPill;
using penstock::TimePoint;
using penstock::TrimDecision;
using penstock::TrimMachine;
using penstock::TrimPolicy;
using penstock::TrimSample;
using penstock::testing::TrimmedCrew;

namespace {

/// Milliseconds are all the time that there is.
class NaiveCrew {
 public:
  explicit NaiveCrew(const TrimPolicy& policy) : policy_(policy) {}

  void run_until(long time) {
    while (now_ < time) {
      ++now_;
      if (const auto* pill = std::get_if<PoisonPill>(&policy_)) tick(*pill);
      if (const auto* timeout = std::get_if<IdleTimeout>(&policy_)) look(*timeout);
      if (const auto* water = std::get_if<LowWater>(&policy_)) look(*water);
    }
  }
  void begin() {
    if (idle_.empty()) {
      kill_clock_ = 0;
      ++created_;
    } else {
      idle_.pop_back();
    }
    ++busy_;
    seen_.push_back(idle_.size());
  }
  void end() {
    --busy_;
    idle_.push_back(now_);
  }
  [[nodiscard]] std::size_t live() const { return idle_.size() + busy_; }
  [[nodiscard]] std::size_t idle() const { return idle_.size(); }
  [[nodiscard]] std::size_t busy() const { return busy_; }
  [[nodiscard]] std::size_t created() const { return created_; }

 private:
  static long ms(Duration duration) { return static_cast<long>(duration / 1ms); }

  void tick(const PoisonPill& pill) {
    if (now_ % ms(pill.interval) != 0) return;
    ++kill_clock_;
    if (kill_clock_ > pill.delay && live() > pill.floor && !idle_.empty()) idle_.erase(idle_.begin());
  }
  void look(const IdleTimeout& timeout) {
    while (!idle_.empty() && live() > timeout.floor && now_ - idle_.front() >= ms(timeout.timeout)) {
      idle_.erase(idle_.begin());
    }
  }
  void look(const LowWater& water) {
    if (now_ % ms(water.window) != 0) return;
    std::size_t least = idle_.size();
    for (const std::size_t idle : seen_) least = std::min(least, idle);
    std::size_t part = 0;  // the least whole number that is not below the fraction, in hundredths
    while (100 * part < static_cast<std::size_t>(std::lround(100 * water.fraction)) * least) ++part;
    if (created_ != created_before_) part = 0;
    while (part-- != 0 && live() > water.floor) idle_.erase(idle_.begin());
    seen_ = {idle_.size()};
    created_before_ = created_;
  }

  TrimPolicy policy_;
  long now_ = 0;
  std::vector<long> idle_;  // since when, the bottom first
  std::size_t busy_ = 0;
  std::size_t created_ = 0;
  int kill_clock_ = 0;
  std::vector<std::size_t> seen_{0};  // idle in this window
  std::size_t created_before_ = 0;
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  long number(long low, long high) { return std::uniform_int_distribution<long>(low, high)(engine_); }
  bool one_in(long count) { return number(1, count) == 1; }

 private:
  std::mt19937_64 engine_;
};

TrimPolicy random_policy(Dice& dice) {
  const auto floor = static_cast<std::size_t>(dice.number(0, 4));
  switch (dice.number(0, 2)) {
    case 0:
      return PoisonPill{dice.number(1, 50) * 1ms, static_cast<int>(dice.number(0, 12)), floor};
    case 1:
      return IdleTimeout{dice.number(1, 300) * 1ms, floor};
    default:
      return LowWater{dice.number(1, 200) * 1ms, static_cast<double>(dice.number(1, 100)) / 100, floor};
  }
}

}  // namespace

TEST_CASE("TrimMachine: each policy as a plain reading of its rule", "[exec][trim]") {
  Dice dice(21);
  std::size_t retired[3] = {};
  for (int round = 0; round < 1'500; ++round) {
    const TrimPolicy policy = random_policy(dice);
    TrimmedCrew crew(policy);
    NaiveCrew naive(policy);
    long now = 0;
    for (int event = 0; event < 120; ++event) {
      now += dice.one_in(3) ? 0 : dice.one_in(12) ? dice.number(100, 900) : dice.number(1, 20);
      crew.run_until(now * 1ms);
      naive.run_until(now);
      if (crew.crew().live() != naive.live() || crew.crew().idle() != naive.idle()) {
        FAIL("round " << round << ", " << to_string(policy) << ", " << now << " ms: " << crew.crew().live()
                      << " workers, expected " << naive.live());
      }
      if (dice.one_in(20)) crew.step();  // who asks too early gets the same in the end
      const std::size_t tasks = dice.one_in(10) ? static_cast<std::size_t>(dice.number(1, 30)) : 1;
      const bool begins = dice.one_in(2);
      for (std::size_t i = 0; i < tasks; ++i) {
        if (begins) {
          crew.begin();
          naive.begin();
        } else if (naive.busy() != 0) {
          crew.end();
          naive.end();
        }
      }
    }
    retired[policy.index()] += crew.retirements().size();
  }
  CHECK(retired[0] > 500);
  CHECK(retired[1] > 500);
  CHECK(retired[2] > 500);
}

TEST_CASE("TrimMachine: laws that hold for all samples", "[exec][trim]") {
  Dice dice(7);
  for (int round = 0; round < 20'000; ++round) {
    const TrimPolicy policy = random_policy(dice);
    const std::size_t floor = std::visit([](const auto& any) { return any.floor; }, policy);
    const TimePoint begin = TimePoint{} + dice.number(-1000, 1000) * 1ms;
    TrimMachine machine(policy, begin);
    TimePoint now = begin;
    TimePoint last_creation = begin;
    std::uint64_t created = 0;
    for (int step = 0; step < 20; ++step) {
      now += dice.number(dice.one_in(10) ? -500 : 0, 300) * 1ms;
      if (dice.one_in(4)) {
        machine.created(now);
        last_creation = std::max(last_creation, now);
        ++created;
      }
      TrimSample sample{now, static_cast<std::size_t>(dice.number(0, 40)), 0, 0, created, dice.number(-10, 400) * 1ms};
      sample.idle = static_cast<std::size_t>(dice.number(0, static_cast<long>(sample.live)));
      sample.idle_low_water = static_cast<std::size_t>(dice.number(0, 40));
      const TrimDecision got = machine.step(sample);
      const auto fail = [&](const char* law) { FAIL("round " << round << ", " << to_string(policy) << ": " << law); };
      if (got.retire > sample.idle) fail("only the idle go");
      if (got.retire > 0 && sample.live - got.retire < floor) fail("the floor stays");
      if (got.next < now || (got.next == now && got.retire == 0)) fail("who asks again has done something or waits");
      if (sample.live - got.retire <= floor && got.next != TimePoint::max()) fail("at the floor nobody is woken");
      if (sample.live - got.retire > floor && got.next == TimePoint::max()) fail("above the floor somebody asks again");
      if (const auto* pill = std::get_if<PoisonPill>(&policy); pill != nullptr && got.retire > 0) {
        if (now < last_creation + pill->delay * pill->interval) fail("none goes within the delay");
      }
      // The same once more, at the same time: what was decided is not decided again.
      sample.live -= got.retire;
      sample.idle -= got.retire;
      sample.idle_low_water = sample.idle;
      if (!std::holds_alternative<IdleTimeout>(policy) && machine.step(sample).retire != 0)
        fail("one answer each time");
    }
  }
}

TEST_CASE("TrimMachine: one late step is worth all that were missed", "[exec][trim]") {
  Dice dice(3);
  for (int round = 0; round < 5'000; ++round) {
    const TrimPolicy policy = random_policy(dice);
    if (std::holds_alternative<IdleTimeout>(policy)) continue;  // one at a time by design
    TrimmedCrew pool(policy);
    pool.begin(60);
    pool.end(static_cast<std::size_t>(dice.number(0, 60)));
    TrimMachine late(policy, TimePoint{});
    for (int i = 0; i < 60; ++i) late.created(TimePoint{});
    const TimePoint end = TimePoint{} + dice.number(1, 3000) * 1ms;
    const TrimSample sample{end, 60, pool.crew().idle(), pool.crew().idle(), 60, 0s};
    pool.run_until(end.time_since_epoch());
    const std::size_t retired = late.step(sample).retire;
    if (60 - retired != pool.crew().live()) {
      FAIL("round " << round << ", " << to_string(policy) << ": " << 60 - retired << ", " << pool.crew().live());
    }
  }
}
