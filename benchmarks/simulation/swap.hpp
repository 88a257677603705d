// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Policies of a swap scheduler among the same models and clients.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/swap/swap_simulator.hpp"

namespace simulation {

/// Waits in seconds; medians over the seeds.
struct SwapWaits {
  std::string name{};  ///< of a model or tenant, or "all"
  double mean_s = 0;
  double p50_s = 0;
  double p99_s = 0;
  double max_s = 0;
  double served = 0;
  double unserved = 0;
  double refused = 0;
};

struct SwapRow {
  std::string contender{};
  double swaps = 0;
  double swap_time_share = 0;
  std::vector<SwapWaits> waits{};
};

struct SwapStudy {
  std::string name{};
  std::string what{};
  std::vector<SwapRow> rows{};
};

/// The published load, a moderate one, one with a model that does not load, one with two tenants, and one with two
/// priorities. With `load`, that one only.
[[nodiscard]] std::vector<SwapStudy> swap_studies(std::uint64_t seeds, std::string_view load = {});

[[nodiscard]] std::string as_table(const std::vector<SwapStudy>& studies);
[[nodiscard]] std::string as_json(const std::vector<SwapStudy>& studies, std::uint64_t seeds);

}  // namespace simulation
