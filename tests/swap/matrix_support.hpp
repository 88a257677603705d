// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Matrix planners asked by name.

#include <string>
#include <vector>

#include "penstock/swap/matrix_planner.hpp"
#include "swap/planner_support.hpp"

namespace penstock::testing {

using NamesList = std::vector<Names>;

/// What a `MatrixPlan` says, by name.
struct NamedPlan {
  Names evict = {};
  Names target_set = {};
  std::string set_name = {};

  friend bool operator==(const NamedPlan&, const NamedPlan&) = default;
};

struct AskedMatrix {
  AskedMatrix(const Names& names, const MatrixPlannerOptions& options)
      : models(table_of(names)), planner(options, models) {}

  [[nodiscard]] MatrixPlan explain(const std::string& target, const Names& running) const {
    return planner.explain(models.find(target).value(), ids_of(models, running));
  }

  [[nodiscard]] NamedPlan solve(const std::string& target, const Names& running) const {
    const MatrixPlan plan = explain(target, running);
    return {names_of(models, plan.evict), names_of(models, plan.target_set), plan.set_name};
  }

  [[nodiscard]] Names evict(const std::string& target, const Names& running) const {
    const std::vector<ModelId> ids = ids_of(models, running);
    std::vector<ModelId> evicted;
    planner.plan({.target = models.find(target).value(), .running = ids, .last_used = {}, .start_times = {}}, evicted);
    return names_of(models, evicted);
  }

  [[nodiscard]] NamesList combinations(const std::string& set) const {
    NamesList list;
    const auto found = planner.combinations(set);
    for (const std::vector<ModelId>& one : found.value()) list.push_back(names_of(models, one));
    return list;
  }

  ModelTable models;
  MatrixPlanner planner;
};

}  // namespace penstock::testing
