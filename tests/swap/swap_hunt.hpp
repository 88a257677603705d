// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Goes through random worlds until the reference and another scheduler differ; then leaves out steps as long as they
/// still do, and tells the rest.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "swap/swap_duel.hpp"
#include "swap/swap_pilot.hpp"
#include "swap/swap_world.hpp"

namespace penstock::testing {

/// A difference, and how to come to it.
struct Finding {
  std::string difference;
  std::vector<Step> steps;
};

/// Tells both `steps`. A difference and the steps up to there; without: none.
template <class Other, class... Arguments>
Finding replay(const World& world, const std::vector<Step>& steps, const Arguments&... arguments) {
  Duel<Other> duel(world, arguments...);
  Finding finding;
  for (const Step& step : steps) {
    finding.steps.push_back(step);
    finding.difference = duel.take(step);
    if (!finding.difference.empty()) return finding;
  }
  return {};
}

/// One world from its beginning to its end. `events` grows by the number of steps taken.
template <class Other, class... Arguments>
Finding explore(const World& world, std::uint64_t& events, const Arguments&... arguments) {
  Duel<Other> duel(world, arguments...);
  Pilot pilot(world);
  Finding finding;
  const auto view = [&] { return View{duel.reference(), duel.underway()}; };
  const auto take = [&](const Step& step) {
    finding.steps.push_back(step);
    ++events;
    finding.difference = duel.take(step);
    return finding.difference.empty();
  };
  for (std::size_t i = 0; i != world.steps; ++i) {
    if (!take(pilot.next(view()))) return finding;
  }
  const bool is_cut_off = world.seed % 3 == 0;
  if (is_cut_off && !take({.what = Step::What::kShutdown})) return finding;
  while (const std::optional<Step> step = pilot.settle(view())) {
    if (!take(*step)) return finding;
  }
  finding.difference = duel.finish();
  return finding;
}

/// Leaves out what is not needed for a difference: halves, quarters, and so on, then single steps.
template <class Other, class... Arguments>
Finding shrink(const World& world, Finding finding, const Arguments&... arguments) {
  int tries = 3000;
  for (std::size_t length = finding.steps.size() / 2; length != 0; length /= 2) {
    for (std::size_t from = 0; from < finding.steps.size() && tries-- > 0;) {
      std::vector<Step> fewer = finding.steps;
      const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(from);
      const std::size_t count = std::min(length, fewer.size() - from);
      fewer.erase(first, first + static_cast<std::ptrdiff_t>(count));
      Finding smaller = replay<Other>(world, fewer, arguments...);
      if (smaller.difference.empty()) {
        from += length;
      } else {
        finding = std::move(smaller);
      }
    }
  }
  return finding;
}

/// What a person needs to know about it.
inline std::string to_text(const World& world, const Finding& finding) {
  std::string text = finding.difference + "\n  in " + to_text(world) + "\n";
  for (const Step& each : finding.steps) text += "    " + to_text(each) + '\n';
  return text;
}

}  // namespace penstock::testing
