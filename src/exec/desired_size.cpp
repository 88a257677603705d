// SPDX-License-Identifier: MIT
#include "penstock/exec/desired_size.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "elastic_violations.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr int kMaxChanges = 1'000'000;

/// The growth of the highest level that `load` reaches; below all of them there is none.
template <class Levels>
double growth(const Levels& levels, double load) noexcept {
  const LoadLevel* highest = nullptr;
  for (const LoadLevel& level : levels) {
    if (load >= level.load_ratio && (highest == nullptr || level.load_ratio >= highest->load_ratio)) highest = &level;
  }
  return highest == nullptr ? 0 : highest->growth_ratio;
}

/// For a sample whose min is below its max.
std::size_t size_for(const std::vector<LoadLevel>& levels, const SizeSample& sample) noexcept {
  const double part = levels.empty() ? growth(kDefaultLoadLevels, sample.load()) : growth(levels, sample.load());
  const std::size_t room = sample.max - sample.min;
  const double more = part * static_cast<double>(room);  // rounded down, as published
  return sample.min + (more >= static_cast<double>(room) ? room : static_cast<std::size_t>(more));
}

std::size_t limited(std::size_t wanted, std::size_t live, std::size_t changes) noexcept {
  if (wanted >= live) return live + std::min(wanted - live, changes);
  return live - std::min(live - wanted, changes);
}

const std::vector<LoadLevel>* levels_of(const SizePolicy& policy) noexcept {
  if (const auto* agile = std::get_if<AgileSize>(&policy)) return &agile->levels;
  if (const auto* rigid = std::get_if<RigidSize>(&policy)) return &rigid->levels;
  return nullptr;
}

}  // namespace

void detail::add_violations(const SizePolicy& policy, std::string_view prefix, OptionViolations& violations) {
  if (const auto* levels = levels_of(policy)) {
    for (std::size_t i = 0; i < levels->size(); ++i) {
      const auto require = [&](double ratio, const char* field) {  // a NaN is in no range
        violations.require(ratio >= 0 && ratio <= 1, fmt::format("{}levels[{}].{}", prefix, i, field), "in [0, 1]",
                           ratio);
      };
      require((*levels)[i].load_ratio, "load_ratio");
      require((*levels)[i].growth_ratio, "growth_ratio");
    }
  }
  if (const auto* rigid = std::get_if<RigidSize>(&policy)) {
    violations.require(rigid->max_changes >= 0 && rigid->max_changes <= kMaxChanges,
                       fmt::format("{}max_changes", prefix), "in [0, 1000000]", rigid->max_changes);
  }
}

std::string_view to_string(const SizePolicy& policy) noexcept {
  switch (policy.index()) {
    case 0:
      return "none";
    case 1:
      return "agile";
    case 2:
      return "rigid";
    default:
      return "unknown";
  }
}

absl::Status validate(const SizePolicy& policy) {
  detail::OptionViolations violations;
  detail::add_violations(policy, "", violations);
  return violations.status(fmt::format("size policy '{}'", to_string(policy)));
}

double SizeSample::load() const noexcept {
  if (buffer_length == 0) return 0;
  return (static_cast<double>(queued) + static_cast<double>(busy)) / static_cast<double>(buffer_length);
}

std::size_t desired_size(const SizePolicy& policy, const SizeSample& sample) noexcept {
  const std::vector<LoadLevel>* levels = levels_of(policy);
  if (levels == nullptr || sample.buffer_length <= 1 || sample.min >= sample.max) return sample.live;
  const std::size_t wanted = size_for(*levels, sample);
  const auto* rigid = std::get_if<RigidSize>(&policy);
  return rigid == nullptr ? wanted
                          : limited(wanted, sample.live, static_cast<std::size_t>(std::max(rigid->max_changes, 0)));
}

}  // namespace penstock::inline PENSTOCK_ABI
