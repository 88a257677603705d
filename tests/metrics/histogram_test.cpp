// SPDX-License-Identifier: MIT
#include "penstock/metrics/histogram.hpp"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "support/aborts.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using Snapshot = LatencyHistogram::Snapshot;

constexpr std::size_t kLast = LatencyHistogram::kBuckets - 1;

/// What bucket_of computes, without any arithmetic.
std::size_t searched_bucket(Duration latency) {
  std::size_t bucket = 0;
  while (LatencyHistogram::upper_bound(bucket) < latency) ++bucket;
  return bucket;
}

Duration random_latency(std::mt19937_64& random) {
  return Duration(static_cast<Duration::rep>(std::exp(std::uniform_real_distribution<>(0, std::log(1e12))(random))));
}

TEST_CASE("LatencyHistogram: bounds are round, ascending, and no more than 12.5 % apart", "[metrics][histogram]") {
  CHECK(LatencyHistogram::upper_bound(0) == 1us);
  CHECK(LatencyHistogram::upper_bound(kLast - 1) == 300s);
  CHECK(LatencyHistogram::upper_bound(kLast) == Duration::max());
  for (std::size_t bucket = 1; bucket < kLast; ++bucket) {
    const Duration low = LatencyHistogram::upper_bound(bucket - 1);
    const Duration high = LatencyHistogram::upper_bound(bucket);
    REQUIRE(low < high);
    REQUIRE((high - low) * 8 <= low);
  }
  for (Duration decade = 1us; decade <= 100s; decade *= 10) {
    for (const int tenths : {10, 11, 12, 15, 20, 25, 30, 40, 50, 60, 75, 80, 90, 100}) {
      const Duration bound = decade / 10 * tenths;
      if (bound <= 300s) REQUIRE(LatencyHistogram::upper_bound(LatencyHistogram::bucket_of(bound)) == bound);
    }
  }
}

TEST_CASE("LatencyHistogram: a bucket holds its upper bound and not its lower one", "[metrics][histogram]") {
  for (std::size_t bucket = 0; bucket < kLast; ++bucket) {
    const Duration bound = LatencyHistogram::upper_bound(bucket);
    REQUIRE(LatencyHistogram::bucket_of(bound - 1ns) == bucket);
    REQUIRE(LatencyHistogram::bucket_of(bound) == bucket);
    REQUIRE(LatencyHistogram::bucket_of(bound + 1ns) == bucket + 1);
  }
}

TEST_CASE("LatencyHistogram: every duration has its bucket", "[metrics][histogram]") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200'000; ++round) {
    const Duration latency = random_latency(random);
    if (LatencyHistogram::bucket_of(latency) != searched_bucket(latency)) {
      FAIL("wrong bucket for " << latency.count() << " ns");
    }
  }
  CHECK(LatencyHistogram::bucket_of(0ns) == 0);
  CHECK(LatencyHistogram::bucket_of(-1ns) == 0);
  CHECK(LatencyHistogram::bucket_of(Duration::min()) == 0);
  CHECK(LatencyHistogram::bucket_of(Duration::max()) == kLast);
  CHECK_THAT(testing::message_of_abort([] { static_cast<void>(LatencyHistogram::upper_bound(kLast + 1)); }),
             testing::ContainsSubstring("no such bucket"));
}

TEST_CASE("LatencyHistogram: keeps count, sum, maximum and mean", "[metrics][histogram]") {
  LatencyHistogram histogram;
  CHECK(histogram.snapshot() == Snapshot());
  histogram.record(10ms);
  histogram.record(-5s);
  histogram.record(20ms);
  const Snapshot snapshot = histogram.snapshot();
  CHECK(snapshot.count() == 3);
  CHECK(snapshot.sum() == 30ms);
  CHECK(snapshot.sum_seconds() == testing::Approx(0.03));
  CHECK(snapshot.max() == 20ms);
  CHECK(snapshot.mean() == 10ms);
  CHECK(snapshot.buckets()[0] == 1);
  CHECK(Snapshot().mean() == 0ns);
}

TEST_CASE("LatencyHistogram: the longest durations neither overflow nor vanish", "[metrics][histogram]") {
  LatencyHistogram histogram;
  for (int round = 0; round < 5; ++round) histogram.record(Duration::max());
  histogram.record(301s);
  const Snapshot snapshot = histogram.snapshot();
  CHECK(snapshot.count() == 6);
  CHECK(snapshot.buckets()[kLast] == 6);
  CHECK(snapshot.max() == Duration::max());
  CHECK(snapshot.sum() == Duration::max());
  CHECK(snapshot.sum_seconds() == testing::Approx(5 * 9223372036.854775807 + 301));
  CHECK(snapshot.quantile(0.5) >= 300s);
  CHECK(snapshot.quantile(1) == Duration::max());
}

TEST_CASE("LatencyHistogram: a quantile is in the bucket of the true value", "[metrics][histogram]") {
  std::mt19937_64 random(2);
  std::vector<Duration> (*const distributions[])(std::mt19937_64&) = {
      [](std::mt19937_64& r) {  // over all decades
        std::vector<Duration> all;
        for (int i = 0; i < 2'000; ++i) all.push_back(random_latency(r));
        return all;
      },
      [](std::mt19937_64& r) {  // exponential, as waits in a queue are
        std::vector<Duration> all;
        std::exponential_distribution<> seconds(20);
        for (int i = 0; i < 5'000; ++i) all.push_back(saturated(std::chrono::duration<double>(seconds(r))));
        return all;
      },
      [](std::mt19937_64& r) {  // hits and misses
        std::vector<Duration> all;
        for (int i = 0; i < 1'000; ++i) all.push_back(r() % 10 == 0 ? 2s : 3ms);
        return all;
      },
      [](std::mt19937_64&) { return std::vector<Duration>(100, 100ms); },
      [](std::mt19937_64&) { return std::vector<Duration>(1, 7ns); },
  };
  for (const auto make : distributions) {
    std::vector<Duration> latencies = make(random);
    std::sort(latencies.begin(), latencies.end());
    Snapshot histogram;
    for (const Duration latency : latencies) histogram.record(latency);
    for (const double q : {0.0, 0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const double rank = std::max(1.0, std::ceil(q * static_cast<double>(latencies.size())));
      const Duration truth = latencies[static_cast<std::size_t>(rank) - 1];
      const Duration estimate = histogram.quantile(q);
      if (truth > 300s) {
        CHECK(estimate >= 300s);
        CHECK(estimate <= histogram.max());
      } else {
        CHECK(std::abs((estimate - truth).count()) <= std::max<std::int64_t>(truth.count() / 8, 1'000));
      }
    }
  }
}

TEST_CASE("LatencyHistogram: quantiles interpolate, so that like loads look alike", "[metrics][histogram]") {
  Snapshot histogram;
  for (int millis = 1; millis <= 10'000; ++millis) histogram.record(std::chrono::milliseconds(millis));
  for (const double q : {0.1, 0.25, 0.5, 0.75, 0.9, 0.99}) {
    CHECK(std::chrono::duration<double>(histogram.quantile(q)).count() == testing::Approx(10 * q).epsilon(0.01));
  }
}

TEST_CASE("LatencyHistogram: quantiles of nothing, and of nonsense", "[metrics][histogram]") {
  Snapshot histogram;
  CHECK(histogram.quantile(0.5) == 0ns);
  CHECK(histogram.quantile(1) == 0ns);
  histogram.record(10ms);
  histogram.record(20ms);
  CHECK(histogram.quantile(std::numeric_limits<double>::quiet_NaN()) == 0ns);
  CHECK(histogram.quantile(-1) == histogram.quantile(0));
  CHECK(histogram.quantile(17) == 20ms);
  CHECK(histogram.quantile(0) <= 10ms);
}

TEST_CASE("LatencyHistogram: counts up to a bucket's bound are exact", "[metrics][histogram]") {
  Snapshot histogram;
  for (const Duration latency : {99ms, 100ms, 101ms, 250ms, 400000ms}) histogram.record(latency);
  CHECK(histogram.count_up_to(100ms) == 2);
  CHECK(histogram.count_up_to(105ms) == 2);  // no bound: that of 100 ms
  CHECK(histogram.count_up_to(250ms) == 4);
  CHECK(histogram.count_up_to(300s) == 4);
  CHECK(histogram.count_up_to(Duration::max()) == 5);
  CHECK(histogram.count_up_to(1ns) == 0);
  CHECK(histogram.count_up_to(-1s) == 0);
}

TEST_CASE("LatencyHistogram: merged parts are the whole", "[metrics][histogram]") {
  std::mt19937_64 random(3);
  Snapshot whole;
  Snapshot parts[3];
  for (int round = 0; round < 5'000; ++round) {
    const Duration latency = random_latency(random);
    whole.record(latency);
    parts[round % 3].record(latency);
  }
  Snapshot merged;
  for (const Snapshot& part : parts) merged.merge(part);
  CHECK(merged == whole);
  merged.merge(Snapshot());
  CHECK(merged == whole);
}

TEST_CASE("LatencyHistogram: the difference of two snapshots is what happened between them", "[metrics][histogram]") {
  LatencyHistogram histogram;
  histogram.record(40s);
  histogram.record(2ms);
  const Snapshot earlier = histogram.snapshot();
  CHECK(histogram.snapshot().since(earlier) == Snapshot());
  Snapshot between;
  for (const Duration latency : {3ms, 3ms, 12ms}) {
    histogram.record(latency);
    between.record(latency);
  }
  const Snapshot difference = histogram.snapshot().since(earlier);
  CHECK(difference.count() == 3);
  CHECK(difference.sum() == 18ms);
  CHECK(std::equal(difference.buckets().begin(), difference.buckets().end(), between.buckets().begin()));
  CHECK(difference.max() == 12ms);  // the bound of its bucket; the maximum of 40 s was before
  histogram.record(50s);
  CHECK(histogram.snapshot().since(earlier).max() == 50s);

  SECTION("the wrong way round it is empty") {
    CHECK(earlier.since(histogram.snapshot()).count() == 0);
    CHECK(earlier.since(histogram.snapshot()).sum() == 0ns);
  }
  SECTION("since nothing it is all") { CHECK(histogram.snapshot().since(Snapshot()) == histogram.snapshot()); }
}

TEST_CASE("LatencyHistogram: several at once are recorded like one by one", "[metrics][histogram]") {
  Snapshot one_by_one;
  for (int round = 0; round < 1'000; ++round) one_by_one.record(3ms);
  Snapshot at_once;
  at_once.record(3ms, 1'000);
  at_once.record(5s, 0);
  CHECK(at_once == one_by_one);
}

TEST_CASE("LatencyHistogram: no record is lost, whatever the number of threads", "[metrics][histogram][stress]") {
  constexpr unsigned kRounds = 50'000;              // long enough for threads to meet
  const unsigned threads = GENERATE(2U, 16U, 40U);  // with 40 at least 24 share a row
  LatencyHistogram histogram;
  std::barrier start(static_cast<std::ptrdiff_t>(threads));
  std::vector<std::thread> running;
  for (unsigned index = 0; index < threads; ++index) {
    running.emplace_back([&, index] {
      start.arrive_and_wait();
      for (unsigned round = 0; round < kRounds; ++round) {
        histogram.record(std::chrono::microseconds(1 + (round * 7 + index) % 1'000));
      }
      start.arrive_and_wait();
    });
  }
  for (std::thread& thread : running) thread.join();
  Snapshot expected;
  for (unsigned index = 0; index < threads; ++index) {
    for (unsigned round = 0; round < kRounds; ++round) {
      expected.record(std::chrono::microseconds(1 + (round * 7 + index) % 1'000));
    }
  }
  CHECK(histogram.snapshot() == expected);
}

TEST_CASE("LatencyHistogram: a snapshot in the midst of it is consistent", "[metrics][histogram][stress]") {
  LatencyHistogram histogram;
  std::atomic<int> running{4};
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&, index] {
      for (int round = 1; round <= 20'000; ++round) histogram.record(std::chrono::microseconds(round + index));
      --running;
    });
  }
  bool consistent = true;
  Snapshot last;
  while (running > 0) {
    const Snapshot now = histogram.snapshot();
    std::uint64_t count = 0;
    Duration least_sum{0};
    Duration least_max{0};
    for (std::size_t bucket = 0; bucket < LatencyHistogram::kBuckets; ++bucket) {
      const std::uint64_t here = now.buckets()[bucket];
      consistent = consistent && here >= last.buckets()[bucket];
      count += here;
      if (here == 0 || bucket == 0) continue;
      const Duration low = LatencyHistogram::upper_bound(bucket - 1);
      least_sum += low * static_cast<std::int64_t>(here);
      least_max = low + 1ns;
    }
    consistent = consistent && count == now.count() && now.sum() >= least_sum && now.max() >= least_max;
    last = now;
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(consistent);
  CHECK(histogram.snapshot().count() == 80'000);
  CHECK(histogram.snapshot().max() == 20'003us);
}

}  // namespace
}  // namespace penstock
