// SPDX-License-Identifier: MIT
#include "penstock/route/limit_algorithm.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/status_text.hpp"

using namespace std::chrono_literals;
using namespace penstock;

namespace {

/// Gives each of `samples`, one second after the other. The limits before the first and after each.
std::vector<std::size_t> limits_after(LimitAlgorithm& algorithm, std::vector<LimitSample> samples) {
  std::vector<std::size_t> limits{algorithm.limit()};
  TimePoint now{};
  for (LimitSample& sample : samples) {
    sample.now = now += 1s;
    limits.push_back(algorithm.on_sample(sample));
    CHECK(limits.back() == algorithm.limit());
  }
  return limits;
}

std::vector<LimitSample> operator+(std::vector<LimitSample> all, const std::vector<LimitSample>& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<LimitSample> calls(std::size_t count, Duration rtt, std::size_t in_flight, bool dropped = false) {
  return std::vector<LimitSample>(count, LimitSample{rtt, in_flight, dropped, TimePoint{}});
}

using Limits = std::vector<std::size_t>;

}  // namespace

TEST_CASE("LimitAlgorithm: AIMD gives the golden vector", "[route][limit_algorithm]") {
  const auto aimd = make_limit_algorithm(AimdLimit{});
  CHECK(limits_after(*aimd, calls(5, 10ms, 20) + calls(1, 10ms, 5) + calls(1, 10ms, 25, true) + calls(1, 6s, 25) +
                                calls(1, 10ms, 100)) == Limits{20, 21, 22, 23, 24, 25, 25, 22, 20, 21});
}

TEST_CASE("LimitAlgorithm: Vegas gives the golden vector", "[route][limit_algorithm]") {
  const auto vegas = make_limit_algorithm(VegasLimit{.probe_multiplier = 0});
  CHECK(limits_after(*vegas, calls(4, 10ms, 1000) + calls(4, 12ms, 1000) + calls(4, 20ms, 1000) +
                                 calls(1, 10ms, 1000, true) + calls(1, 12ms, 1) + calls(2, 5ms, 1000)) ==
        Limits{20, 20, 26, 32, 38, 37, 36, 36, 36, 35, 34, 33, 32, 31, 31, 31, 37});
}

TEST_CASE("LimitAlgorithm: Gradient2 gives the golden vector", "[route][limit_algorithm]") {
  const auto gradient2 = make_limit_algorithm(Gradient2Limit{});
  CHECK(limits_after(*gradient2, calls(12, 10ms, 1000) + calls(8, 40ms, 1000) + calls(4, 10ms, 1000) +
                                     calls(1, 10ms, 1) + calls(1, 10ms, 1000, true)) ==
        Limits{20, 20, 21, 22, 23, 24, 24, 25, 26, 27, 28, 28, 29, 27,
               25, 23, 22, 20, 20, 20, 20, 20, 21, 22, 23, 23, 24});
}

TEST_CASE("LimitAlgorithm: a fixed limit stays", "[route][limit_algorithm]") {
  const auto fixed = make_limit_algorithm(FixedLimit{.limit = 7});
  CHECK(limits_after(*fixed, calls(2, 10ms, 7) + calls(2, 10h, 7, true)) == Limits{7, 7, 7, 7, 7});
}

TEST_CASE("LimitAlgorithm: Gradient backs off after a drop and grows by its queue", "[route][limit_algorithm]") {
  const auto gradient = make_limit_algorithm(GradientLimit{.probe_interval = 0});
  // 50 + int(sqrt 50), and so on; downwards a fifth of the change to nine tenths; 10 / 50: half, smoothed, + queue.
  CHECK(limits_after(*gradient, calls(2, 10ms, 1000) + calls(1, 10ms, 0, true) + calls(1, 10ms, 1) +
                                    calls(1, 50ms, 1000)) == Limits{50, 57, 64, 62, 62, 57});
}

TEST_CASE("LimitAlgorithm: Gradient forgets the shortest time after its interval", "[route][limit_algorithm]") {
  const auto gradient = make_limit_algorithm(GradientLimit{.initial = 100, .probe_interval = 20}, 3);
  std::size_t probes = 0;
  std::size_t since = 0;
  for (int i = 0; i != 1000; ++i) {
    ++since;
    if (gradient->on_sample({10ms, 1, false, TimePoint{}}) == 10 || gradient->min_rtt() == 0ns) {
      ++probes;
      CHECK(gradient->min_rtt() == 0ns);
      CHECK(since >= 21);
      CHECK(since <= 41);
      since = 0;
      // Back to 100, far above its queue.
      while (gradient->limit() < 100) gradient->on_sample({10ms, 1000, false, TimePoint{}}), ++since;
    }
  }
  CHECK(probes >= 5);
}

TEST_CASE("LimitAlgorithm: Vegas takes a sample as its shortest time within its bounds", "[route][limit_algorithm]") {
  const auto vegas = make_limit_algorithm(VegasLimit{.initial = 10, .max = 10, .probe_multiplier = 30}, 5);
  vegas->on_sample({1ms, 1, false, TimePoint{}});
  std::size_t since = 1;
  std::size_t probes = 0;
  for (int i = 0; i != 20000; ++i) {
    ++since;
    vegas->on_sample({std::chrono::milliseconds(2 + i), 1, false, TimePoint{}});
    if (vegas->min_rtt() != std::chrono::milliseconds(2 + i)) continue;
    ++probes;
    CHECK(since >= 150);
    CHECK(since <= 300);
    since = 0;
  }
  CHECK(probes >= 66);
}

TEST_CASE("LimitAlgorithm: Vegas with a slow start doubles once in each round trip, until calls queue",
          "[route][limit_algorithm]") {
  const auto vegas = make_limit_algorithm(VegasLimit{.initial = 2, .probe_multiplier = 0, .slow_start = true});
  TimePoint now{};
  const auto after = [&](Duration time, Duration rtt) { return vegas->on_sample({rtt, 1000, false, now += time}); };
  CHECK(after(10ms, 10ms) == 2);  // the shortest time
  CHECK(after(1ms, 10ms) == 4);
  CHECK(after(1ms, 10ms) == 4);  // began before
  CHECK(after(8ms, 10ms) == 4);
  CHECK(after(1ms, 10ms) == 8);
  CHECK(after(10ms, 10ms) == 16);
  now -= 1h;  // and a clock that steps back does not stop it
  CHECK(after(1ms, 10ms) == 16);
  CHECK(after(10ms, 10ms) == 32);
  CHECK(after(10ms, 12ms) == 32);  // 6 of 32 queue: it has started
  CHECK(after(10ms, 10ms) == 38);  // and goes on in steps
}

TEST_CASE("LimitAlgorithm: Gradient2 sheds below twenty if it is allowed to, and heeds drops",
          "[route][limit_algorithm]") {
  const Gradient2Limit as_given{};
  const auto deaf = make_limit_algorithm(as_given);
  const auto heedful = make_limit_algorithm(Gradient2Limit{.min = 1, .heed_drops = true});
  for (const LimitSample& drop : calls(100, 10ms, 1, true)) {
    CHECK(deaf->on_sample(drop) == 20);
    heedful->on_sample(drop);
  }
  CHECK(heedful->limit() == 8);  // where half of it and a queue of 4 are as much as it is
  CHECK(heedful->min_rtt() == 0ns);
}

TEST_CASE("LimitWindow: gives the algorithm what the calls of a window had in common", "[route][limit_algorithm]") {
  struct Recording final : LimitAlgorithm {
    explicit Recording(std::vector<LimitSample>& into) : samples(into) {}
    std::size_t on_sample(const LimitSample& sample) noexcept override {
      samples.push_back(sample);
      return 5;
    }
    std::size_t limit() const noexcept override { return 5; }
    std::string_view name() const noexcept override { return "recording"; }
    std::vector<LimitSample>& samples;
  };
  std::vector<LimitSample> given;
  const auto windowed = with_window(std::make_unique<Recording>(given), LimitWindow{});
  const TimePoint start = TimePoint{} + 1h;
  const auto at = [&](Duration when, Duration rtt, std::size_t in_flight, bool dropped = false) {
    CHECK(windowed->on_sample({rtt, in_flight, dropped, start + when}) == 5);
  };

  at(0s, 10ms, 1);  // ends the first window, which has only this
  for (int i = 1; i <= 8; ++i) at(i * 100ms, 10ms, 3);
  at(850ms, 99us, 100, true);  // too short to be looked at
  at(900ms, 30ms, 7, true);
  CHECK(given.empty());
  at(1s, 10ms, 3);  // a window ends later than its end
  CHECK(given.empty());
  at(1001ms, 21ms, 1);
  REQUIRE(given.size() == 1);
  CHECK(given[0].rtt == Duration(9 * 10ms + 30ms + 21ms) / 11);
  CHECK(given[0].in_flight == 7);
  CHECK(given[0].dropped);
  CHECK(given[0].now == start + 1001ms);

  for (int i = 1; i <= 8; ++i) at(1500ms, 10ms, 3);
  at(2500ms, 10ms, 3);  // only nine: thrown away
  CHECK(given.size() == 1);

  // A clock that steps back by a day begins a window of the usual length.
  for (int i = 1; i <= 10; ++i) at(-24h + 1s, 10ms, 3);
  at(-24h + 2001ms, 10ms, 3);
  CHECK(given.size() == 2);
}

TEST_CASE("LimitProbe: lets few through, and goes by those that began meanwhile", "[route][limit_algorithm]") {
  const auto algorithm =
      make_limit_algorithm(VegasLimit{}, std::nullopt, LimitProbe{.samples = 3, .interval = 10s, .jitter = 0.5}, 7);
  TimePoint now{};
  const auto after = [&](Duration time, Duration rtt, bool dropped = false) {
    return algorithm->on_sample({rtt, 3, dropped, now += time});
  };
  CHECK(algorithm->limit() == 3);  // it begins with a probe
  CHECK(after(1s, 10ms) == 3);
  CHECK(after(1s, 1ms, true) == 3);  // a drop says nothing about the time
  CHECK(after(1s, 12ms) == 3);
  CHECK(after(1s, 11ms) == 20);
  CHECK(algorithm->min_rtt() == 10ms);
  CHECK(algorithm->name() == "vegas");

  CHECK(after(9999ms, 10ms) == 20);
  CHECK(after(5001ms, 10ms) == 3);  // 10 s and at most half of it
  CHECK(after(1s, 2s) == 3);        // began before: among many
  CHECK(after(1s, 2s) == 3);        // exactly when the probe did
  CHECK(after(1s, 40ms) == 3);
  CHECK(after(1s, 50ms) == 20);
  CHECK(algorithm->min_rtt() == 40ms);

  now -= 24h;  // a clock that steps back puts the next probe off by no more than an interval
  CHECK(after(1s, 40ms) == 20);
  CHECK(after(15s, 40ms) == 3);
  now -= 24h;
  CHECK(after(1s, 100ms) == 3);
  CHECK(after(1s, 100ms) == 3);
  CHECK(after(1s, 100ms) == 20);
}

TEST_CASE("LimitProbe: around a window, what counts is how long calls take on average", "[route][limit_algorithm]") {
  // Half of the calls take 5 ms, the others 15 ms, and none has to queue.
  const auto algorithm = make_limit_algorithm(VegasLimit{}, LimitWindow{}, LimitProbe{.samples = 10});
  TimePoint now{};
  const auto call = [&](int i) { return algorithm->on_sample({i % 2 == 0 ? 5ms : 15ms, 100, false, now += 50ms}); };
  for (int i = 0; i != 10; ++i) call(i);
  CHECK(algorithm->min_rtt() == 10ms);
  std::size_t limit = 0;
  for (int i = 0; i != 1000; ++i) limit = call(i);
  CHECK(limit > 200);  // beside 5 ms, two calls of three would seem to queue, and it would fall
}

TEST_CASE("LimitProbe: one that takes too long goes by what it has", "[route][limit_algorithm]") {
  const auto algorithm = make_limit_algorithm(VegasLimit{}, std::nullopt, LimitProbe{.time_limit = 1s});
  TimePoint now{};
  CHECK(algorithm->on_sample({10ms, 1, false, now += 1s}) == 3);
  CHECK(algorithm->on_sample({20ms, 1, false, now += 990ms}) == 3);
  CHECK(algorithm->on_sample({20ms, 1, true, now += 1ms}) == 20);
  CHECK(algorithm->min_rtt() == 10ms);
}

namespace {

/// A back end that works on 50 calls at a time, 10 ms each, and is asked for more than that for ever: as many are under
/// way as the limit lets through. The highest limit of the last tenth of `count` calls.
std::size_t limit_under_endless_load(LimitAlgorithm& algorithm, int count) {
  constexpr double kCapacity = 50;
  TimePoint now{};
  std::size_t highest = 0;
  for (int i = 0; i != count; ++i) {
    const std::size_t in_flight = algorithm.limit();
    const double queueing = std::max(1.0, static_cast<double>(in_flight) / kCapacity);
    now += 200us;
    algorithm.on_sample({saturated(std::chrono::duration<double, std::milli>(10 * queueing)), in_flight, false, now});
    if (i >= count / 10 * 9) highest = std::max(highest, algorithm.limit());
  }
  return highest;
}

}  // namespace

TEST_CASE("LimitProbe: without it the limit drifts under endless load, with it it stays", "[route][limit_algorithm]") {
  const Gradient2Limit gradient2{.max = 10'000};
  const VegasLimit vegas{.max = 10'000};
  const GradientLimit gradient{.max = 10'000, .probe_interval = 0};
  const auto limit = [](const LimitOptions& options, bool probes) {
    const auto probe = probes ? std::optional(LimitProbe{.interval = 5s}) : std::nullopt;
    return limit_under_endless_load(*make_limit_algorithm(options, std::nullopt, probe), 200'000);
  };
  CHECK(limit(gradient2, false) == 10'000);
  CHECK(limit(vegas, false) > 200);
  CHECK(limit(gradient2, true) <= 80);  // L = 1.5 * 50 + 4 + rounding
  CHECK(limit(vegas, true) <= 56);      // at most 6 queue
  CHECK(limit(gradient, true) <= 111);  // L = 2 * 50 + sqrt(L)
}

TEST_CASE("LimitAlgorithm: no sample harms it", "[route][limit_algorithm]") {
  const std::vector<LimitOptions> all{FixedLimit{}, AimdLimit{.min = 1, .max = kMaxConcurrencyLimit},
                                      VegasLimit{.max = kMaxConcurrencyLimit, .slow_start = true},
                                      GradientLimit{.max = kMaxConcurrencyLimit, .probe_interval = 3},
                                      Gradient2Limit{.min = 1, .max = kMaxConcurrencyLimit, .heed_drops = true}};
  const std::vector<Duration> rtts{Duration::min(), -1ns, 0ns, 1ns, 1s, Duration::max()};
  const std::vector<std::size_t> in_flights{0, 1, 1000, std::numeric_limits<std::size_t>::max()};
  const std::vector<TimePoint> nows{TimePoint::min(), TimePoint{}, TimePoint{} + 10h, TimePoint::max()};
  for (const LimitOptions& options : all) {
    for (const bool wrapped : {false, true}) {
      const auto algorithm = make_limit_algorithm(
          options, wrapped ? std::optional(LimitWindow{.min_samples = 2, .max_length = Duration::max()}) : std::nullopt,
          wrapped ? std::optional(LimitProbe{.samples = 2, .interval = Duration::max()}) : std::nullopt, 11);
      std::size_t bad = 0;
      for (int round = 0; round != 50; ++round) {
        for (const Duration rtt : rtts) {
          for (const std::size_t in_flight : in_flights) {
            for (const TimePoint now : nows) {
              const std::size_t limit = algorithm->on_sample({rtt, in_flight, round % 7 == 0, now});
              if (limit < 1 || limit > kMaxConcurrencyLimit || limit != algorithm->limit()) ++bad;
            }
          }
        }
      }
      INFO(algorithm->name());
      CHECK(bad == 0);
      CHECK(algorithm->min_rtt() >= 0ns);
    }
  }
}

TEST_CASE("LimitAlgorithm: bad options are all named", "[route][limit_algorithm]") {
  using penstock::testing::text_of;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(text_of(FixedLimit{.limit = 0}.validate()) == "fixed limit: options.limit must be in [1, 1000000000], got 0");
  CHECK(text_of(AimdLimit{.initial = 5, .min = 0, .max = 4, .backoff = 1, .timeout = 0s}.validate()) ==
        "aimd limit: options.min must be in [1, max (4)], got 0; options.initial must be in [min (0), max (4)], got 5; "
        "options.backoff must be in (0, 1), got 1; options.timeout must be positive, got 0 ns");
  CHECK(text_of(VegasLimit{.initial = 0, .max = kMaxConcurrencyLimit + 1, .smoothing = nan}.validate()) ==
        "vegas limit: options.max must be in [1, 1000000000], got 1000000001; options.initial must be in [min (1), max "
        "(1000000001)], got 0; options.smoothing must be in (0, 1], got nan");
  CHECK(text_of(GradientLimit{.tolerance = infinity, .backoff = nan, .smoothing = -1}.validate()) ==
        "gradient limit: options.tolerance must be a number of at least 1, got inf; options.backoff must be in (0, 1), "
        "got nan; options.smoothing must be in (0, 1], got -1");
  CHECK(text_of(Gradient2Limit{.long_window = 0, .smoothing = 0, .tolerance = 0.9}.validate()) ==
        "gradient2 limit: options.long_window must be at least 1, got 0; options.smoothing must be in (0, 1], got 0; "
        "options.tolerance must be a number of at least 1, got 0.9");
  CHECK(text_of(LimitWindow{.min_rtt = -1ns, .min_samples = 0, .min_length = 2s}.validate()) ==
        "limit window: options.min_rtt must be not negative, got -1 ns; options.min_samples must be at least 1, got 0; "
        "options.max_length must be at least min_length (2000000000 ns), got 1000000000 ns");
  CHECK(
      text_of(
          LimitProbe{.concurrency = 0, .samples = 0, .interval = 0s, .jitter = nan, .time_limit = -1s}.validate()) ==
      "limit probe: options.concurrency must be in [1, 1000000000], got 0; options.samples must be at least 1, got 0; "
      "options.interval must be positive, got 0 ns; options.jitter must be in [0, 1], got nan; options.time_limit must "
      "be positive, got -1000000000 ns");
  CHECK(AimdLimit{}.validate().ok());
  CHECK(VegasLimit{}.validate().ok());
  CHECK(GradientLimit{}.validate().ok());
  CHECK(Gradient2Limit{}.validate().ok());
  CHECK(LimitWindow{}.validate().ok());
  CHECK(LimitProbe{}.validate().ok());
}
