// SPDX-License-Identifier: MIT

// How it is read from JSON which local models run together.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "config_reader.hpp"

#include "penstock/swap/budget_planner.hpp"
#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/group_planner.hpp"
#include "penstock/swap/matrix_planner.hpp"

namespace gateway {
namespace {

using nlohmann::json;
using Models = std::vector<LocalModelConfig>;
using Violations = std::vector<std::string>;

/// Calls `read` with each object of the list `key`.
template <class Read>
void each_of(Reader& reader, const std::string& key, Violations& violations, const Read& read) {
  const json* const list = reader.find(key);
  if (list == nullptr) return;
  if (!list->is_array()) return reader.complain(key, "must be a list", *list);
  for (std::size_t i = 0; i < list->size(); ++i) {
    Reader element((*list)[i], fmt::format("{}.{}[{}]", reader.path(), key, i), violations);
    read(element);
    element.refuse_unknown_keys();
  }
}

/// Calls `read` with each name and value of the object `key`.
template <class Read>
void each_member_of(Reader& reader, const std::string& key, const Read& read) {
  const json* const object = reader.find(key);
  if (object == nullptr) return;
  if (!object->is_object()) return reader.complain(key, "must be an object", *object);
  for (const auto& [name, value] : object->items()) read(name, value);
}

/// Groups have names, and models say to which they belong.
penstock::PlannerFactory read_groups(Reader& reader, const Models& models, Violations& violations) {
  penstock::GroupPlannerOptions options;
  each_of(reader, "groups", violations, [&](Reader& element) {
    penstock::ModelGroup& group = options.groups.emplace_back();
    element.text("name", group.name, true);
    element.flag("swap", group.swap);
    element.flag("exclusive", group.exclusive);
    element.flag("persistent", group.persistent);
    for (const LocalModelConfig& model : models) {
      if (!group.name.empty() && model.group == group.name) group.members.push_back(model.name());
    }
  });
  for (std::size_t i = 0; i < models.size(); ++i) {
    const std::string& group = models[i].group;
    const bool exists = std::any_of(options.groups.begin(), options.groups.end(),
                                    [&](const penstock::ModelGroup& each) { return each.name == group; });
    if (group.empty() || exists) continue;
    violations.push_back(fmt::format("{}.models[{}].group: there is no group '{}' in {}.groups", reader.path(), i,
                                     group, reader.path()));
  }
  return penstock::group_planner(std::move(options));
}

penstock::PlannerFactory read_matrix(const json& object, const std::string& path, Violations& violations) {
  penstock::MatrixPlannerOptions options;
  Reader reader(object, path, violations);
  each_of(reader, "sets", violations, [&](Reader& element) {
    penstock::MatrixSet& set = options.sets.emplace_back();
    element.text("name", set.name, true);
    element.text("models", set.expression, true);
  });
  each_member_of(reader, "variables", [&](const std::string& name, const json& model) {
    if (!model.is_string()) return reader.complain("variables." + name, "must be the name of a model", model);
    options.variables.push_back({.name = name, .model = model});
  });
  each_member_of(reader, "evict_costs", [&](const std::string& name, const json& cost) {
    if (!cost.is_number_integer()) return reader.complain("evict_costs." + name, "must be a whole number", cost);
    options.evict_costs.push_back({.name = name, .cost = cost});
  });
  reader.refuse_unknown_keys();
  return penstock::matrix_planner(std::move(options));
}

penstock::PlannerFactory read_budget(const json& object, const std::string& path, const Models& models,
                                     Violations& violations) {
  using penstock::BudgetVictims;
  constexpr std::uint64_t kMegabyte = 1 << 20;
  penstock::BudgetPlannerOptions options;
  Reader reader(object, path, violations);
  std::uint64_t memory_mb = 0;
  reader.number("memory_mb", memory_mb, 1, kMostMemoryMb);
  if (object.is_object() && !object.contains("memory_mb")) reader.complain("memory_mb", "must be a number", json());
  reader.choice("victims", options.victims,
                {{"least_recently_used", BudgetVictims::kLeastRecentlyUsed}, {"cheapest", BudgetVictims::kCheapest}});
  reader.refuse_unknown_keys();
  options.budgets.push_back({.bytes = memory_mb * kMegabyte});
  for (std::size_t i = 0; i < models.size(); ++i) {
    const LocalModelConfig& model = models[i];
    if (model.memory_mb == 0) {
      violations.push_back(fmt::format("$.local.models[{}].memory_mb: must be a number, got nothing", i));
    }
    options.models.push_back(
        {.model = model.name(), .uses = {{.bytes = model.memory_mb * kMegabyte}}, .is_pinned = model.is_pinned});
  }
  return penstock::budget_planner(std::move(options));
}

}  // namespace

penstock::PlannerFactory read_planner(Reader& reader, const std::vector<LocalModelConfig>& models,
                                      std::vector<std::string>& violations) {
  // Without any groups, a model that names one is told so.
  penstock::PlannerFactory groups = read_groups(reader, models, violations);
  const json* const matrix = reader.find("matrix");
  const json* const budget = reader.find("budget");
  const char* const first = reader.has("groups") ? "groups" : "matrix";
  if (matrix != nullptr && reader.has("groups")) {
    reader.complain("matrix", fmt::format("must not stand beside {}", first), *matrix);
  }
  if (budget != nullptr && (matrix != nullptr || reader.has("groups"))) {
    reader.complain("budget", fmt::format("must not stand beside {}", first), *budget);
  }
  if (matrix != nullptr) return read_matrix(*matrix, reader.path() + ".matrix", violations);
  if (budget != nullptr) return read_budget(*budget, reader.path() + ".budget", models, violations);
  return reader.has("groups") ? std::move(groups) : penstock::exclusive_planner();
}

}  // namespace gateway
