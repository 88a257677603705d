// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who can go next, kept up to date at each change, for planners whose answers depend on two classes at a time.
///
/// A model is *live* if it runs or a swap brings it up, and *hot* if it also must not be stopped now: it serves, or is
/// part of a swap or a stop. A request is blocked by the hot models that its own would evict, other than itself. Only
/// sums are needed to know whether there are any: with R[r][q] for "kind r evicts kind q",
///
///     blockers(c) = (sum of hot[q] over all q with R[r][q]) - (R[r][r] ? hot[c] : 0) + (c evicts itself ? hot[c] : 0)
///
/// for a class c of kind r, of which a model that is hot itself is taken off. Each class has a heap of its open models
/// (somebody waits for them, and nothing of their own keeps them), and each kind one of its classes by the first of
/// those of their models that no other one of their class blocks. If the sum of kind r is 0 the first of its heap can
/// go. If it is not, only the hot models of a class that make up the whole sum by themselves are not in that class's
/// way, which takes r to evict r, and that class to be the only hot one of its kind.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "indexed_heap.hpp"
#include "penstock/swap/eviction_planner.hpp"
#include "penstock/swap/swap_model.hpp"
#include "ticket_store.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: none of its own. Memory: O(models + classes + kinds^2), all of it taken at once.
/// Cost: changes O(kinds + log of the models and classes that wait); questions O(kinds).
class PairwiseIndex {
 public:
  /// Throws: std::invalid_argument if the classes do not hang together.
  PairwiseIndex(const PairwiseEviction& relation, std::size_t models);

  void set_live(std::uint32_t model, bool live) noexcept;
  /// Only of a live one; a model ceases to be hot before it ceases to be live.
  void set_hot(std::uint32_t model, bool hot) noexcept;
  /// It is open from now on, and `key` is that of its first request.
  void open(std::uint32_t model, const OrderKey& key) noexcept;
  void close(std::uint32_t model) noexcept;
  [[nodiscard]] bool is_open(std::uint32_t model) const noexcept { return open_.contains(model); }

  /// Whether a hot model would have to go for it.
  [[nodiscard]] bool blocked(std::uint32_t model) const noexcept;
  /// Whether any live model would have to go for it.
  [[nodiscard]] bool evicts_any(std::uint32_t model) const noexcept;
  /// Appends the live models that have to go for it, in ascending order. Cost: O(n log n) for n of them.
  void victims(std::uint32_t model, std::vector<ModelId>& out) const;
  /// Whether `target` evicts `other`, were both live.
  [[nodiscard]] bool evicts(std::uint32_t target, std::uint32_t other) const noexcept;

  /// The open model with the smallest key that is not blocked.
  [[nodiscard]] std::optional<HeapEntry<OrderKey>> first() const noexcept;

  [[nodiscard]] std::size_t memory_bytes() const noexcept;

 private:
  struct Model {
    std::uint32_t of = 0;  // its class
    std::uint32_t next = kNoIndex;
    std::uint32_t previous = kNoIndex;  // both among the live ones of its class
    bool live = false;
    bool hot = false;
  };
  struct Class {
    std::uint32_t kind = 0;
    bool evicts_itself = false;
    std::uint32_t live = 0;
    std::uint32_t hot = 0;
    std::uint32_t hot_sum = 0;       // of the numbers of its hot models, xor: the number, if there is one
    std::uint32_t first = kNoIndex;  // of the live models
    std::uint32_t next = kNoIndex;
    std::uint32_t previous = kNoIndex;  // both among the classes of its kind that have live ones
  };
  struct Kind {
    bool evicts_itself = false;  // that is, other classes of the same kind
    std::uint32_t hot_classes = 0;
    std::uint32_t hot_classes_sum = 0;  // xor
    std::uint32_t live_evicted = 0;     // live models of kinds that it evicts
    std::uint32_t hot_evicted = 0;
    std::uint32_t first = kNoIndex;  // of the classes that have live models
  };

  [[nodiscard]] bool kind_evicts(std::size_t kind, std::size_t other) const noexcept {
    return relation_[kind * kinds_.size() + other] != 0;
  }
  // The entry of the first open model of a class that no other model of that class blocks, or null.
  [[nodiscard]] const HeapEntry<OrderKey>* candidate(std::uint32_t of) const noexcept;
  void settle(std::uint32_t of) noexcept;

  std::vector<Model> models_;
  std::vector<Class> classes_;
  std::vector<Kind> kinds_;
  std::vector<std::uint8_t> relation_;  // kinds x kinds
  HeapForest<OrderKey> open_;           // models, by class
  HeapForest<OrderKey> candidates_;     // classes, by kind
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
