// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Catch2, version 2.13 or 3, under the same names: the macros, `Approx`, and the string matchers `ContainsSubstring`,
/// `StartsWith`, `EndsWith`, `Equals`, `Matches`.
///
/// Threads: its macros belong to the main thread. Worker threads write to a Recorder (recorder.hpp) or to atomics.

#if PENSTOCK_CATCH2_VERSION == 2

#include <catch2/catch.hpp>

namespace penstock::testing {

using ::Approx;
using Catch::Matchers::EndsWith;
using Catch::Matchers::Equals;
using Catch::Matchers::Matches;
using Catch::Matchers::StartsWith;

inline auto ContainsSubstring(const std::string& text) { return Catch::Matchers::Contains(text); }

}  // namespace penstock::testing

#else

#include <catch2/catch_all.hpp>

namespace penstock::testing {

using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::Equals;
using Catch::Matchers::Matches;
using Catch::Matchers::StartsWith;

}  // namespace penstock::testing

#endif
