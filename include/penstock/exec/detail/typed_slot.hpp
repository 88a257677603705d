// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a slot queue knows of the type of its slots: how to make, hand out and end one, and the user's functions.

#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "penstock/exec/detail/slot_core.hpp"
#include "penstock/exec/slot_queue_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

template <class T>
class TypedSlotNode final : public SlotNode {
 public:
  explicit TypedSlotNode(SlotCore& owner) noexcept : SlotNode(owner) {}
  // What it holds is ended before: nobody has the node any more.
  ~TypedSlotNode() override {}  // NOLINT(modernize-use-equals-default): the union

  template <class U>
  void make(U&& slot) {
    ::new (static_cast<void*>(std::addressof(slot_))) T(std::forward<U>(slot));
  }
  void destroy() noexcept { slot_.~T(); }
  /// Moves the slot out.
  [[nodiscard]] T take() noexcept {
    T slot(std::move(slot_));
    destroy();
    return slot;
  }
  [[nodiscard]] T& slot() noexcept { return slot_; }

 private:
  union {
    T slot_;
  };
};

template <class T>
TypedSlotNode<T>& typed(SlotNode& node) noexcept {
  return static_cast<TypedSlotNode<T>&>(node);
}

/// Makes a slot in a reserved node. Throws: what T's constructor throws, and then the node is the core's again.
template <class T, class U>
void make_slot(SlotNode& node, U&& slot) {
  if constexpr (std::is_nothrow_constructible_v<T, U&&>) {
    typed<T>(node).make(std::forward<U>(slot));
  } else {
    try {
      typed<T>(node).make(std::forward<U>(slot));
    } catch (...) {
      node.core.recycle(node);
      throw;
    }
  }
}

template <class T>
class TypedSlotCore final : public SlotCore {
 public:
  static_assert(std::is_object_v<T> && std::is_same_v<T, std::remove_cv_t<T>> && std::is_nothrow_destructible_v<T> &&
                    std::is_nothrow_move_constructible_v<T>,
                "SlotQueue<T>: T must be an object type, not const, that moves and dies without throwing");

  explicit TypedSlotCore(SlotQueueOptions<T> options)
      : SlotCore(options.settings()), launch_(std::move(options.launch)), on_retired_(std::move(options.on_retired)) {}

 private:
  [[nodiscard]] SlotNode* make_node() override { return new TypedSlotNode<T>(*this); }

  void end_slot(SlotNode& node, SlotEnd end) override {
    struct End {
      ~End() { node.destroy(); }
      TypedSlotNode<T>& node;
    };
    const End at_exit{typed<T>(node)};
    if (on_retired_) on_retired_(std::move(at_exit.node.slot()), end);
  }

  void call_launch(SlotStart& start) override { launch_(LaunchTicket<T>(start)); }

  const std::function<void(LaunchTicket<T>)> launch_;
  const std::function<void(T&&, SlotEnd)> on_retired_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
