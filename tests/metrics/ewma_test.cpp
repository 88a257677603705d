// SPDX-License-Identifier: MIT
#include "penstock/metrics/ewma.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"

namespace penstock {
namespace {

using Values = std::vector<std::uint64_t>;

Values after_each(const Values& samples) {
  IntegerEwma ewma;
  Values values;
  for (const std::uint64_t sample : samples) {
    ewma.add(sample);
    values.push_back(ewma.value());
  }
  return values;
}

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("IntegerEwma: the published vectors", "[metrics][ewma]") {
  CHECK(after_each({1000}) == Values{0});
  CHECK(after_each({1000, 100}) == Values{0, 50});
  CHECK(after_each({1000, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100}) ==
        Values{0, 50, 75, 87, 93, 96, 98, 99, 99, 99, 99});
  CHECK(after_each({0, 1, 1, 1, 1}) == Values{0, 0, 0, 0, 0});
  CHECK(after_each({0, 3, 3, 3, 3}) == Values{0, 1, 2, 2, 2});
  CHECK(after_each({7, 7, 7, 7, 7, 7}) == Values{0, 3, 5, 6, 6, 6});
  CHECK(after_each({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}) == Values{0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  CHECK(after_each({0, kMax, kMax}) == Values{0, 1844674407370955161U, 922337203685477580U});
  CHECK(after_each({0, 3689348814741910324U, 0}) == Values{0, 0, 0});
}

TEST_CASE("IntegerEwma: it settles one below from below, and at the value from above", "[metrics][ewma]") {
  IntegerEwma from_above;
  from_above.add(0);
  from_above.add(100'000);
  for (int i = 0; i != 100; ++i) from_above.add(100);
  CHECK(from_above.value() == 100);
  IntegerEwma from_below;
  for (int i = 0; i != 100; ++i) from_below.add(100);
  CHECK(from_below.value() == 99);
  CHECK(from_below.count() == 100);
}

TEST_CASE("IntegerEwma: the longest duration in milliseconds does not wrap", "[metrics][ewma]") {
  constexpr auto kLongest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / 1'000'000;
  IntegerEwma ewma;
  std::uint64_t last = 0;
  for (int i = 0; i != 200; ++i) {
    ewma.add(kLongest);
    CHECK(ewma.value() >= last);
    last = ewma.value();
  }
  CHECK(last == kLongest - 1);
}

TEST_CASE("IntegerEwma: against a naive reference", "[metrics][ewma]") {
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same each time
  for (int round = 0; round != 2000; ++round) {
    IntegerEwma ewma;
    std::uint64_t reference = 0;
    const unsigned bits = 1 + static_cast<unsigned>(random() % 60);  // below where it wraps
    for (int i = 0; i != 30; ++i) {
      const std::uint64_t sample = random() >> (64 - bits);
      ewma.add(sample);
      if (i != 0) reference = reference / 2 + sample / 2 + (reference & sample & 1);  // half of the sum, cut off
      REQUIRE(ewma.value() == reference);
    }
  }
}

TEST_CASE("Ewma: it is right from the first sample on, and rests at what it is given", "[metrics][ewma]") {
  Ewma ewma(0.1);
  CHECK(ewma.value() == 0);
  ewma.add(250);
  CHECK(ewma.value() == 250);
  for (int i = 0; i != 1000; ++i) ewma.add(250);
  CHECK(ewma.value() == 250);
  Ewma two(0.5);
  two.add(100);
  two.add(400);
  CHECK(two.value() == Approx(300));  // weights 1 and 2
}

TEST_CASE("Ewma: against the sum with its weights", "[metrics][ewma]") {
  std::mt19937_64 random(11);  // NOLINT(cert-msc51-cpp): the same each time
  for (const double alpha : {0.01, 0.2, 0.5, 0.9, 1.0}) {
    Ewma ewma(alpha);
    std::vector<double> samples;
    for (int i = 0; i != 200; ++i) {
      samples.push_back(static_cast<double>(random() % 1'000'000));
      ewma.add(samples.back());
      double sum = 0;
      double weights = 0;
      double weight = 1;
      for (auto at = samples.rbegin(); at != samples.rend(); ++at) {
        sum += weight * *at;
        weights += weight;
        weight *= 1 - alpha;
      }
      REQUIRE(ewma.value() == Approx(sum / weights).epsilon(1e-9));
    }
  }
}

TEST_CASE("Ewma: it stays a number whatever comes", "[metrics][ewma]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  Ewma ewma(nan);
  CHECK(ewma.alpha() > 0);
  ewma.add(nan);
  CHECK(ewma.count() == 0);
  for (int i = 0; i != 100; ++i) {
    ewma.add(i % 2 == 0 ? kInfinity : -kInfinity);
    ewma.add(nan);
    CHECK(std::isfinite(ewma.value()));
  }
  CHECK(Ewma(7).alpha() == 1);
  CHECK(Ewma(-1).alpha() > 0);
  Ewma largest(0.5);
  for (int i = 0; i != 100; ++i) largest.add(9.3e18);
  CHECK(largest.value() == 9.3e18);
}

}  // namespace
}  // namespace penstock
