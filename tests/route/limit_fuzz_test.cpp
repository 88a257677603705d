// SPDX-License-Identifier: MIT

// Each algorithm against a reference that computes every limit anew from all samples so far: one loop over the history,
// the formulas as they are written down, in integers where the formulas have integers.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "penstock/route/limit_algorithm.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using namespace penstock;

namespace {

using History = std::vector<LimitSample>;

std::int64_t ns(const LimitSample& sample) { return sample.rtt.count(); }

std::size_t expected(const AimdLimit& options, const History& history) {
  auto limit = static_cast<std::int64_t>(options.initial);
  for (const LimitSample& sample : history) {
    if (sample.dropped || sample.rtt > options.timeout) {
      limit = static_cast<std::int64_t>(static_cast<double>(limit) * options.backoff);
    } else if (2 * static_cast<std::int64_t>(sample.in_flight) >= limit) {
      limit = limit + 1;
    }
    if (limit < static_cast<std::int64_t>(options.min)) limit = static_cast<std::int64_t>(options.min);
    if (limit > static_cast<std::int64_t>(options.max)) limit = static_cast<std::int64_t>(options.max);
  }
  return static_cast<std::size_t>(limit);
}

int lg(double limit) {
  int digits = 0;
  for (auto rest = static_cast<std::int64_t>(limit); rest >= 10; rest /= 10) ++digits;
  return digits < 1 ? 1 : digits;
}

std::size_t expected(const VegasLimit& options, const History& history) {
  double limit = static_cast<double>(options.initial);
  std::int64_t rtt0 = 0;
  for (const LimitSample& sample : history) {
    if (rtt0 == 0 || ns(sample) < rtt0) {
      rtt0 = ns(sample);
      continue;
    }
    const int queue =
        static_cast<int>(std::ceil(limit * (1 - static_cast<double>(rtt0) / static_cast<double>(ns(sample)))));
    const int alpha = 3 * lg(limit);
    const int beta = 6 * lg(limit);
    const int threshold = lg(limit);
    double next = 0;
    if (sample.dropped) {
      next = limit - lg(limit);
    } else if (static_cast<double>(2 * sample.in_flight) < limit) {
      continue;
    } else if (queue <= threshold) {
      next = limit + beta;
    } else if (queue < alpha) {
      next = limit + lg(limit);
    } else if (queue > beta) {
      next = limit - lg(limit);
    } else {
      continue;
    }
    next = std::max(1.0, std::min(static_cast<double>(options.max), next));
    limit = (1 - options.smoothing) * limit + options.smoothing * next;
  }
  return static_cast<std::size_t>(limit);
}

std::size_t expected(const GradientLimit& options, const History& history) {
  double limit = static_cast<double>(options.initial);
  std::int64_t rtt0 = 0;
  for (const LimitSample& sample : history) {
    int root = 0;
    while ((root + 1) * (root + 1) <= static_cast<int>(limit)) ++root;
    const int queue = std::max(4, root);
    rtt0 = rtt0 == 0 ? ns(sample) : std::min(rtt0, ns(sample));
    const double ratio = options.tolerance * static_cast<double>(rtt0) / static_cast<double>(ns(sample));
    const double gradient = ratio > 1 ? 1 : ratio < 0.5 ? 0.5 : ratio;
    double next = limit * gradient + queue;
    if (sample.dropped) {
      next = options.backoff * limit;
    } else if (static_cast<double>(2 * sample.in_flight) < limit) {
      continue;
    }
    if (next < limit) {
      next = std::max(static_cast<double>(options.min), limit * (1 - options.smoothing) + options.smoothing * next);
    }
    limit = std::max<double>(queue, next);
    limit = std::min(static_cast<double>(options.max), limit);
  }
  return static_cast<std::size_t>(limit);
}

std::size_t expected(const Gradient2Limit& options, const History& history) {
  double limit = static_cast<double>(options.initial);
  double average = 0;
  double sum = 0;
  int count = 0;
  for (const LimitSample& sample : history) {
    double gradient = 0.5;
    if (!options.heed_drops || !sample.dropped) {
      const auto rtt = static_cast<double>(ns(sample));
      if (++count <= 10) {
        sum += rtt;
        average = sum / count;
      } else {
        const double factor = 2.0 / static_cast<double>(options.long_window + 1);
        average = average * (1 - factor) + rtt * factor;
      }
      const double used = average;
      if (used / rtt > 2) average = used * 0.95;
      if (static_cast<double>(2 * sample.in_flight) < limit) continue;
      gradient = std::max(0.5, std::min(1.0, options.tolerance * used / rtt));
    }
    double next = limit * gradient + static_cast<double>(options.queue);
    next = limit * (1 - options.smoothing) + next * options.smoothing;
    limit = std::max(static_cast<double>(options.min), std::min(static_cast<double>(options.max), next));
  }
  return static_cast<std::size_t>(limit);
}

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : engine_(seed) {}
  std::size_t number(std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(engine_);
  }
  double real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  bool one_in(std::size_t n) { return number(1, n) == 1; }

 private:
  std::mt19937 engine_;
};

/// A stretch of calls that have something in common, as a load has.
History history(Dice& dice, std::size_t length) {
  History samples;
  TimePoint now{};
  while (samples.size() < length) {
    const auto rtt = static_cast<std::int64_t>(std::pow(10.0, dice.real(0, 11)));
    const std::size_t in_flight = dice.number(0, dice.one_in(2) ? 40 : 2000);
    for (std::size_t left = dice.number(1, 30); left != 0 && samples.size() < length; --left) {
      const auto varied = static_cast<std::int64_t>(static_cast<double>(rtt) * dice.real(0.8, 3));
      now += std::chrono::milliseconds(dice.number(0, 300));
      samples.push_back({Duration(std::max<std::int64_t>(1, varied)), in_flight, dice.one_in(12), now});
    }
  }
  return samples;
}

struct Range {
  std::size_t initial;
  std::size_t min;
  std::size_t max;
};

Range range(Dice& dice) {
  const std::size_t min = dice.number(1, 30);
  const std::size_t max = min + dice.number(0, dice.one_in(2) ? 30 : 3000);
  return {dice.number(min, max), min, max};
}

template <class Options>
void compare(std::uint32_t seed, const Options& options, Dice& dice) {
  REQUIRE(options.validate().ok());
  const History samples = history(dice, 120);
  const auto algorithm = make_limit_algorithm(options);
  History so_far;
  for (const LimitSample& sample : samples) {
    so_far.push_back(sample);
    const std::size_t got = algorithm->on_sample(sample);
    const std::size_t want = expected(options, so_far);
    if (got == want) continue;
    INFO(algorithm->name() << ", seed " << seed << ", sample " << so_far.size());
    REQUIRE(got == want);
  }
}

}  // namespace

TEST_CASE("LimitAlgorithm: each decides what its formula says", "[route][limit_algorithm][fuzz]") {
  for (std::uint32_t seed = 1; seed <= 400; ++seed) {
    Dice dice(seed);
    const Range r = range(dice);
    compare(seed,
            AimdLimit{.initial = r.initial,
                      .min = r.min,
                      .max = r.max,
                      .backoff = dice.real(0.05, 0.99),
                      .timeout = Duration(dice.number(1, 100'000'000'000))},
            dice);
    compare(seed,
            VegasLimit{.initial = r.initial, .max = r.max, .smoothing = dice.real(0.01, 1), .probe_multiplier = 0},
            dice);
    compare(seed,
            GradientLimit{.initial = r.initial,
                          .min = r.min,
                          .max = r.max,
                          .tolerance = dice.real(1, 4),
                          .backoff = dice.real(0.05, 0.99),
                          .smoothing = dice.real(0.01, 1),
                          .probe_interval = 0},
            dice);
    compare(seed,
            Gradient2Limit{.initial = r.initial,
                           .min = r.min,
                           .max = r.max,
                           .queue = dice.number(0, 20),
                           .long_window = dice.number(1, 1000),
                           .smoothing = dice.real(0.01, 1),
                           .tolerance = dice.real(1, 4),
                           .heed_drops = dice.one_in(2)},
            dice);
  }
}

TEST_CASE("LimitWindow: gives what its rule says", "[route][limit_algorithm][fuzz]") {
  struct Given {
    Duration rtt;
    std::size_t in_flight;
    bool dropped;
    bool operator==(const Given&) const = default;
  };
  struct Recording final : LimitAlgorithm {
    explicit Recording(std::vector<Given>& into) : given(into) {}
    std::size_t on_sample(const LimitSample& sample) noexcept override {
      given.push_back({sample.rtt, sample.in_flight, sample.dropped});
      return 1;
    }
    std::size_t limit() const noexcept override { return 1; }
    std::string_view name() const noexcept override { return "recording"; }
    std::vector<Given>& given;
  };
  std::size_t windows = 0;
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    Dice dice(seed);
    const LimitWindow options{.min_rtt = Duration(dice.number(0, 1'000'000)),
                              .min_samples = dice.number(1, 20),
                              .min_length = std::chrono::milliseconds(dice.number(1, 1000)),
                              .max_length = std::chrono::milliseconds(dice.number(1000, 5000))};
    const History samples = history(dice, 400);
    std::vector<Given> got;
    const auto windowed = with_window(std::make_unique<Recording>(got), options);
    for (const LimitSample& sample : samples) windowed->on_sample(sample);

    std::vector<Given> want;
    History in_window;
    std::optional<TimePoint> next_update;
    for (const LimitSample& sample : samples) {
      if (sample.rtt < options.min_rtt) continue;
      in_window.push_back(sample);
      if (next_update && sample.now <= *next_update) continue;
      Duration min = in_window.front().rtt;
      Duration sum{};
      Given all{{}, 0, false};
      for (const LimitSample& each : in_window) {
        min = std::min(min, each.rtt);
        sum += each.rtt;
        all.in_flight = std::max(all.in_flight, each.in_flight);
        all.dropped |= each.dropped;
      }
      all.rtt = sum / static_cast<std::int64_t>(in_window.size());
      if (in_window.size() >= options.min_samples) want.push_back(all);
      next_update = sample.now + std::max(options.min_length, std::min(options.max_length, 2 * min));
      in_window.clear();
    }
    windows += want.size();
    INFO("seed " << seed);
    REQUIRE(got == want);
  }
  CHECK(windows > 1000);
}
