// SPDX-License-Identifier: MIT
#include "pairwise_index.hpp"

#include <algorithm>
#include <stdexcept>

namespace penstock::inline PENSTOCK_ABI::detail {

PairwiseIndex::PairwiseIndex(const PairwiseEviction& relation, std::size_t models)
    : models_(models), classes_(relation.classes()), kinds_(relation.kinds()) {
  std::vector<std::uint32_t> class_of(models);
  for (std::size_t model = 0; model != models; ++model) {
    const std::size_t of = relation.class_of(ModelId{static_cast<std::uint32_t>(model)});
    if (of >= classes_.size()) throw std::invalid_argument("eviction planner: a model's class is beyond classes()");
    models_[model].of = class_of[model] = static_cast<std::uint32_t>(of);
  }
  std::vector<std::uint32_t> kind_of(classes_.size());
  // Two classes of each kind stand for all of them.
  std::vector<std::vector<std::size_t>> examples(kinds_.size());
  for (std::size_t of = 0; of != classes_.size(); ++of) {
    const std::size_t kind = relation.kind_of(of);
    if (kind >= kinds_.size()) throw std::invalid_argument("eviction planner: a class's kind is beyond kinds()");
    classes_[of].kind = kind_of[of] = static_cast<std::uint32_t>(kind);
    classes_[of].evicts_itself = relation.evicts(of, of);
    if (examples[kind].size() < 2) examples[kind].push_back(of);
  }
  relation_.resize(kinds_.size() * kinds_.size());
  for (std::size_t kind = 0; kind != kinds_.size(); ++kind) {
    for (std::size_t other = 0; other != kinds_.size(); ++other) {
      if (examples[kind].empty() || examples[other].empty()) continue;
      if (kind == other && examples[kind].size() < 2) continue;
      relation_[kind * kinds_.size() + other] = relation.evicts(examples[kind].front(), examples[other].back());
    }
    kinds_[kind].evicts_itself = kind_evicts(kind, kind);
  }
  open_ = {classes_.size(), std::move(class_of)};
  candidates_ = {kinds_.size(), std::move(kind_of)};
}

void PairwiseIndex::set_live(std::uint32_t model, bool live) noexcept {
  Model& entry = models_[model];
  if (entry.live == live) return;
  entry.live = live;
  Class& of = classes_[entry.of];
  for (std::size_t kind = 0; kind != kinds_.size(); ++kind) {
    if (kind_evicts(kind, of.kind)) kinds_[kind].live_evicted += live ? 1U : ~0U;
  }
  const auto link = [](auto& elements, std::uint32_t& first, std::uint32_t at) {
    elements[at].previous = kNoIndex;
    elements[at].next = first;
    if (first != kNoIndex) elements[first].previous = at;
    first = at;
  };
  const auto unlink = [](auto& elements, std::uint32_t& first, std::uint32_t at) {
    const auto& out = elements[at];
    (out.previous == kNoIndex ? first : elements[out.previous].next) = out.next;
    if (out.next != kNoIndex) elements[out.next].previous = out.previous;
  };
  if (live) {
    if (of.live++ == 0) link(classes_, kinds_[of.kind].first, entry.of);
    link(models_, of.first, model);
  } else {
    if (--of.live == 0) unlink(classes_, kinds_[of.kind].first, entry.of);
    unlink(models_, of.first, model);
  }
}

void PairwiseIndex::set_hot(std::uint32_t model, bool hot) noexcept {
  Model& entry = models_[model];
  if (entry.hot == hot) return;
  entry.hot = hot;
  Class& of = classes_[entry.of];
  Kind& own = kinds_[of.kind];
  const std::uint32_t one = hot ? 1U : ~0U;
  if (of.hot == (hot ? 0U : 1U)) {
    own.hot_classes += one;
    own.hot_classes_sum ^= entry.of;
  }
  of.hot += one;
  of.hot_sum ^= model;
  for (std::size_t kind = 0; kind != kinds_.size(); ++kind) {
    if (kind_evicts(kind, of.kind)) kinds_[kind].hot_evicted += one;
  }
  settle(entry.of);
}

void PairwiseIndex::open(std::uint32_t model, const OrderKey& key) noexcept {
  open_.put(model, key);
  settle(models_[model].of);
}

void PairwiseIndex::close(std::uint32_t model) noexcept {
  if (!open_.contains(model)) return;
  open_.erase(model);
  settle(models_[model].of);
}

bool PairwiseIndex::blocked(std::uint32_t model) const noexcept {
  const Model& entry = models_[model];
  const Class& of = classes_[entry.of];
  const Kind& kind = kinds_[of.kind];
  if (kind.hot_evicted != (kind.evicts_itself ? of.hot : 0)) return true;
  return of.evicts_itself && of.hot != (entry.hot ? 1U : 0U);
}

bool PairwiseIndex::evicts_any(std::uint32_t model) const noexcept {
  const Model& entry = models_[model];
  const Class& of = classes_[entry.of];
  const Kind& kind = kinds_[of.kind];
  if (kind.live_evicted != (kind.evicts_itself ? of.live : 0)) return true;
  return of.evicts_itself && of.live != (entry.live ? 1U : 0U);
}

bool PairwiseIndex::evicts(std::uint32_t target, std::uint32_t other) const noexcept {
  if (target == other) return false;
  const Class& of = classes_[models_[target].of];
  if (models_[target].of == models_[other].of) return of.evicts_itself;
  return kind_evicts(of.kind, classes_[models_[other].of].kind);
}

void PairwiseIndex::victims(std::uint32_t model, std::vector<ModelId>& out) const {
  const auto begin = static_cast<std::ptrdiff_t>(out.size());
  const std::uint32_t own = models_[model].of;
  const auto append = [&](std::uint32_t of) {
    for (std::uint32_t at = classes_[of].first; at != kNoIndex; at = models_[at].next) {
      if (at != model) out.push_back(ModelId{at});
    }
  };
  for (std::size_t kind = 0; kind != kinds_.size(); ++kind) {
    if (!kind_evicts(classes_[own].kind, kind)) continue;
    for (std::uint32_t of = kinds_[kind].first; of != kNoIndex; of = classes_[of].next) {
      if (of != own) append(of);
    }
  }
  if (classes_[own].evicts_itself) append(own);
  std::sort(out.begin() + begin, out.end());
}

const HeapEntry<OrderKey>* PairwiseIndex::candidate(std::uint32_t of) const noexcept {
  if (open_.empty(of)) return nullptr;
  const Class& entry = classes_[of];
  if (!entry.evicts_itself || entry.hot == 0) return &open_.first(of);
  // The only hot one is in nobody's way but the others'.
  return entry.hot == 1 && open_.contains(entry.hot_sum) ? &open_.entry(entry.hot_sum) : nullptr;
}

void PairwiseIndex::settle(std::uint32_t of) noexcept {
  if (const HeapEntry<OrderKey>* const first = candidate(of); first != nullptr) {
    if (!candidates_.contains(of) || candidates_.key(of) != first->key) candidates_.put(of, first->key);
  } else {
    candidates_.erase(of);
  }
}

std::optional<HeapEntry<OrderKey>> PairwiseIndex::first() const noexcept {
  const HeapEntry<OrderKey>* best = nullptr;
  for (std::uint32_t number = 0; number != kinds_.size(); ++number) {
    const Kind& kind = kinds_[number];
    const HeapEntry<OrderKey>* found = nullptr;
    if (kind.hot_evicted == 0) {
      if (!candidates_.empty(number)) found = candidate(candidates_.first(number).item);
    } else if (kind.evicts_itself && kind.hot_classes == 1) {
      const std::uint32_t of = kind.hot_classes_sum;
      if (classes_[of].hot == kind.hot_evicted) found = candidate(of);
    }
    if (found != nullptr && (best == nullptr || found->key < best->key)) best = found;
  }
  if (best == nullptr) return std::nullopt;
  return *best;
}

std::size_t PairwiseIndex::memory_bytes() const noexcept {
  return models_.size() * sizeof(Model) + classes_.size() * sizeof(Class) + kinds_.size() * sizeof(Kind) +
         relation_.size() + open_.memory_bytes() + candidates_.memory_bytes();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
