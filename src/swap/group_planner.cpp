// SPDX-License-Identifier: MIT
#include "penstock/swap/group_planner.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kNoGroup = std::numeric_limits<std::size_t>::max();

class GroupPlanner final : public EvictionPlanner, public PairwiseEviction {
 public:
  GroupPlanner(const GroupPlannerOptions& options, const ModelTable& models) : group_of_(models.size(), kNoGroup) {
    if (const absl::Status bad = options.validate(models); !bad.ok()) {
      throw std::invalid_argument(std::string(detail::text_of(bad)));
    }
    for (const ModelGroup& group : options.groups) {
      for (const std::string& member : group.members) {
        group_of_[static_cast<std::size_t>(*models.find(member))] = groups_.size();
      }
      groups_.push_back({group.swap, group.exclusive, group.persistent, 0});
    }
    if (std::find(group_of_.begin(), group_of_.end(), kNoGroup) != group_of_.end()) {
      std::replace(group_of_.begin(), group_of_.end(), kNoGroup, groups_.size());
      groups_.push_back({true, true, false, 0});
    }
    number_kinds();
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "group"; }

  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override {
    evict.reserve(evict.size() + input.running.size());
    const std::size_t target_group = class_of(input.target);
    for (const ModelId model : input.running) {
      if (model != input.target && evicts(target_group, class_of(model))) evict.push_back(model);
    }
  }

  [[nodiscard]] const PairwiseEviction* pairwise() const noexcept override { return this; }
  [[nodiscard]] std::size_t classes() const noexcept override { return groups_.size(); }
  [[nodiscard]] std::size_t class_of(ModelId model) const noexcept override {
    return group_of_[static_cast<std::size_t>(model)];
  }
  [[nodiscard]] bool evicts(std::size_t target_class, std::size_t other_class) const noexcept override {
    const Group& target = groups_[target_class];
    if (target_class == other_class) return target.swap;
    return target.exclusive && !groups_[other_class].persistent;
  }
  [[nodiscard]] std::size_t kinds() const noexcept override { return kinds_; }
  [[nodiscard]] std::size_t kind_of(std::size_t model_class) const noexcept override {
    return groups_[model_class].kind;
  }

 private:
  struct Group {
    bool swap;
    bool exclusive;
    bool persistent;
    std::size_t kind;
  };

  void number_kinds() {
    std::array<std::size_t, 4> kinds;
    kinds.fill(kNoGroup);
    for (Group& group : groups_) {
      std::size_t& kind = kinds[(group.exclusive ? 2U : 0U) + (group.persistent ? 1U : 0U)];
      if (kind == kNoGroup) kind = kinds_++;
      group.kind = kind;
    }
  }

  std::vector<std::size_t> group_of_;  // by model
  std::vector<Group> groups_;
  std::size_t kinds_ = 0;
};

}  // namespace

absl::Status GroupPlannerOptions::validate(const ModelTable& models) const {
  detail::OptionViolations violations;
  std::set<std::string_view> names;
  std::vector<std::size_t> group_of(models.size(), kNoGroup);
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const ModelGroup& group = groups[i];
    const std::string option = fmt::format("groups[{}].", i);
    violations.require(!group.name.empty() && group.name.size() <= kMaxNameBytes, option + "name",
                       "1 to 256 bytes long", group.name.size());
    violations.require(group.name.empty() || names.insert(group.name).second, option + "name",
                       "different from those of other groups",
                       fmt::format("'{}' again", detail::shortened(group.name, kMaxNameBytes)));
    for (const std::string& member : group.members) {
      const auto model = models.find(member);
      violations.require(model.has_value(), option + "members", "models",
                         fmt::format("unknown '{}'", detail::shortened(member, kMaxNameBytes)));
      if (!model) continue;
      std::size_t& known = group_of[static_cast<std::size_t>(*model)];
      if (known == kNoGroup) {
        known = i;
      } else {
        violations.require(false, option + "members", "in one group, and once",
                           known == i ? fmt::format("'{}' twice", member)
                                      : fmt::format("'{}', which is in '{}' too", member,
                                                    detail::shortened(groups[known].name, kMaxNameBytes)));
      }
    }
  }
  return violations.status("group planner");
}

PlannerFactory group_planner(GroupPlannerOptions options) {
  return [options = std::move(options)](const ModelTable& models) {
    return std::make_shared<const GroupPlanner>(options, models);
  };
}

}  // namespace penstock::inline PENSTOCK_ABI
