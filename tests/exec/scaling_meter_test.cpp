// SPDX-License-Identifier: MIT

#include <chrono>
#include <cmath>
#include <random>

#include "penstock/exec/scaling_meter.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::Duration;
using penstock::PoolFigures;
using penstock::ScalingMeter;
using penstock::ScalingOptions;
using penstock::ScalingSample;
using penstock::TimePoint;

namespace {

constexpr TimePoint kStart{1000s};

/// Ten workers, and a queue with 100 places.
struct Pool {
  ScalingOptions options;
  PoolFigures figures{.workers = 10, .queue_capacity = 100};
  ScalingMeter meter{kStart};
  TimePoint now = kStart;

  Pool() {
    options.rate_window = 5s;
    static_cast<void>(look());
  }

  ScalingSample look() { return meter.sample(options, figures, now); }
  ScalingSample after(Duration time, std::uint64_t arrivals, std::uint64_t jobs, Duration wait, Duration run) {
    now += time;
    figures.arrivals += arrivals;
    figures.started += jobs;
    figures.finished += jobs;
    figures.wait_total += wait * jobs;
    figures.run_total += run * jobs;
    return look();
  }
};

}  // namespace

TEST_CASE("ScalingMeter: nothing is known at first", "[exec][scaling]") {
  Pool pool;
  const ScalingSample sample = pool.look();
  CHECK(sample.workers == 10);
  CHECK(std::isnan(sample.arrival_rate));
  CHECK(std::isnan(sample.peak_rate));
  CHECK(sample.mean_run == 0s);
  CHECK(sample.samples == 0);
  CHECK(sample.since_up == 0s);  // the cooldowns begin with the start
  CHECK(sample.since_down == 0s);
  CHECK(decide(pool.options, sample).delta == 0);
}

TEST_CASE("ScalingMeter: rates, times and utilisation of an interval", "[exec][scaling]") {
  Pool pool;
  pool.figures.queued = 25;
  const ScalingSample sample = pool.after(1s, 40, 40, 250ms, 100ms);
  CHECK(sample.arrival_rate == 40);
  CHECK(sample.peak_rate == 40);
  CHECK(sample.mean_run == 100ms);
  CHECK(sample.average_response == 350ms);
  CHECK(sample.samples == 40);
  CHECK(sample.queue_utilization == 0.25);
  CHECK(sample.worker_utilization == Approx(0.4));
  CHECK(sample.queued == 25);
  CHECK(sample.since_up == 1s);
  pool.meter.changed(+2, pool.now);
  pool.now += 3s;
  pool.meter.changed(-1, pool.now);
  pool.now += 4s;
  CHECK(pool.look().since_up == 7s);
  CHECK(pool.look().since_down == 4s);
}

TEST_CASE("ScalingMeter: without a queue, who waits counts against the workers", "[exec][scaling]") {
  Pool pool;
  pool.figures.queue_capacity = 0;
  pool.figures.queued = 15;
  CHECK(pool.look().queue_utilization == 1.5);
  pool.figures.workers = 0;
  CHECK(pool.look().queue_utilization == 0);
  CHECK(pool.look().worker_utilization == 0);
}

TEST_CASE("ScalingMeter: jobs that do not end keep workers busy", "[exec][scaling]") {
  Pool pool;
  pool.figures.busy = 9;
  CHECK(pool.after(1s, 0, 0, 0s, 0s).worker_utilization == 0);  // not at both ends
  CHECK(pool.after(1s, 0, 0, 0s, 0s).worker_utilization == 0.9);
  pool.figures.busy = 12;  // two that still go
  CHECK(pool.after(1s, 0, 40, 0s, 1s).worker_utilization == 1);
}

TEST_CASE("ScalingMeter: the calls that an open breaker lets through tell nothing of others", "[exec][scaling]") {
  Pool pool;
  CHECK(pool.after(1s, 40, 40, 0ms, 800ms).mean_run == 800ms);
  pool.figures.breaker_open = true;
  CHECK(pool.after(1s, 40, 40, 0ms, 30s).mean_run == 800ms);
  CHECK(pool.after(1s, 40, 40, 0ms, 1ms).mean_run == 800ms);
  pool.figures.breaker_open = false;
  CHECK(pool.after(1s, 40, 400, 0ms, 900ms).mean_run > 850ms);
}

TEST_CASE("ScalingMeter: means wait for enough jobs", "[exec][scaling]") {
  Pool pool;
  pool.options.min_samples = 20;
  for (int second = 0; second < 3; ++second) {
    const ScalingSample sample = pool.after(1s, 6, 6, 100ms, 200ms);
    CHECK(sample.samples == 0);
    CHECK(sample.mean_run == 0s);
  }
  const ScalingSample sample = pool.after(1s, 6, 6, 500ms, 1000ms);
  CHECK(sample.samples == 24);
  CHECK(sample.average_response == 600ms);
  CHECK(sample.mean_run == 400ms);
  // The mean of runs follows: 24 jobs and 20 jobs.
  CHECK(pool.after(1s, 0, 20, 0ms, 600ms).mean_run / 1.0ms == Approx((24 * 400 + 20 * 600) / 44.0));
  // Times that are much longer are believed at once, if there are enough of them.
  CHECK(pool.after(1s, 0, 20, 0ms, 8s).mean_run == 8s);
  CHECK(pool.after(1s, 0, 1, 0ms, 800s).mean_run < 60s);
}

TEST_CASE("ScalingMeter: responses from before a change tell nothing after it", "[exec][scaling]") {
  Pool pool;
  CHECK(pool.after(1s, 40, 40, 0s, 3s).samples == 40);
  pool.meter.changed(1, pool.now);
  CHECK(pool.look().samples == 0);
  CHECK(pool.after(1s, 19, 19, 0s, 1s).samples == 0);
  const ScalingSample sample = pool.after(1s, 1, 1, 0s, 1s);
  CHECK(sample.samples == 20);
  CHECK(sample.average_response == 1s);
}

TEST_CASE("ScalingMeter: chance is averaged, a jump is believed at once", "[exec][scaling]") {
  Pool pool;
  std::mt19937_64 random(3);  // NOLINT(cert-msc51-cpp)
  std::poisson_distribution<std::uint64_t> usual(20);
  double lowest = 1000, highest = 0;
  for (int second = 0; second < 100; ++second) {
    const double rate = pool.after(1s, usual(random), 0, 0s, 0s).arrival_rate;
    if (second < 20) continue;
    lowest = std::min(lowest, rate);
    highest = std::max(highest, rate);
  }
  CHECK(lowest > 15);
  CHECK(highest < 27);
  CHECK(pool.after(1s, 80, 0, 0s, 0s).arrival_rate == 80);
  // If it was chance after all, a mean begins there; and it is remembered for a while.
  CHECK(pool.after(1s, 20, 0, 0s, 0s).arrival_rate == 50);
  CHECK(pool.look().peak_rate == 80);
  for (int second = 0; second < 14; ++second) CHECK(pool.after(1s, 20, 0, 0s, 0s).peak_rate == 80);
  for (int second = 0; second < 30; ++second) static_cast<void>(pool.after(1s, 20, 0, 0s, 0s));
  CHECK(pool.look().peak_rate < 30);
  CHECK(pool.look().peak_rate >= 20);
}

TEST_CASE("ScalingMeter: silence is silence in the end", "[exec][scaling]") {
  Pool pool;
  static_cast<void>(pool.after(1s, 100, 100, 0s, 50ms));
  int seconds = 0;
  while (pool.after(1s, 0, 0, 0s, 0s).arrival_rate > 0 && seconds < 1000) ++seconds;
  CHECK(seconds < 60);
  CHECK(pool.after(60s, 0, 0, 0s, 0s).peak_rate == 0);
  CHECK(pool.look().mean_run == 50ms);
}

TEST_CASE("ScalingMeter: it does not matter how often it is asked", "[exec][scaling]") {
  Pool often, seldom;
  ScalingSample last_often, last_seldom;
  for (int millisecond = 1; millisecond <= 60'000; ++millisecond) {
    const bool comes = millisecond % 25 == 0;
    last_often = often.after(1ms, comes ? 1 : 0, comes ? 1 : 0, 10ms, 100ms);
    if (millisecond % 1000 == 0) last_seldom = seldom.after(1s, 40, 40, 10ms, 100ms);
  }
  CHECK(last_often.arrival_rate == Approx(40).epsilon(0.05));
  CHECK(last_seldom.arrival_rate == Approx(40));
  CHECK(last_often.mean_run == last_seldom.mean_run);
  CHECK(last_often.average_response == last_seldom.average_response);
  CHECK(last_often.worker_utilization == Approx(0.4).epsilon(0.1));
}

TEST_CASE("ScalingMeter: another pool's counts, and a clock that steps back, are a new beginning", "[exec][scaling]") {
  Pool pool;
  static_cast<void>(pool.after(1s, 40, 40, 0s, 100ms));
  pool.figures = {.workers = 5, .queue_capacity = 100, .arrivals = 7};  // fewer than before
  pool.now += 1s;
  ScalingSample sample = pool.look();
  CHECK(sample.workers == 5);
  CHECK(sample.arrival_rate == 40);
  CHECK(pool.after(1s, 40, 40, 0s, 100ms).mean_run == 100ms);

  pool.now -= 1h;
  sample = pool.look();
  CHECK(sample.since_up == 0s);
  CHECK(sample.arrival_rate == 40);
  CHECK(pool.after(1s, 40, 40, 0s, 100ms).arrival_rate == Approx(40));
  CHECK(pool.look().since_up == 1s);
  for (const TimePoint at : {TimePoint::min(), TimePoint::max(), TimePoint(), TimePoint::max()}) {
    pool.now = at;
    CHECK(pool.look().workers == 5);
  }
}
