// SPDX-License-Identifier: MIT
#include "matrix_solver.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>
#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using Mask = MatrixSolver::Mask;
using Kind = MatrixProgram::Kind;

constexpr std::size_t kBits = 64;

bool is_within(Mask mask, Mask other) noexcept {
  for (std::size_t i = 0; i < mask.size(); ++i) {
    if ((mask[i] & ~other[i]) != 0) return false;
  }
  return true;
}

template <class Function>
void for_each_bit(Mask mask, const Function& function) {
  for (std::size_t i = 0; i < mask.size(); ++i) {
    for (std::uint64_t word = mask[i]; word != 0; word &= word - 1) {
      function(i * kBits + static_cast<std::size_t>(std::countr_zero(word)));
    }
  }
}

/// The first part of the group of `part`; shortens the way to it.
std::uint32_t find_group(std::span<std::uint32_t> group_of, std::uint32_t part) noexcept {
  while (group_of[part] != part) part = group_of[part] = group_of[group_of[part]];
  return part;
}

}  // namespace

MatrixSolver::MatrixSolver(const MatrixProgram& program, std::span<const Model> models)
    : program_(program), models_(models), words_((models.size() + kBits - 1) / kBits), candidate_(words_) {
  compute_supports();
}

bool MatrixSolver::reaches(std::size_t set, std::size_t bit) const noexcept { return has(support(root(set)), bit); }

bool MatrixSolver::reaches_all(std::size_t set) const noexcept {
  std::size_t bits = 0;
  for (const std::uint64_t word : support(root(set))) bits += static_cast<std::size_t>(std::popcount(word));
  return bits == models_.size();
}

void MatrixSolver::compute_supports() {
  // Both lists ascend: one walk tells the bit of each model of the program.
  std::vector<std::uint32_t> bit_of(program_.models.size(), kNoMatrixNode);
  for (std::size_t i = 0, bit = 0; i < program_.models.size(); ++i) {
    while (bit < models_.size() && models_[bit].id < program_.models[i]) ++bit;
    if (bit < models_.size() && models_[bit].id == program_.models[i]) bit_of[i] = static_cast<std::uint32_t>(bit);
  }
  supports_.assign(program_.nodes.size() * words_, 0);
  std::uint64_t* support = supports_.data();
  for (const MatrixProgram::Node& node : program_.nodes) {
    if (node.kind == Kind::kModel) {
      const std::uint32_t bit = bit_of[node.first];
      if (bit != kNoMatrixNode) support[bit / kBits] |= std::uint64_t{1} << (bit % kBits);
    }
    for (const std::uint32_t part : program_.parts_of(node)) {
      for (std::size_t i = 0; i < words_; ++i) support[i] |= supports_[part * words_ + i];
    }
    support += words_;
  }
}

void MatrixSolver::solve(std::span<const std::size_t> sets) {
  needs_.assign(program_.nodes.size(), 0);
  best_.resize(program_.nodes.size());
  written_at_.assign(program_.nodes.size(), kNoMatrixNode);
  group_of_.resize(program_.parts.size());
  std::uint32_t end = 0;
  for (const std::size_t set : sets) {
    needs_[root(set)] |= kNeedsBest;
    end = std::max(end, root(set) + 1);
  }
  for (std::uint32_t node = end; node-- > 0;) spread_needs(node);
  for (std::uint32_t node = 0; node < end; ++node) {
    if ((needs_[node] & kNeedsAll) != 0) write_out(node);
    if ((needs_[node] & kNeedsBest) != 0) find_best(node);
  }
}

/// What has to be known of its parts.
void MatrixSolver::spread_needs(std::uint32_t node) {
  const MatrixProgram::Node& that = program_.nodes[node];
  if (that.kind == Kind::kModel) return;
  const auto parts = program_.parts_of(that);
  if ((needs_[node] & kNeedsAll) != 0) {
    for (const std::uint32_t part : parts) needs_[part] |= kNeedsAll;
  }
  if ((needs_[node] & kNeedsBest) == 0) return;
  if (that.kind == Kind::kAny || !group_parts(that)) {
    for (const std::uint32_t part : parts) needs_[part] |= kNeedsBest;
    return;
  }
  std::vector<std::uint32_t> members(parts.size(), 0);
  const std::span<std::uint32_t> groups(group_of_.data() + that.first, that.count);
  for (const std::uint32_t group : groups) ++members[group];
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const bool is_alone = members[groups[i]] == 1;
    needs_[parts[i]] |= is_alone ? kNeedsBest : kNeedsAll;
    if (!is_alone) groups[i] |= kShared;
  }
}

/// Tells parts that have models in common, also through others, from the rest. Whether there are any.
bool MatrixSolver::group_parts(const MatrixProgram::Node& node) {
  const auto parts = program_.parts_of(node);
  const std::span<std::uint32_t> groups(group_of_.data() + node.first, node.count);
  for (std::uint32_t i = 0; i < node.count; ++i) groups[i] = i;
  first_with_.assign(models_.size(), kNoMatrixNode);
  bool is_any = false;
  for (std::uint32_t i = 0; i < node.count; ++i) {
    for_each_bit(support(parts[i]), [&](std::size_t bit) {
      if (first_with_[bit] == kNoMatrixNode) {
        first_with_[bit] = i;
        return;
      }
      is_any = true;
      const std::uint32_t a = find_group(groups, first_with_[bit]);
      const std::uint32_t b = find_group(groups, i);
      groups[std::max(a, b)] = std::min(a, b);
    });
  }
  for (std::uint32_t i = 0; i < node.count; ++i) groups[i] = find_group(groups, i);
  return is_any;
}

void MatrixSolver::find_best(std::uint32_t node) {
  const MatrixProgram::Node& that = program_.nodes[node];
  switch (that.kind) {
    case Kind::kModel:
      best_[node] = model_state(that);
      return;
    case Kind::kAny: {
      const auto parts = program_.parts_of(that);
      best_[node] = best_[*std::max_element(parts.begin(), parts.end(), [this](std::uint32_t a, std::uint32_t b) {
        return best_[a].weight < best_[b].weight;
      })];
      return;
    }
    case Kind::kAll:
      best_[node] = best_of_all(that);
      return;
  }
}

MatrixSolver::State MatrixSolver::best_of_all(const MatrixProgram::Node& node) {
  const auto parts = program_.parts_of(node);
  const std::uint32_t* groups = group_of_.data() + node.first;
  State all{0, kLeaf, 0};
  for (std::uint32_t i = 0; i < node.count; ++i) {
    if ((groups[i] & ~kShared) != i) continue;  // done with the first of its group
    const State one = (groups[i] & kShared) == 0 ? best_[parts[i]] : best_of_group(node, i);
    if (i == 0) {
      all = one;
      continue;
    }
    join(all, one);
    all = {push_mask(candidate_), push_witness(all.witness, one.witness), all.weight + one.weight};
  }
  return all;
}

MatrixSolver::State MatrixSolver::best_of_group(const MatrixProgram::Node& node, std::uint32_t group) {
  const auto parts = program_.parts_of(node);
  std::vector<const std::vector<State>*> members;
  for (std::uint32_t i = group; i < node.count; ++i) {
    if (group_of_[node.first + i] == (group | kShared)) members.push_back(&written_[written_at_[parts[i]]]);
  }
  // Nothing that will stay below what is reached anyhow has to be held. What is within it would not reach it either:
  // so nothing comes back that it would have taken out. But for want of room, what reaches it may be left out.
  const std::optional<State> best = best_of_members(members, reached_greedily(members));
  return best ? *best : *best_of_members(members, 0);
}

/// The first heaviest of one of each of `members`, if any that is held comes to weigh `least`.
std::optional<MatrixSolver::State> MatrixSolver::best_of_members(Members members, std::int64_t least) {
  std::int64_t to_come = 0;  // at most
  for (const std::vector<State>* member : members) to_come += first_heaviest(*member).weight;
  to_come -= first_heaviest(*members.front()).weight;
  std::vector<State> states;
  std::copy_if(members.front()->begin(), members.front()->end(), std::back_inserter(states),
               [&](const State& state) { return state.weight + to_come >= least; });
  for (const std::vector<State>* member : members.subspan(1, members.size() - 2)) {
    to_come -= first_heaviest(*member).weight;
    combine(states, *member, least - to_come);
  }
  return first_heaviest_of_both(std::move(states), *members.back(), least);
}

/// Of one of `states` with one of `others`, the first heaviest, if any weighs `least`. Only that is asked for at last:
/// none of the rest has to be held.
std::optional<MatrixSolver::State> MatrixSolver::first_heaviest_of_both(std::vector<State> states,
                                                                        std::span<const State> others,
                                                                        std::int64_t least) {
  hurry(states);
  work_ += states.size() * others.size();
  const State* left = nullptr;
  const State* right = nullptr;
  std::int64_t heaviest = least - 1;
  for (const State& a : states) {
    for (const State& b : others) {
      join(a, b);
      const std::int64_t weight = weight_of(candidate_);
      if (weight <= heaviest) continue;
      heaviest = weight;
      left = &a;
      right = &b;
    }
  }
  if (left == nullptr) return std::nullopt;
  join(*left, *right);
  return State{push_mask(candidate_), push_witness(left->witness, right->witness), heaviest};
}

/// The weight of one combination of `members`, a good one.
std::int64_t MatrixSolver::reached_greedily(Members members) {
  std::vector<std::uint64_t> mask(words_);
  std::vector<std::uint64_t> heaviest(words_);
  std::int64_t weight = -1;
  for (const std::vector<State>* member : members) {
    weight = -1;
    for (const State& state : *member) {
      for (std::size_t i = 0; i < words_; ++i) candidate_[i] = mask[i] | masks_[state.mask + i];
      if (const std::int64_t candidate = weight_of(candidate_); candidate > weight) {
        weight = candidate;
        heaviest = candidate_;
      }
    }
    mask = heaviest;
  }
  return weight;
}

void MatrixSolver::write_out(std::uint32_t node) {
  const MatrixProgram::Node& that = program_.nodes[node];
  const auto parts = program_.parts_of(that);
  std::vector<State> states;
  std::int64_t least = 0;
  switch (that.kind) {
    case Kind::kModel:
      states.push_back(model_state(that));
      break;
    case Kind::kAny:
      for (const std::uint32_t part : parts) {
        for (const State& state : written_[written_at_[part]]) {
          std::copy_n(masks_.begin() + state.mask, words_, candidate_.begin());
          count_in(states, state.weight, state.witness, least);
        }
      }
      break;
    case Kind::kAll:
      states = written_[written_at_[parts[0]]];
      for (std::size_t i = 1; i < parts.size(); ++i) combine(states, written_[written_at_[parts[i]]], 0);
      break;
  }
  cut(states, room());
  written_at_[node] = static_cast<std::uint32_t>(written_.size());
  written_.push_back(std::move(states));
}

void MatrixSolver::combine(std::vector<State>& states, std::span<const State> others, std::int64_t least) {
  // Who a combination is, is written down only for those that stay: until then, the two places.
  constexpr std::uint32_t kPlaceBits = 16;
  hurry(states);
  work_ += states.size() * others.size();
  std::vector<State> combined;
  for (std::uint32_t left = 0; left < states.size(); ++left) {
    for (std::uint32_t right = 0; right < others.size(); ++right) {
      join(states[left], others[right]);
      count_in(combined, weight_of(candidate_), left << kPlaceBits | right, least);
    }
  }
  cut(combined, room());
  for (State& state : combined) {
    const State& left = states[state.witness >> kPlaceBits];
    const State& right = others[state.witness & ((1U << kPlaceBits) - 1)];
    state.witness = push_witness(left.witness, right.witness);
  }
  states = std::move(combined);
}

/// Adds `candidate_` if it weighs `least` and is within none of `states`, and takes out those that are within it.
/// Once there were too many, `least` is more than the lightest weighs that was kept.
void MatrixSolver::count_in(std::vector<State>& states, std::int64_t weight, std::uint32_t witness,
                            std::int64_t& least) {
  if (weight < least) return;
  work_ += states.size();
  const Mask candidate(candidate_);
  for (const State& state : states) {
    if (is_within(candidate, mask_at(state.mask))) return;
  }
  std::erase_if(states, [&](const State& state) {
    if (!is_within(mask_at(state.mask), candidate)) return false;
    free_masks_.push_back(state.mask);
    return true;
  });
  states.push_back({push_mask(candidate), witness, weight});
  if (states.size() <= 2 * room()) return;
  cut(states, room());
  const auto lightest = std::min_element(states.begin(), states.end(),
                                         [](const State& a, const State& b) { return a.weight < b.weight; });
  least = std::max(least, lightest->weight + 1);
}

/// Keeps one, the best, once the question takes too long. Their masks may be of other lists, too.
void MatrixSolver::hurry(std::vector<State>& states) {
  if (states.size() <= room()) return;
  is_exact_ = false;
  states = {first_heaviest(states)};
}

/// Keeps those `room` of most weight, the first of equal ones, in their order.
void MatrixSolver::cut(std::vector<State>& states, std::size_t room) {
  if (states.size() <= room) return;
  is_exact_ = false;
  std::vector<std::int64_t> weights;
  weights.reserve(states.size());
  for (const State& state : states) weights.push_back(state.weight);
  const auto last = weights.begin() + static_cast<std::ptrdiff_t>(room - 1);
  std::nth_element(weights.begin(), last, weights.end(), std::greater<>());
  const std::int64_t least = *last;
  const auto heavier = static_cast<std::size_t>(
      std::count_if(states.begin(), states.end(), [least](const State& state) { return state.weight > least; }));
  std::size_t equal = room - heavier;
  std::erase_if(states, [&](const State& state) {
    const bool is_kept = state.weight > least || (state.weight == least && equal > 0);
    if (state.weight == least && is_kept) --equal;
    if (!is_kept) free_masks_.push_back(state.mask);
    return !is_kept;
  });
}

MatrixSolver::State MatrixSolver::model_state(const MatrixProgram::Node& node) {
  const Mask mask = support(static_cast<std::uint32_t>(&node - program_.nodes.data()));
  return {push_mask(mask), push_witness(node.first, kLeaf), weight_of(mask)};
}

/// To `candidate_`.
void MatrixSolver::join(const State& left, const State& right) noexcept {
  const std::uint64_t* const a = masks_.data() + left.mask;
  const std::uint64_t* const b = masks_.data() + right.mask;
  for (std::size_t i = 0; i < words_; ++i) candidate_[i] = a[i] | b[i];
}

std::int64_t MatrixSolver::weight_of(Mask mask) const noexcept {
  std::int64_t weight = 0;
  for_each_bit(mask, [&](std::size_t bit) { weight += models_[bit].weight; });
  return weight;
}

std::uint32_t MatrixSolver::push_mask(Mask mask) {
  if (!free_masks_.empty()) {
    const std::uint32_t at = free_masks_.back();
    free_masks_.pop_back();
    std::copy(mask.begin(), mask.end(), masks_.begin() + at);
    return at;
  }
  const auto at = static_cast<std::uint32_t>(masks_.size());
  masks_.insert(masks_.end(), mask.begin(), mask.end());
  return at;
}

std::vector<ModelId> MatrixSolver::combination(std::size_t set) const {
  std::vector<ModelId> models;
  std::vector<bool> seen(witnesses_.size());  // sets that refer to the same one share what it has
  std::vector<std::uint32_t> open{best_[root(set)].witness};
  while (!open.empty()) {
    const std::uint32_t at = open.back();
    open.pop_back();
    if (seen[at]) continue;
    seen[at] = true;
    const Witness witness = witnesses_[at];
    if (witness.right == kLeaf) {
      models.push_back(program_.models[witness.left]);
    } else {
      open.push_back(witness.left);
      open.push_back(witness.right);
    }
  }
  std::sort(models.begin(), models.end());
  models.erase(std::unique(models.begin(), models.end()), models.end());
  return models;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
