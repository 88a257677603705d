// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which models run together, said by groups of them.
///
/// A target of group G evicts a running model of group H, never itself:
///
/// | H         | evicted if                                |
/// |-----------|-------------------------------------------|
/// | G         | G is `swap`                               |
/// | another   | G is `exclusive`, and H not `persistent`  |
///
/// So it depends on which of the two comes: a target of a group that is not exclusive leaves all others alone, an
/// exclusive one among them, which evicts it in turn as soon as it is asked for.

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct ModelGroup {
  /// 1 to 256 bytes; no two groups have the same.
  std::string name = {};
  bool swap = true;         ///< its models run one at a time
  bool exclusive = true;    ///< its models evict those of other groups
  bool persistent = false;  ///< its models are not evicted by those of other groups
  /// Names of models. No model is in two groups, nor twice in one.
  std::vector<std::string> members = {};
};

struct GroupPlannerOptions {
  /// The models of none of them are in one more, which is `swap`, `exclusive` and not `persistent`.
  std::vector<ModelGroup> groups = {};

  /// OK, or InvalidArgument with all that is wrong, also with respect to `models`.
  [[nodiscard]] absl::Status validate(const ModelTable& models) const;
};

/// Pairwise: a class is a group, a kind all that have the same `exclusive` and `persistent`.
///
/// Cost: `plan` takes O(1) for each running model, and a few ns each.
[[nodiscard]] PlannerFactory group_planner(GroupPlannerOptions options);

}  // namespace penstock::inline PENSTOCK_ABI
