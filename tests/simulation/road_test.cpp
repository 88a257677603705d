// SPDX-License-Identifier: MIT
// The simulator of benchmarks/simulation, against what queueing theory says.
#include "road.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>

#include "support/catch.hpp"

namespace {

using namespace simulation;

constexpr double kNever = std::numeric_limits<double>::infinity();

/// A queue without an end before `workers` servers, of which the provider has plenty.
RoadOptions queue_of(int workers, double rate, double duration_s, Spread spread) {
  RoadOptions options;
  options.rate.base = rate;
  options.duration_s = duration_s;
  options.workers = workers;
  options.capacity = std::numeric_limits<std::size_t>::max();
  options.queue_wait_s = kNever;
  options.timeout_s = kNever;
  options.provider.slots = 1000;
  options.provider.service_s = 1;
  options.provider.spread = spread;
  return options;
}

/// The mean wait of M/M/c, for a mean service time of 1: Erlang's C over what is left of the servers.
double erlang_wait(int servers, double load) {
  double blocked = 1;  // Erlang's B, by its recursion
  for (int n = 1; n <= servers; ++n) blocked = load * blocked / (n + load * blocked);
  const double use = load / servers;
  const double waits = blocked / (1 - use * (1 - blocked));
  return waits / (servers - load);
}

double mean_wait(const RoadResult& result) { return result.wait_seconds / static_cast<double>(result.served); }

/// A road on which all goes wrong: overload, slowness, failures, a breaker, a limit, a scaler that twitches.
RoadOptions rough_road() {
  RoadOptions options;
  options.rate = {.base = 30, .pieces = {{20, 30, 150}}};
  options.duration_s = 120;
  options.workers = 20;
  options.timeout_s = 5;
  options.queue_wait_s = 3;
  options.provider.slots = 30;
  options.provider.line = 5;
  options.provider.slowness = {.base = 1, .pieces = {{40, 60, 3}}};
  options.provider.failing = {.base = 0.01, .pieces = {{70, 90, 0.9}}};
  options.provider.hanging = 0.5;
  options.breaker.emplace();
  options.breaker->minimum_calls = 20;
  options.breaker->open_for = std::chrono::seconds(5);
  options.breaker->auto_half_open = true;
  return options;
}

Policy twitching() {
  Policy policy;
  policy.scaler = [up = false](const Reading&) mutable { return (up = !up) ? 17 : -17; };
  policy.limit = [](const CallSample& sample) -> std::size_t { return sample.dropped ? 10 : 40; };
  policy.first_limit = 20;
  return policy;
}

bool same(const RoadResult& a, const RoadResult& b) {
  return a.arrived == b.arrived && a.served == b.served && a.rejected() == b.rejected() && a.failed() == b.failed() &&
         a.worker_seconds == b.worker_seconds && a.system_seconds == b.system_seconds && a.response_s == b.response_s;
}

}  // namespace

TEST_CASE("Simulation: the mean wait of M/M/c is that of Erlang's C", "[simulation]") {
  struct Case {
    int workers;
    double use;
    double duration_s;
  };
  for (const Case c : {Case{1, 0.5, 100'000}, Case{1, 0.8, 200'000}, Case{4, 0.8, 50'000}, Case{20, 0.9, 25'000}}) {
    CAPTURE(c.workers, c.use);
    double wait = 0;
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      wait += mean_wait(run(queue_of(c.workers, c.use * c.workers, c.duration_s, Spread::kExponential), {}, seed)) / 2;
    }
    CHECK(wait == Approx(erlang_wait(c.workers, c.use * c.workers)).epsilon(0.04));
  }
}

TEST_CASE("Simulation: the mean wait of M/D/1 and M/G/1 is Pollaczek's and Khinchine's", "[simulation]") {
  const double use = 0.7;
  const RoadResult constant = run(queue_of(1, use, 300'000, Spread::kConstant), {}, 1);
  CHECK(mean_wait(constant) == Approx(use / (2 * (1 - use))).epsilon(0.03));

  const RoadOptions spread = queue_of(1, use, 400'000, Spread::kLogNormal);
  const double variance = std::exp(spread.provider.sigma * spread.provider.sigma) - 1;
  CHECK(mean_wait(run(spread, {}, 1)) == Approx(use * (1 + variance) / (2 * (1 - use))).epsilon(0.03));
}

TEST_CASE("Simulation: workers beyond the provider's slots only move the line", "[simulation]") {
  RoadOptions options = queue_of(40, 3.2, 100'000, Spread::kExponential);
  options.provider.slots = 4;
  options.provider.line = 1000;
  const RoadResult result = run(options, {}, 1);
  const double mean = std::accumulate(result.response_s.begin(), result.response_s.end(), 0.0) /
                      static_cast<double>(result.response_s.size());
  CHECK(mean == Approx(1 + erlang_wait(4, 3.2)).epsilon(0.04));
}

TEST_CASE("Simulation: every job is served, rejected or failed, and Little's law holds", "[simulation]") {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const RoadResult result = run(rough_road(), twitching(), seed);
    CHECK(result.arrived == result.served + result.rejected() + result.failed());
    CHECK(result.served == result.response_s.size());
    // The integral of how many there are is the sum of how long each was there.
    CHECK(result.system_seconds == Approx(result.sojourn_seconds).epsilon(1e-9));
    // Each way to end was taken.
    CHECK(result.queue_full > 0);
    CHECK(result.queue_expired > 0);
    CHECK(result.breaker_refused > 0);
    CHECK(result.provider_failed > 0);
    CHECK(result.provider_refused > 0);
    CHECK(result.timed_out > 0);
  }
}

TEST_CASE("Simulation: equal seeds give equal results, others do not", "[simulation]") {
  CHECK(same(run(rough_road(), twitching(), 7), run(rough_road(), twitching(), 7)));
  CHECK_FALSE(same(run(rough_road(), twitching(), 7), run(rough_road(), twitching(), 8)));
}

TEST_CASE("Simulation: the same jobs arrive whatever the policy", "[simulation]") {
  CHECK(run(rough_road(), {}, 3).arrived == run(rough_road(), twitching(), 3).arrived);
}

TEST_CASE("Simulation: arrivals follow the rate", "[simulation]") {
  RoadOptions options = queue_of(1000, 0, 1000, Spread::kConstant);
  options.rate = {.base = 50, .pieces = {{100, 200, 150}}};
  const double expected = 50 * 900 + 150 * 100;
  CHECK(static_cast<double>(run(options, {}, 1).arrived) == Approx(expected).margin(4 * std::sqrt(expected)));

  options.rate = {.base = 50, .wave = 40, .wave_period_s = 1000};
  CHECK(static_cast<double>(run(options, {}, 1).arrived) == Approx(50'000).margin(4 * std::sqrt(50'000)));
  CHECK(options.rate.at(0) == Approx(10));
  CHECK(options.rate.at(500) == Approx(90));
}

TEST_CASE("Simulation: worker-seconds are counted from the decision to the end of a worker's last job",
          "[simulation]") {
  RoadOptions options = queue_of(3, 0, 10, Spread::kConstant);
  CHECK(run(options, {}, 1).worker_seconds == Approx(3 * 10));

  options.rate.base = 100;  // so that all are busy
  Policy policy;
  policy.scaler = [](const Reading& reading) {
    if (reading.now == TimePoint{} + seconds(2)) return 5;
    if (reading.now == TimePoint{} + seconds(6)) return -6;
    return 0;
  };
  const RoadResult result = run(options, policy, 1);
  // 2 s of 3, 4 s of 8, 4 s of 2; and the six go at some time in the second after that.
  const double decided = 2 * 3 + 4 * 8 + 4 * 2;
  CHECK(result.worker_seconds > decided + 0.5);
  CHECK(result.worker_seconds < decided + 5.5);
  CHECK(result.most_workers == 8);
}

TEST_CASE("Simulation: a percentile is the smallest value that so many do not exceed", "[simulation]") {
  CHECK(percentile({}, 0.99) == 0);
  CHECK(percentile({3}, 0.01) == 3);
  CHECK(percentile({4, 1, 3, 2}, 0.5) == 2);
  CHECK(percentile({4, 1, 3, 2}, 0.51) == 3);
  CHECK(percentile({4, 1, 3, 2}, 1) == 4);
}
