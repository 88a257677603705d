// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which models run together, said by sets of them; the cheapest eviction that leads into one of the sets wins.
///
/// A set is an expression over names:
///
/// | Written     | Stands for                                                                       |
/// |-------------|----------------------------------------------------------------------------------|
/// | `a`         | the variable of that name, else the model; letters, digits, `_`, `-`, `.`        |
/// | `x & y`     | one combination of x together with one of y                                      |
/// | `x \| y`    | the combinations of x, then those of y; binds less than `&`                      |
/// | `(x)`       | x                                                                                |
/// | `+s`        | the combinations of set s, wherever that is defined                              |
///
/// So `(llama | qwen) & tts` allows llama with tts, qwen with tts, and every part of these. A model whose name has
/// other bytes than those of a name, such as "qwen:30b", needs a variable.
///
/// For a target that does not run, each combination of each set that contains it is looked at: what runs and is not in
/// it would have to go, at the sum of the costs of its models. The least sum wins; of equal ones the set that is first
/// in order, and in it the combination that is first. Sets are in the order in which they are defined, but after those
/// that they refer to. Combinations are in the order in which they are written: in `(a | b) & (c | d)`, a with c, a
/// with d, b with c, b with d. In each part of an expression counts only what matters now: the target and what runs; a
/// combination that has nothing of these that another one of the same part does not have too, is not there, nor is it
/// in the order. A target that no set contains evicts everything. One that runs evicts nothing, whatever else runs.
///
/// More running models may make fewer evictions, since another combination is then the cheapest: `is_monotone()` is
/// false.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
struct MatrixProgram;
}  // namespace detail

/// A short name for a model. Where a model has that name too, the variable is meant.
struct MatrixVariable {
  std::string name = {};   ///< 1 to 32 letters, digits, `-` and `.`; no two variables have the same
  std::string model = {};  ///< the name of a model
};

struct MatrixCost {
  std::string name = {};  ///< of a variable, else of a model; no model has two costs
  std::int64_t cost = 1;  ///< of evicting it; [1, 1000000000]
};

struct MatrixSet {
  std::string name = {};        ///< 1 to 256 bytes; no two sets have the same
  std::string expression = {};  ///< 1 to 65536 bytes
};

struct MatrixPlannerOptions {
  std::vector<MatrixVariable> variables = {};
  /// The models of none of them cost 1.
  std::vector<MatrixCost> evict_costs = {};
  /// At least one.
  std::vector<MatrixSet> sets = {};

  /// How many combinations of one part of an expression are held at a time; [16, 4096]. Parts that have no running
  /// model in common are decided each for itself, and hold none. If those that have some in common allow more, then
  /// those that keep most are held, the first of equal ones: the answer is still a combination of a set that contains
  /// the target, but may not be the cheapest, and `MatrixPlan::is_exact` is false. Only where it comes to that, a
  /// decision takes long, with the square of this number: for the default some ten ms. Whatever the expressions, it has
  /// to end: after 64 times that square in comparisons, 0.2 s for the default, one combination of each part is held.
  std::size_t max_states = 512;

  /// OK, or InvalidArgument with all that is wrong, also with respect to `models`. Of an expression that cannot be
  /// read the first error is named, with its place; else each unknown name of it.
  [[nodiscard]] absl::Status validate(const ModelTable& models) const;
};

/// A decision, and why.
struct MatrixPlan {
  std::vector<ModelId> evict = {};  ///< ascending
  /// What may run then: the chosen combination, also what of it does not run, ascending. Of a target that runs, what
  /// runs; of one that is in no set, itself.
  std::vector<ModelId> target_set = {};
  /// The set of it; empty if there is none. Of a target that runs, the first one with all that runs in a combination.
  std::string set_name = {};
  std::int64_t cost = 0;  ///< of `evict`
  bool is_exact = true;   ///< false: `max_states` was reached, and there may be a cheaper one

  friend bool operator==(const MatrixPlan&, const MatrixPlan&) = default;
};

/// Threads: immutable; any member, from any thread.
class MatrixPlanner final : public EvictionPlanner {
 public:
  /// Throws: std::invalid_argument with all that is wrong.
  MatrixPlanner(const MatrixPlannerOptions& options, const ModelTable& models);
  ~MatrixPlanner() override;

  [[nodiscard]] std::string_view name() const noexcept override { return "matrix"; }

  /// Cost: proportional to the size of all expressions and the number of running models, some us for a hundred of
  /// both. Where parts of an expression have running models in common, also the number of combinations held, squared.
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override;

  /// The same, explained. `running` is in ascending order, each model once.
  [[nodiscard]] MatrixPlan explain(ModelId target, std::span<const ModelId> running) const;

  /// All combinations of a set, in order, each ascending, each once; among them also those that are a part of another
  /// one. NotFound if there is no such set; ResourceExhausted if there, or in a part of it, are more than `limit`.
  [[nodiscard]] absl::StatusOr<std::vector<std::vector<ModelId>>> combinations(std::string_view set,
                                                                               std::size_t limit = 1000) const;

  /// The names of the sets, in the order in which they are tried.
  [[nodiscard]] std::vector<std::string> sets() const;

  /// What evicting `model` costs.
  [[nodiscard]] std::int64_t cost(ModelId model) const;

 private:
  std::unique_ptr<const detail::MatrixProgram> program_;
};

/// Throws what the constructor of `MatrixPlanner` throws once the models are known.
[[nodiscard]] PlannerFactory matrix_planner(MatrixPlannerOptions options);

}  // namespace penstock::inline PENSTOCK_ABI
