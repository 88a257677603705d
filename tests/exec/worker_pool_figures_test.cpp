// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "exec/pool_support.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/detail/pool_figures.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using detail::PairMoments;
using detail::PairSums;
using detail::Throughput;
using detail::WaitRunTally;
using testing::discrepancies;
using testing::eventually;
using testing::Gate;
using testing::held_pool;
using testing::make_pool;
using testing::Samples;

using Pairs = std::vector<std::pair<double, double>>;

PairMoments moments_of(const Pairs& pairs) {
  PairSums sums;
  sums.start(pairs.front().first, pairs.front().second);
  for (const auto& [x, y] : pairs) sums.add(x, y);
  return sums.moments(static_cast<double>(pairs.size()));
}

// As it is defined: means first, then the sums of the differences from them.
double two_pass_correlation(const Pairs& pairs) {
  long double mean_x = 0;
  long double mean_y = 0;
  for (const auto& [x, y] : pairs) {
    mean_x += x;
    mean_y += y;
  }
  mean_x /= static_cast<long double>(pairs.size());
  mean_y /= static_cast<long double>(pairs.size());
  long double xx = 0;
  long double yy = 0;
  long double xy = 0;
  for (const auto& [x, y] : pairs) {
    xx += (x - mean_x) * (x - mean_x);
    yy += (y - mean_y) * (y - mean_y);
    xy += (x - mean_x) * (y - mean_y);
  }
  return static_cast<double>(xy / std::sqrt(xx * yy));
}

bool is_near(double a, double b, double tolerance) { return std::fabs(a - b) <= tolerance; }

std::uint64_t sum_of(const WaitRunTable& table) {
  std::uint64_t sum = 0;
  for (const auto& row : table.jobs) sum = std::accumulate(row.begin(), row.end(), sum);
  return sum;
}

TEST_CASE("PairMoments: the correlation of known pairs", "[exec][worker_pool]") {
  CHECK(is_near(moments_of({{1, 2}, {2, 4}, {3, 6}}).correlation(), 1, 1e-15));
  CHECK(is_near(moments_of({{1, 6}, {2, 4}, {3, 2}}).correlation(), -1, 1e-15));
  CHECK(moments_of({{0, 0}, {0, 1}, {1, 0}, {1, 1}}).correlation() == 0);
  CHECK(is_near(moments_of({{1, 2}, {2, 4}, {3, 5}, {4, 4}, {5, 5}}).correlation(), 0.7745966692414834, 1e-15));
  // Anscombe, "Graphs in Statistical Analysis", 1973, the first and the last of the four.
  const Pairs first = {{10, 8.04}, {8, 6.95}, {13, 7.58},  {9, 8.81}, {11, 8.33}, {14, 9.96},
                       {6, 7.24},  {4, 4.26}, {12, 10.84}, {7, 4.82}, {5, 5.68}};
  CHECK(is_near(moments_of(first).correlation(), 0.81642051634484, 1e-13));
  const Pairs last = {{8, 6.58}, {8, 5.76},   {8, 7.71}, {8, 8.84}, {8, 8.47}, {8, 7.04},
                      {8, 5.25}, {19, 12.50}, {8, 5.56}, {8, 7.91}, {8, 6.89}};
  CHECK(is_near(moments_of(last).correlation(), 0.81652143688850, 1e-13));
}

TEST_CASE("PairMoments: what does not vary has no correlation", "[exec][worker_pool]") {
  CHECK(PairMoments().correlation() == 0);
  CHECK(moments_of({{5, 7}}).correlation() == 0);
  CHECK(moments_of(Pairs(1000, {123'456'789'012, 3})).correlation() == 0);
  CHECK(moments_of({{1, 5}, {2, 5}, {3, 5}}).correlation() == 0);
  CHECK(moments_of({{5, 1}, {5, 2}, {5, 3}}).correlation() == 0);
  PairMoments both = moments_of(Pairs(3, {300'000'000'007, 1}));
  both.merge(moments_of(Pairs(7, {300'000'000'007, 2})));
  CHECK(both.count() == 10);
  CHECK(both.correlation() == 0);
}

TEST_CASE("PairMoments: nanoseconds after a mean of minutes do not cancel", "[exec][worker_pool]") {
  std::mt19937_64 random(4);  // NOLINT(cert-msc51-cpp)
  std::uniform_int_distribution<int> noise(-100, 100);
  for (const double mean : {0.0, 1e3, 1e6, 1e9, 3e11}) {
    for (const double share : {-1.0, -0.3, 0.0, 0.01, 0.8, 1.0}) {
      Pairs pairs;
      for (int i = 0; i < 20'000; ++i) {
        const double x = noise(random);
        pairs.emplace_back(std::round(mean + x),
                           std::round(mean / 7 + 1000 * share * x + 1000 * (1 - std::fabs(share)) * noise(random)));
      }
      const double expected = two_pass_correlation(pairs);
      const double tolerance = mean > 1e11 ? 1e-5 : 1e-9;  // there a double has steps of 0.06 ns
      INFO("mean " << mean << ", share " << share << ", r " << expected);
      CHECK(is_near(moments_of(pairs).correlation(), expected, tolerance));

      // In parts, as the workers have them, in any order.
      std::vector<Pairs> parts(70);
      for (const auto& pair : pairs) parts[random() % parts.size()].push_back(pair);
      PairMoments merged;
      for (const Pairs& part : parts) merged.merge(moments_of(part));
      merged.merge(PairMoments());
      CHECK(merged.count() == 20'000);
      CHECK(is_near(merged.correlation(), expected, tolerance));
    }
  }
}

TEST_CASE("WaitRunTally: any number of records has the correlation of its pairs", "[exec][worker_pool]") {
  std::mt19937_64 random(9);  // NOLINT(cert-msc51-cpp)
  WaitRunTally tally;
  Pairs pairs;
  for (int i = 0; i < 1000; ++i) {
    // Most are short, some a million times as long; the run follows the wait loosely.
    const auto wait = static_cast<std::int64_t>(random() % (i % 50 == 7 ? 5'000'000'000 : 5'000));
    const auto run = wait / 3 + static_cast<std::int64_t>(random() % (i % 80 == 9 ? 2'000'000'000 : 2'000));
    tally.record(Duration(wait), Duration(run));
    pairs.emplace_back(wait, run);
    WaitRunTable table;
    PairMoments moments;
    tally.add_to(table, moments);
    REQUIRE(moments.count() == i + 1);
    if (i > 0 && !is_near(moments.correlation(), two_pass_correlation(pairs), 1e-9)) {
      FAIL(i << ": " << moments.correlation() << " and " << two_pass_correlation(pairs));
    }
  }
}

TEST_CASE("WaitRunTally: a bucket holds its upper bound", "[exec][worker_pool]") {
  CHECK(WaitRunTally::bucket_of(-5ns) == 0);
  CHECK(WaitRunTally::bucket_of(0ns) == 0);
  CHECK(WaitRunTally::bucket_of(Duration::max()) == 7);
  CHECK(WaitRunTable::upper_bound(0) == 10us);
  CHECK(WaitRunTable::upper_bound(3) == 10ms);
  CHECK(WaitRunTable::upper_bound(6) == 10s);
  CHECK(WaitRunTable::upper_bound(7) == Duration::max());
  for (std::size_t bucket = 0; bucket + 1 < WaitRunTable::kBuckets; ++bucket) {
    const Duration bound = WaitRunTable::upper_bound(bucket);
    CHECK(WaitRunTally::bucket_of(bound - 1ns) == bucket);
    CHECK(WaitRunTally::bucket_of(bound) == bucket);
    CHECK(WaitRunTally::bucket_of(bound + 1ns) == bucket + 1);
  }
  for (int shift = 0; shift < 63; ++shift) {  // the table goes by powers of two
    for (const std::int64_t at :
         {(std::int64_t{1} << shift) - 1, std::int64_t{1} << shift, (std::int64_t{1} << shift) + 1}) {
      std::size_t expected = 0;
      while (Duration(at) > WaitRunTable::upper_bound(expected)) ++expected;
      CHECK(WaitRunTally::bucket_of(Duration(at)) == expected);
    }
  }
}

TEST_CASE("WaitRunTally: who reads while another one records finds whole moments", "[exec][worker_pool]") {
  WaitRunTally tally;
  std::atomic<bool> stop{false};
  std::thread recording([&] {
    // So each of the sums over the runs is exactly 2 or 4 times that over the waits, and the count tells the mean.
    for (std::int64_t i = 0; !stop.load(std::memory_order_relaxed); ++i) tally.record(Duration(i), Duration(2 * i));
  });
  bool whole = true;
  double last = 0;
  for (int round = 0; round < 20'000 || last < 1000; ++round) {
    PairMoments moments;
    WaitRunTable table;
    tally.add_to(table, moments);
    const PairMoments::Values v = moments.values();
    whole = whole && v[2] == 2 * v[1] && v[4] == 4 * v[3] && v[5] == 2 * v[3] && v[0] >= last &&
            is_near(v[1], v[0] == 0 ? 0 : (v[0] - 1) / 2, 1e-9 * v[0]);
    last = v[0];
  }
  stop = true;
  recording.join();
  CHECK(whole);
  PairMoments moments;
  WaitRunTable table;
  tally.add_to(table, moments);
  CHECK(static_cast<double>(sum_of(table)) == moments.count());
}

TEST_CASE("Throughput: before its end a window goes back to the start", "[exec][worker_pool]") {
  const TimePoint start{100s};
  Throughput throughput(start);
  using Rates = std::array<double, 3>;
  CHECK(throughput.at(start, 0) == Rates{0, 0, 0});
  CHECK(throughput.at(start, 5) == Rates{0, 0, 0});  // no time has passed
  CHECK(throughput.at(start + 100ms, 5) == Rates{50, 50, 50});
  CHECK(throughput.at(start + 500ms, 10) == Rates{20, 20, 20});
}

TEST_CASE("Throughput: windows forget what is older than they are", "[exec][worker_pool]") {
  const TimePoint start{100s};
  Throughput throughput(start);
  // 100 per second for 100 s, then nothing.
  std::uint64_t count = 0;
  TimePoint now = start;
  std::array<double, 3> rates{};
  for (int i = 0; i < 1000; ++i) rates = throughput.at(now += 100ms, count += 10);
  for (const double rate : rates) CHECK(is_near(rate, 100, 1e-6));
  for (int i = 0; i < 12; ++i) rates = throughput.at(now += 100ms, count);
  CHECK(rates[0] == 0);
  CHECK((rates[1] > 80 && rates[1] < 95));
  CHECK((rates[2] > 97 && rates[2] < 100));
  for (int i = 0; i < 680; ++i) rates = throughput.at(now += 100ms, count);
  CHECK(rates == std::array<double, 3>{0, 0, 0});
}

TEST_CASE("Throughput: covers the window, and at most an eighth more of it, if asked often", "[exec][worker_pool]") {
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp)
  const TimePoint start{100s};
  Throughput throughput(start);
  // The count is the time in microseconds squared, so that a rate tells exactly where it goes back to.
  const auto count_at = [&](TimePoint at) {
    const double us = std::chrono::duration<double, std::micro>(at - start).count();
    return static_cast<std::uint64_t>(us * us);
  };
  for (TimePoint now = start; now < start + 150s;) {
    now += std::chrono::microseconds(random() % 20'000 + 1);
    const auto rates = throughput.at(now, count_at(now));
    if (now < start + 70s) continue;
    for (std::size_t i = 0; i < rates.size(); ++i) {
      // (now^2 - then^2) / (now - then) = now + then
      const double now_us = std::chrono::duration<double, std::micro>(now - start).count();
      const double age = 2 * now_us - rates[i] / 1e6;
      const double window = std::chrono::duration<double, std::micro>(Throughput::kWindows[i]).count();
      if (age < window * 0.9999 || age > window * 1.125 + 20'100) FAIL("window " << i << ": " << age << " us");
    }
  }
}

TEST_CASE("Throughput: who asks seldom gets the rate since they did, whoever else asks", "[exec][worker_pool]") {
  const TimePoint start{100s};
  Throughput throughput(start);
  static_cast<void>(throughput.at(start + 15s, 150));
  const auto rates = throughput.at(start + 30s, 450);
  CHECK(rates[0] == 20);
  CHECK(rates[1] == 20);
  CHECK(rates[2] == 15);
  static_cast<void>(throughput.at(start + 44s + 800ms, 450));  // just before
  CHECK(throughput.at(start + 45s, 450)[0] == 0);
  CHECK(throughput.at(start + 45s, 500)[1] > 3);
}

TEST_CASE("WorkerPool: throughput is what has run since somebody asked", "[exec][worker_pool]") {
  ManualClock clock;
  const auto pool = make_pool({.workers = 1, .clock = &clock});
  CHECK(pool->stats().throughput_1s == 0);
  const auto run = [&](int jobs) {
    for (int i = 0; i < jobs; ++i) CHECK(pool->submit([] {})->get().ok());
  };
  run(30);
  clock.advance(1s);
  WorkerPoolStats stats = pool->stats();
  CHECK(stats.throughput_1s == 30);
  CHECK(stats.throughput_10s == 30);
  clock.advance(1s);
  run(10);
  stats = pool->stats();
  CHECK(stats.throughput_1s == 10);
  CHECK(stats.throughput_10s == 20);
  CHECK(stats.throughput_60s == 20);
  clock.advance(10s);
  CHECK(pool->stats().throughput_10s == 0);
}

TEST_CASE("WorkerPool: how long jobs wait and run is seen together", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  // Jobs that take longer and longer, one after the other: each waits for all that came before.
  const std::vector<Duration> runs = {5us, 20us, 100us, 3ms, 5ms, 800ms, 2s};
  Pairs pairs = {{0, 0}};
  {
    const auto pool =
        held_pool(gate, {.queue_wait_limit = Duration::max(), .processing_timeout = Duration::max(), .clock = &clock});
    Duration waited{};
    std::vector<Job<void>> jobs;
    for (const Duration run : runs) {
      jobs.push_back(pool->submit([&clock, run] { clock.advance(run); }).value());
      pairs.emplace_back(static_cast<double>(waited.count()), static_cast<double>(run.count()));
      waited += run;
    }
    CHECK(pool->stats().wait_run_correlation == 0);
    gate.open();
    for (Job<void>& job : jobs) CHECK(job.get().ok());
    const WorkerPoolStats stats = pool->stats();
    CHECK(is_near(stats.wait_run_correlation, two_pass_correlation(pairs), 1e-12));
    CHECK(sum_of(stats.wait_run) == runs.size() + 1);
    CHECK(stats.wait_run.jobs[0][0] == 2);  // 0 and 0, 0 and 5 us
    CHECK(stats.wait_run.jobs[0][1] == 1);  // 5 us and 20 us
    CHECK(stats.wait_run.jobs[1][1] == 1);  // 25 us and 100 us
    CHECK(stats.wait_run.jobs[2][3] == 1);  // 125 us and 3 ms
    CHECK(stats.wait_run.jobs[3][3] == 1);  // 3.125 ms and 5 ms
    CHECK(stats.wait_run.jobs[3][5] == 1);  // 8.125 ms and 800 ms
    CHECK(stats.wait_run.jobs[5][6] == 1);  // 808.125 ms and 2 s
  }
}

TEST_CASE("WorkerPool: jobs of all workers, past and present, and of callers are seen together",
          "[exec][worker_pool]") {
  const auto pool =
      make_pool({.workers = 3, .queue_capacity = 2, .overflow = OverflowPolicy::kCallerRuns, .min_workers = 1});
  for (int i = 0; i < 200; ++i) {
    CHECK(pool->execute([] {}) == OpStatus::kOk);
    if (i == 50) CHECK(pool->resize(1).ok());
    if (i == 100) CHECK(pool->resize(3).ok());
  }
  CHECK(pool->shutdown(Context::background()).is_drained());
  const WorkerPoolStats stats = pool->stats();
  CHECK(stats.succeeded == 200);
  CHECK(sum_of(stats.wait_run) == 200);
  CHECK(discrepancies(stats, true).empty());
}

TEST_CASE("WorkerPool: without measurement nothing is known of waits and runs", "[exec][worker_pool]") {
  const auto pool = make_pool({.workers = 1, .measure = false});
  for (int i = 0; i < 10; ++i) CHECK(pool->submit([] {})->get().ok());
  const WorkerPoolStats stats = pool->stats();
  CHECK(sum_of(stats.wait_run) == 0);
  CHECK(stats.wait_run_correlation == 0);
  CHECK(stats.succeeded == 10);
}

TEST_CASE("WorkerPool: all that it knows reaches a sink", "[exec][worker_pool]") {
  ManualClock clock;
  Gate gate;
  const auto pool = held_pool(gate, {.name = "p",
                                     .queue_capacity = 4,
                                     .overflow = OverflowPolicy::kReject,
                                     .queue_wait_limit = Duration::max(),
                                     .processing_timeout = 5s,
                                     .clock = &clock});
  Job<absl::Status> fails = pool->submit([] { return absl::NotFoundError("gone"); }).value();
  Job<void> throws = pool->submit([] { throw 1; }).value();
  CHECK(pool->try_submit([] {}) == OpStatus::kOk);
  clock.advance(2s);
  Samples before;
  pool->collect(before);
  CHECK_FALSE(before.has_doubles());
  CHECK(before.at("penstock_pool_queue_utilization p") == 0.75);
  CHECK(before.at("penstock_pool_worker_utilization p") == 1);
  CHECK(before.at("penstock_pool_workers_live p") == 1);
  CHECK(before.at("penstock_pool_workers_configured p") == 1);
  CHECK(before.at("penstock_pool_workers_stuck p") == 0);
  CHECK(before.at("penstock_pool_workers_retiring p") == 0);
  CHECK(before.at("penstock_pool_workers_joining p") == 0);
  CHECK(before.at("penstock_pool_workers_replacing p") == 0);
  CHECK(before.at("penstock_pool_oldest_queued_age_seconds p") == 2);
  CHECK(before.at("penstock_pool_codel_dropping p") == 0);
  CHECK(before.at("penstock_pool_wait_run_correlation p") == 0);
  clock.advance(3s);
  REQUIRE(eventually([&] { return pool->stats().stuck == 1; }));
  Samples stuck;
  pool->collect(stuck);
  CHECK(stuck.at("penstock_pool_workers_stuck p") == 1);
  gate.open();
  CHECK(absl::IsNotFound(fails.get()));
  CHECK(absl::IsInternal(throws.get()));
  CHECK(pool->shutdown(Context::background()).is_drained());
  clock.advance(1s);
  Samples after;
  pool->collect(after);
  CHECK(after.at("penstock_pool_failed_total p NOT_FOUND") == 1);
  CHECK(after.at("penstock_pool_error_rate p") == 0.75);  // one has succeeded
  CHECK(after.at("penstock_pool_throughput p 1s") == 4);
  CHECK(after.at("penstock_pool_throughput p 10s") == 4.0 / 6);
  CHECK(after.at("penstock_pool_throughput p 60s") == 4.0 / 6);
  CHECK(after.at("penstock_pool_jobs_per_worker p min") == 4);
  CHECK(after.at("penstock_pool_jobs_per_worker p max") == 4);
  CHECK(after.at("penstock_pool_wait_run_jobs_total p 0.00001 10") == 1);  // the one at the gate
  CHECK(after.at("penstock_pool_wait_run_jobs_total p 10 0.00001") == 3);
  CHECK(is_near(after.at("penstock_pool_wait_run_correlation p"), -1, 1e-12));
  for (const char* name :
       {"workers_added_total", "workers_removed_total", "workers_replaced_total", "workers_retired_total",
        "worker_failures_total", "late_results_total", "blocked_total", "caller_runs_total", "submitting", "starting",
        "paused", "started_total", "running", "overdue", "queue_capacity", "queue_high_water"}) {
    CHECK(after.at("penstock_pool_" + std::string(name) + " p") >= 0);
  }
}

}  // namespace
}  // namespace penstock
