// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What happens on the road, and who deals with it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "road.hpp"

namespace simulation {

struct Scenario {
  std::string name;
  std::string what;
  RoadOptions road;
};

/// Step, spike, slow provider, failing provider, day and night.
[[nodiscard]] const std::vector<Scenario>& scenarios();

/// A way to run the road.
struct Contender {
  std::string name;
  std::function<void(RoadOptions&)> adapt{};  ///< May be empty.
  std::function<Policy(const RoadOptions&, std::uint64_t seed)> policy{};
};

/// A constant number of workers.
[[nodiscard]] Contender fixed(std::string name, std::size_t workers);
/// The scaler of the design document, with its own figures.
[[nodiscard]] Contender document();
/// Our scaler, as it is without options.
[[nodiscard]] Contender ours();
/// `kManyWorkers`, with no limit on their calls; then with each limit.
[[nodiscard]] std::vector<Contender> limits();
/// Our scaler, and a limit.
[[nodiscard]] Contender ours_with_limit();

/// The fewest and the most workers that a scaler may have: somebody believes that the provider bears 64 calls, of which
/// it has to let 14 wait.
inline constexpr std::size_t kFewestWorkers = 4;
inline constexpr std::size_t kMostWorkers = 64;
/// With a limit, nobody needs to believe anything.
inline constexpr std::size_t kManyWorkers = 100;

}  // namespace simulation
