// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An intrusive pairing heap (Fredman, Sedgewick, Sleator and Tarjan, 1986): the first of many in some order, any of
/// which may be taken out. Nothing is allocated, so nothing can fail.

#include <cstddef>
#include <utility>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What an element of a heap has in it: a base class of it, one for each heap that it may be in.
template <class T>
struct HeapLinks {
  T* child = nullptr;
  T* next = nullptr;
  T* previous = nullptr;  // the elder sibling, or the parent of the eldest
  bool queued = false;
};

/// A heap of `T`s, linked through `T::*Links`; `Before()(a, b)` says whether `a` comes before `b`, and must not change
/// while one of them is queued.
///
/// Threads: none of its own, its owner guards it. Cost: `push` is O(1), `remove` O(log n) amortised.
template <class T, HeapLinks<T> T::*Links, class Before>
class PairingHeap {
 public:
  PairingHeap() = default;
  PairingHeap(const PairingHeap&) = delete;
  PairingHeap& operator=(const PairingHeap&) = delete;

  [[nodiscard]] bool empty() const noexcept { return root_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The first one, or null.
  [[nodiscard]] T* first() const noexcept { return root_; }
  [[nodiscard]] static bool contains(const T& element) noexcept { return (element.*Links).queued; }

  void push(T& element) noexcept {
    element.*Links = {.queued = true};
    root_ = meld(root_, &element);
    ++size_;
  }

  /// Takes out `element`, which is in this heap.
  void remove(T& element) noexcept {
    HeapLinks<T>& links = element.*Links;
    T* const orphans = meld_siblings(links.child);
    if (&element == root_) {
      root_ = orphans;
    } else {
      HeapLinks<T>& before = links.previous->*Links;
      (before.child == &element ? before.child : before.next) = links.next;
      if (links.next != nullptr) (links.next->*Links).previous = links.previous;
      root_ = meld(root_, orphans);
    }
    links = {};
    --size_;
  }

 private:
  static T* meld(T* a, T* b) noexcept {
    if (a == nullptr) return b;
    if (b == nullptr) return a;
    if (Before()(*b, *a)) std::swap(a, b);
    // b becomes the eldest child of a.
    HeapLinks<T>& parent = a->*Links;
    (b->*Links).next = parent.child;
    (b->*Links).previous = a;
    if (parent.child != nullptr) (parent.child->*Links).previous = b;
    parent.child = b;
    return a;
  }

  static T* meld_siblings(T* first) noexcept {
    // The two passes that give the heap its bound: pairs from left to right, then the pairs from right to left.
    T* pairs = nullptr;  // a stack through `next`
    while (first != nullptr) {
      T* const a = first;
      T* const b = (a->*Links).next;
      first = b == nullptr ? nullptr : (b->*Links).next;
      (a->*Links).next = (a->*Links).previous = nullptr;
      if (b != nullptr) (b->*Links).next = (b->*Links).previous = nullptr;
      T* const pair = meld(a, b);
      (pair->*Links).next = pairs;
      pairs = pair;
    }
    T* root = nullptr;
    while (pairs != nullptr) {
      T* const pair = pairs;
      pairs = (pair->*Links).next;
      (pair->*Links).next = nullptr;
      root = meld(root, pair);
    }
    return root;
  }

  T* root_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
