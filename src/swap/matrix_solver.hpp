// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The best combination of a matrix for some models.
///
/// Only the models asked about matter: each has a bit, and a combination is the mask of those that it contains. In each
/// part of an expression a combination counts only if its mask is not within that of another one of the same part: the
/// others can lead nowhere that this one does not. What counts keeps the order of the expression; of equal masks the
/// first counts. This is the published rule, and it decides about ties; applied as it stands it takes time and memory
/// for all that counts, 10^6 combinations for six dimensions of ten running models each.
///
/// The weight of a mask is the sum of its models', all of them positive. So the best one, of most weight, is within no
/// other, and to find the first best of
///
/// - alternatives, it is enough to know the first best of each: the first of the best of these;
/// - a conjunction, it is enough to know the first best of each part, where no two parts have a model in common: any
///   two masks of theirs go together without a loss, and the order of all of them is that of what the parts are at;
/// - a conjunction whose parts fall into groups that have no model in common, the same holds for the groups.
///
/// So combinations are written out for the parts of groups of several only, where weighing is NP-hard.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "matrix_program.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// One question. Of no use to two threads at a time.
class MatrixSolver {
 public:
  struct Model {
    ModelId id;
    std::int64_t weight;  // positive
  };
  using Mask = std::span<const std::uint64_t>;

  /// `models` are in ascending order. `program` has to outlive it.
  MatrixSolver(const MatrixProgram& program, std::span<const Model> models);

  /// Whether some combination of `set`, a place in `program.sets`, contains the model at place `bit`.
  [[nodiscard]] bool reaches(std::size_t set, std::size_t bit) const noexcept;
  [[nodiscard]] bool reaches_all(std::size_t set) const noexcept;

  /// Looks for the best combinations of `sets`, all at once: parts that they have in common are looked at once.
  void solve(std::span<const std::size_t> sets);

  // What was found for one of `sets`.
  [[nodiscard]] std::int64_t weight(std::size_t set) const noexcept { return best_[root(set)].weight; }
  [[nodiscard]] Mask mask(std::size_t set) const noexcept { return mask_at(best_[root(set)].mask); }
  [[nodiscard]] bool contains(std::size_t set, std::size_t bit) const noexcept { return has(mask(set), bit); }
  /// All its models, also those that were not asked about, in ascending order.
  [[nodiscard]] std::vector<ModelId> combination(std::size_t set) const;

  /// Whether nothing was left out for want of room.
  [[nodiscard]] bool is_exact() const noexcept { return is_exact_; }

 private:
  struct State {
    std::uint32_t mask;     // where it begins in `masks_`
    std::uint32_t witness;  // who it is
    std::int64_t weight;
  };
  struct Witness {
    std::uint32_t left;   // a witness; of a model, its place in the program
    std::uint32_t right;  // a witness, or kLeaf
  };
  using Members = std::span<const std::vector<State>* const>;
  static constexpr std::uint32_t kLeaf = kNoMatrixNode;
  static constexpr std::uint32_t kShared = std::uint32_t{1} << 31;
  static constexpr std::uint64_t kWorkPerSquare = 64;  // of `max_states`
  static constexpr std::uint8_t kNeedsBest = 1;
  static constexpr std::uint8_t kNeedsAll = 2;

  [[nodiscard]] static const State& first_heaviest(const std::vector<State>& states) noexcept {
    return *std::max_element(states.begin(), states.end(),
                             [](const State& a, const State& b) { return a.weight < b.weight; });
  }
  [[nodiscard]] static bool has(Mask mask, std::size_t bit) noexcept {
    return (mask[bit / 64] >> (bit % 64) & 1U) != 0;
  }
  [[nodiscard]] std::uint32_t root(std::size_t set) const noexcept { return program_.sets[set].root; }
  [[nodiscard]] Mask mask_at(std::uint32_t at) const noexcept { return {masks_.data() + at, words_}; }
  [[nodiscard]] Mask support(std::uint32_t node) const noexcept { return {supports_.data() + node * words_, words_}; }

  void compute_supports();
  void spread_needs(std::uint32_t node);
  [[nodiscard]] bool group_parts(const MatrixProgram::Node& node);

  void find_best(std::uint32_t node);
  [[nodiscard]] State best_of_all(const MatrixProgram::Node& node);
  [[nodiscard]] State best_of_group(const MatrixProgram::Node& node, std::uint32_t group);
  [[nodiscard]] std::optional<State> best_of_members(Members members, std::int64_t least);
  [[nodiscard]] std::optional<State> first_heaviest_of_both(std::vector<State> states, std::span<const State> others,
                                                            std::int64_t least);
  [[nodiscard]] std::int64_t reached_greedily(Members members);
  void write_out(std::uint32_t node);
  /// Replaces `states` by what counts of them with each of `others`, if it weighs `least`.
  void combine(std::vector<State>& states, std::span<const State> others, std::int64_t least);
  void count_in(std::vector<State>& states, std::int64_t weight, std::uint32_t witness, std::int64_t& least);
  /// How many combinations of a part may be held. What takes too long goes on with one of each, the best.
  [[nodiscard]] std::size_t room() const noexcept {
    return work_ <= kWorkPerSquare * program_.max_states * program_.max_states ? program_.max_states : 1;
  }
  void hurry(std::vector<State>& states);
  void cut(std::vector<State>& states, std::size_t room);

  [[nodiscard]] State model_state(const MatrixProgram::Node& node);
  void join(const State& left, const State& right) noexcept;
  [[nodiscard]] std::int64_t weight_of(Mask mask) const noexcept;
  [[nodiscard]] std::uint32_t push_mask(Mask mask);
  [[nodiscard]] std::uint32_t push_witness(std::uint32_t left, std::uint32_t right) {
    witnesses_.push_back({left, right});
    return static_cast<std::uint32_t>(witnesses_.size() - 1);
  }

  const MatrixProgram& program_;
  std::span<const Model> models_;
  std::size_t words_;
  bool is_exact_ = true;
  std::uint64_t work_ = 0;  // combinations that were compared with another one, or weighed

  std::vector<std::uint64_t> supports_{};    // by node: all bits of all its combinations
  std::vector<std::uint8_t> needs_{};        // by node
  std::vector<State> best_{};                // by node, where needed
  std::vector<std::uint32_t> written_at_{};  // by node: where in `written_`
  std::vector<std::vector<State>> written_{};
  std::vector<std::uint32_t> group_of_{};  // by part of a conjunction: the first part of its group, with
                                           // kShared if that has several

  std::vector<std::uint64_t> masks_{};
  std::vector<std::uint32_t> free_masks_{};  // of states that were taken out of what is being written
  std::vector<Witness> witnesses_{};
  std::vector<std::uint64_t> candidate_{};   // one mask
  std::vector<std::uint32_t> first_with_{};  // by bit, while parts are grouped
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
