// SPDX-License-Identifier: MIT
#include "penstock/core/detail/duration_text.hpp"

#include <cmath>

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI::detail {

std::string duration_text(Duration duration) {
  struct Unit {
    double nanoseconds;
    const char* name;
  };
  static constexpr Unit kUnits[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
  const auto count = static_cast<double>(duration.count());
  for (const Unit& unit : kUnits) {
    if (std::fabs(count) >= unit.nanoseconds) return fmt::format("{:.4g} {}", count / unit.nanoseconds, unit.name);
  }
  return duration.count() == 0 ? "0 s" : fmt::format("{} ns", duration.count());
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
