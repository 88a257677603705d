// SPDX-License-Identifier: MIT
#include "elastic.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <numbers>
#include <utility>

#include "median.hpp"
#include "random.hpp"
#include "virtual_time.hpp"

namespace simulation {
namespace {

constexpr double kMoments = 600;

/// Workers, and who of them is idle: those at the bottom for the longest.
class Pool {
 public:
  Pool(const BurstLoad& load, const std::optional<penstock::TrimPolicy>& policy)
      : load_(load), keeps_(policy.has_value()), machine_(policy.value_or(penstock::PoisonPill{}), TimePoint{}) {
    step();
  }

  [[nodiscard]] TimePoint next_step() const noexcept { return next_; }

  void advance(TimePoint now) {
    const double passed = in_seconds(now - now_);
    result_.thread_seconds += passed * static_cast<double>(live());
    result_.busy_seconds += passed * static_cast<double>(busy_);
    for (; in_seconds(now) >= next_moment_; next_moment_ += load_.duration_s / kMoments) {
      result_.moments.push_back({next_moment_, live(), busy_});
    }
    now_ = now;
  }

  void step() {
    const Duration longest = idle_since_.empty() ? Duration::zero() : now_ - idle_since_.front();
    const penstock::TrimDecision decision =
        machine_.step({now_, live(), idle_since_.size(), low_, result_.cold_starts, longest});
    idle_since_.erase(idle_since_.begin(), idle_since_.begin() + static_cast<std::ptrdiff_t>(decision.retire));
    low_ = idle_since_.size();
    next_ = decision.next;
    note_floor();
  }

  void begin() {
    ++result_.tasks;
    ++busy_;
    result_.to_floor_s = -1;
    if (!idle_since_.empty()) {
      idle_since_.pop_back();
      low_ = std::min(low_, idle_since_.size());
      return;
    }
    ++result_.cold_starts;
    result_.most = std::max(result_.most, live());
    machine_.created(now_);
    step();
  }
  void end() {
    --busy_;
    if (keeps_) idle_since_.push_back(now_);
    result_.last_task_s = in_seconds(now_);
    note_floor();
  }

  BurstResult finish() { return std::move(result_); }

 private:
  [[nodiscard]] std::size_t live() const noexcept { return busy_ + idle_since_.size(); }
  void note_floor() {
    if (busy_ == 0 && live() <= kPoolFloor && result_.to_floor_s < 0) {
      result_.to_floor_s = in_seconds(now_) - result_.last_task_s;
    }
  }

  const BurstLoad& load_;
  const bool keeps_;
  penstock::TrimMachine machine_;
  TimePoint now_{};
  TimePoint next_{};
  std::deque<TimePoint> idle_since_;
  std::size_t busy_ = 0;
  std::size_t low_ = 0;
  double next_moment_ = 0;
  BurstResult result_;
};

enum class What { kTask, kBurstTask, kEnd };

/// The tasks of a Poisson process with a rate that may come in waves, by thinning.
void plan_tasks(const BurstLoad& load, Random& random, Agenda<What>& agenda) {
  const double highest = load.wave_s > 0 ? 2 * load.rate : load.rate;
  if (highest <= 0) return;
  for (double time = random.exponential(1 / highest); time < load.until_s; time += random.exponential(1 / highest)) {
    const double phase = load.wave_s > 0 ? 2 * std::numbers::pi * time / load.wave_s : 0;
    const double rate = load.wave_s > 0 ? load.rate * (1 - std::cos(phase)) : load.rate;
    if (random.uniform() * highest < rate) agenda.plan(TimePoint{} + seconds(time), What::kTask);
  }
}

struct Contender {
  std::string name;
  std::optional<penstock::TrimPolicy> policy;
};

std::vector<Contender> pool_contenders() {
  return {{"thread per task", std::nullopt},
          {"never trimmed", penstock::PoisonPill{.floor = std::numeric_limits<std::size_t>::max()}},
          {"poison pill", penstock::PoisonPill{}},
          {"idle timeout", penstock::IdleTimeout{}},
          {"low water", penstock::LowWater{}}};
}

}  // namespace

const std::vector<BurstLoad>& burst_loads() {
  static const std::vector<BurstLoad> loads{
      {.name = "bursts",
       .what = "5 tasks/s, and six bursts of 150 to 500 streams of 15 s; silence after 20 minutes",
       .rate = 5,
       .until_s = 1'200,
       .bursts = {{60, 2, 500}, {200, 2, 200}, {260, 2, 350}, {480, 2, 150}, {760, 5, 450}, {960, 2, 300}},
       .duration_s = 2'700},
      {.name = "blocked",
       .what = "one burst of 10000 tasks that block for 10 s each, and silence after it",
       .bursts = {{30, 1, 10'000}},
       .burst_task_s = 10,
       .sigma = 0,
       .duration_s = 21'000},
      {.name = "steady",
       .what = "100 tasks/s of 0.5 s, for 20 minutes",
       .rate = 100,
       .until_s = 1'200,
       .duration_s = 1'800},
      {.name = "waves",
       .what = "0 to 200 tasks/s of 0.5 s and back, in 90 s, for 20 minutes",
       .rate = 100,
       .wave_s = 90,
       .until_s = 1'200,
       .duration_s = 1'800},
  };
  return loads;
}

BurstResult run(const BurstLoad& load, const std::optional<penstock::TrimPolicy>& policy, std::uint64_t seed) {
  Random random(seed);
  Agenda<What> agenda;
  plan_tasks(load, random, agenda);
  for (const Burst& burst : load.bursts) {
    for (std::size_t i = 0; i < burst.tasks; ++i) {
      agenda.plan(TimePoint{} + seconds(burst.at_s + burst.within_s * random.uniform()), What::kBurstTask);
    }
  }
  const auto length = [&](double mean_s) {
    return seconds(load.sigma > 0 ? random.lognormal(mean_s, load.sigma) : mean_s);
  };

  Pool pool(load, policy);
  const TimePoint end = TimePoint{} + seconds(load.duration_s);
  for (;;) {
    const TimePoint event = agenda.empty() ? TimePoint::max() : agenda.next();
    const TimePoint now = std::min(event, pool.next_step());
    if (now > end) break;
    pool.advance(now);
    if (pool.next_step() <= now) {
      pool.step();
      continue;
    }
    const What what = agenda.pop().what;
    if (what == What::kEnd) {
      pool.end();
      continue;
    }
    agenda.plan(now + length(what == What::kTask ? load.task_s : load.burst_task_s), What::kEnd);
    pool.begin();
  }
  pool.advance(end);
  return pool.finish();
}

BurstStudy study(const BurstLoad& load, std::uint64_t seeds) {
  BurstStudy study{load.name, load.what};
  for (const auto& [name, policy] : pool_contenders()) {
    BurstRow row{name};
    std::vector<double> tasks, cold_starts, thread_seconds, use, most, to_floor;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      BurstResult result = run(load, policy, seed);
      tasks.push_back(static_cast<double>(result.tasks));
      cold_starts.push_back(static_cast<double>(result.cold_starts));
      thread_seconds.push_back(result.thread_seconds);
      use.push_back(result.busy_seconds / result.thread_seconds);
      most.push_back(static_cast<double>(result.most));
      to_floor.push_back(result.to_floor_s < 0 ? std::numeric_limits<double>::infinity() : result.to_floor_s);
      if (seed == 1) row.moments = std::move(result.moments);
    }
    row.tasks = median(std::move(tasks));
    row.cold_starts = median(std::move(cold_starts));
    row.thread_seconds = median(std::move(thread_seconds));
    row.use = median(std::move(use));
    row.most = median(std::move(most));
    row.to_floor_s = median(std::move(to_floor));
    study.rows.push_back(std::move(row));
  }
  return study;
}

}  // namespace simulation
