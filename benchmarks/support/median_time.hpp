// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

namespace bench {

/// How long the samples of one call of a benchmark may take, with what lies between them. Benchmarks that have to put
/// right what they have done would otherwise spend minutes on that, for some microseconds that count.
inline std::chrono::nanoseconds sample_time_limit = std::chrono::milliseconds(300);

/// Measures `batch` calls of `each` in a row, again and again, with `before` and `after` around each row. What counts
/// is the row in the middle: the others have met an interrupt, or another program. For a benchmark with
/// `UseManualTime()`. A look at the clock, some 25 ns, is counted with each row.
template <class Before, class Each, class After>
void measure_median(benchmark::State& state, std::size_t batch, Before before, Each each, After after) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> rows;
  const Clock::time_point limit = Clock::now() + sample_time_limit;
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(batch))) {
    if (!rows.empty() && Clock::now() > limit) continue;
    before();
    const Clock::time_point begin = Clock::now();
    for (std::size_t i = 0; i != batch; ++i) each(i);
    const Clock::time_point end = Clock::now();
    after();
    rows.push_back(std::chrono::duration<double>(end - begin).count() / static_cast<double>(batch));
  }
  const auto middle = rows.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2);
  std::nth_element(rows.begin(), middle, rows.end());
  state.SetIterationTime(*middle * static_cast<double>(state.iterations()));
  state.counters["rows"] = static_cast<double>(rows.size());
}

}  // namespace bench
