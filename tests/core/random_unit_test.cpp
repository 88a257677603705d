// SPDX-License-Identifier: MIT

#include <cmath>
#include <cstdint>

#include "penstock/core/detail/random_unit.hpp"
#include "support/catch.hpp"

using penstock::detail::RandomUnit;

TEST_CASE("RandomUnit: equal seeds give equal numbers, in the unit interval", "[core][random_unit]") {
  RandomUnit one(7);
  RandomUnit same(7);
  RandomUnit other(8);
  double sum = 0;
  int different = 0;
  for (int i = 0; i != 10'000; ++i) {
    const double value = one.next();
    REQUIRE(value == same.next());
    REQUIRE((value >= 0 && value < 1));
    different += value != other.next() ? 1 : 0;
    sum += value;
  }
  CHECK(different > 9'990);
  CHECK(std::abs(sum / 10'000 - 0.5) < 0.015);
}

TEST_CASE("RandomUnit: numbers are those of splitmix64, in any order", "[core][random_unit]") {
  // The first three outputs for the seed 1234567 of Vigna's reference implementation, of which 53 bits are taken.
  const std::uint64_t reference[] = {6457827717110365317U, 3203168211198807973U, 9817491932198370423U};
  RandomUnit random(1234567);
  for (std::uint64_t index = 0; index < 3; ++index) {
    const double expected = static_cast<double>(reference[index] >> 11U) / 9007199254740992.0;
    CHECK(random.next() == expected);
    CHECK(RandomUnit::at(1234567, index) == expected);
  }
}
