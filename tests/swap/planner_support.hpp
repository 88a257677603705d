// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Planners asked by name: "a" stands for the model of that name.

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::testing {

using Names = std::vector<std::string>;

inline ModelTable table_of(const Names& names) {
  std::vector<SwapModel> models;
  for (const std::string& name : names) models.push_back({.name = name});
  return ModelTable(std::move(models));
}

/// The models of these names, in ascending order.
inline std::vector<ModelId> ids_of(const ModelTable& models, const Names& names) {
  std::vector<ModelId> ids;
  for (const std::string& name : names) ids.push_back(models.find(name).value());
  std::sort(ids.begin(), ids.end());
  return ids;
}

inline Names names_of(const ModelTable& models, const std::vector<ModelId>& ids) {
  Names names;
  for (const ModelId id : ids) names.emplace_back(models.name(id));
  return names;
}

/// A planner and its models.
struct AskedPlanner {
  AskedPlanner(const Names& names, const PlannerFactory& factory) : models(table_of(names)), planner(factory(models)) {}

  [[nodiscard]] Names evict(const std::string& target, const Names& running) const {
    const std::vector<ModelId> ids = ids_of(models, running);
    std::vector<ModelId> evicted;
    planner->plan({.target = models.find(target).value(), .running = ids, .last_used = {}, .start_times = {}}, evicted);
    return names_of(models, evicted);
  }

  ModelTable models;
  std::shared_ptr<const EvictionPlanner> planner;
};

/// What `make` says is wrong, or "".
template <class Make>
std::string complaint_of(const Make& make) {
  try {
    make();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

}  // namespace penstock::testing
