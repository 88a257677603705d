// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// All expressions of a matrix as one graph, in which a reference leads to what it refers to.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/swap/matrix_planner.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

inline constexpr std::uint32_t kNoMatrixNode = std::numeric_limits<std::uint32_t>::max();

struct MatrixProgram {
  enum class Kind : std::uint8_t { kModel, kAll, kAny };
  struct Node {
    Kind kind;
    std::uint32_t first;  // of a model: its place in `models`; else of the first part, in `parts`
    std::uint32_t count;  // of parts
  };
  struct Set {
    std::string name;
    std::uint32_t root;
  };

  [[nodiscard]] std::span<const std::uint32_t> parts_of(const Node& node) const noexcept {
    return node.kind == Kind::kModel ? std::span<const std::uint32_t>()
                                     : std::span<const std::uint32_t>(parts).subspan(node.first, node.count);
  }

  std::vector<Node> nodes;           // each behind its parts
  std::vector<std::uint32_t> parts;  // nodes
  std::vector<Set> sets;             // in the order in which they are tried
  std::vector<ModelId> models;       // that are in sets, ascending
  std::vector<std::int64_t> costs;   // of all models of the table
  std::size_t max_states = 0;
};

/// Adds to `violations` all that is wrong. Only if that is nothing, the program is complete.
MatrixProgram link_matrix(const MatrixPlannerOptions& options, const ModelTable& models, OptionViolations& violations);

}  // namespace penstock::inline PENSTOCK_ABI::detail
