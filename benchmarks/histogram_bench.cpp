// SPDX-License-Identifier: MIT
// What recording a duration costs the thread that records, alone and beside others; and what the reader pays.
// Ideal: three thread-local additions and the search of the bucket, about 2 ns, with any number of threads.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <vector>

#include <benchmark/benchmark.h>

#include "penstock/metrics/histogram.hpp"

namespace {

using penstock::Duration;
using penstock::LatencyHistogram;

// Durations over all decades, so that the search of the bucket cannot be guessed.
const std::array<Duration, 1024>& latencies() {
  static const auto all = [] {
    std::array<Duration, 1024> result;
    std::uint64_t random = 1;
    for (Duration& latency : result) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      latency = Duration(static_cast<Duration::rep>((random >> 26) >> (random >> 60) * 2));
    }
    return result;
  }();
  return all;
}

void histogram_record(benchmark::State& state) {
  static LatencyHistogram histogram;
  std::size_t next = 0;
  for (auto _ : state) histogram.record(latencies()[next++ % latencies().size()]);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(histogram_record)->Name("histogram/record")->ThreadRange(1, 4)->UseRealTime();

// All samples, in order of arrival: exact, but it grows and every thread waits for the others.
void histogram_record_vector(benchmark::State& state) {
  constexpr std::size_t kKept = 1 << 16;
  static std::mutex mutex;
  static std::vector<Duration> kept;
  std::size_t next = 0;
  for (auto _ : state) {
    const std::lock_guard lock(mutex);
    if (kept.size() == kKept) kept.clear();
    kept.push_back(latencies()[next++ % latencies().size()]);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(histogram_record_vector)->Name("histogram/record@mutex_vector")->ThreadRange(1, 4)->UseRealTime();

// The same buckets behind a mutex: what the rows save.
void histogram_record_mutex(benchmark::State& state) {
  static std::mutex mutex;
  static LatencyHistogram::Snapshot histogram;
  std::size_t next = 0;
  for (auto _ : state) {
    const std::lock_guard lock(mutex);
    histogram.record(latencies()[next++ % latencies().size()]);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(histogram_record_mutex)->Name("histogram/record@mutex_buckets")->ThreadRange(1, 4)->UseRealTime();

// The search of the bucket alone, which all of the above but the vector contain.
void histogram_bucket_of(benchmark::State& state) {
  std::size_t next = 0;
  for (auto _ : state) benchmark::DoNotOptimize(LatencyHistogram::bucket_of(latencies()[next++ % latencies().size()]));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(histogram_bucket_of)->Name("histogram/bucket_of");

// A snapshot and three quantiles, as one scrape takes them.
void histogram_p99(benchmark::State& state) {
  static LatencyHistogram histogram;
  for (const Duration latency : latencies()) histogram.record(latency);
  for (auto _ : state) {
    const LatencyHistogram::Snapshot snapshot = histogram.snapshot();
    for (const double q : {0.5, 0.9, 0.99}) benchmark::DoNotOptimize(snapshot.quantile(q));
  }
}
BENCHMARK(histogram_p99)->Name("histogram/p50_p90_p99");

// The same from 1024 kept samples.
void histogram_p99_vector(benchmark::State& state) {
  const std::vector<Duration> kept(latencies().begin(), latencies().end());
  for (auto _ : state) {
    std::vector<Duration> copy = kept;
    for (const double q : {0.5, 0.9, 0.99}) {
      const auto rank = static_cast<std::ptrdiff_t>(q * static_cast<double>(copy.size() - 1));
      std::nth_element(copy.begin(), copy.begin() + rank, copy.end());
      benchmark::DoNotOptimize(copy[static_cast<std::size_t>(rank)]);
    }
  }
}
BENCHMARK(histogram_p99_vector)->Name("histogram/p50_p90_p99@mutex_vector");

}  // namespace
