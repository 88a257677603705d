// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How the library's waits learn that a context is cancelled.

#include <utility>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI {
class Context;
}

namespace penstock::inline PENSTOCK_ABI::detail {

class ContextState;

/// A callback for the moment a context is cancelled; a node that lives with its owner. Runs without a lock.
class CancelHook {
 public:
  using Fire = void (*)(CancelHook&) noexcept;

  explicit CancelHook(Fire fire) noexcept : fire_(fire) {}
  CancelHook(const CancelHook&) = delete;
  CancelHook& operator=(const CancelHook&) = delete;

 private:
  friend class ContextState;

  const Fire fire_;
  CancelHook* next_ = nullptr;  // guarded by the state's mutex, as all below
  CancelHook* previous_ = nullptr;
  bool listed_ = false;
};

/// Shares the ownership of a `ContextState`.
class ContextStatePtr {
 public:
  ContextStatePtr() = default;
  explicit ContextStatePtr(ContextState* owned) noexcept : state_(owned) {}  // takes the caller's reference
  ContextStatePtr(const ContextStatePtr& other) noexcept;
  ContextStatePtr(ContextStatePtr&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  ContextStatePtr& operator=(ContextStatePtr other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~ContextStatePtr();

  explicit operator bool() const noexcept { return state_ != nullptr; }
  ContextState* operator->() const noexcept { return state_; }

 private:
  ContextState* state_ = nullptr;
};

/// The way from a context to its state, and the hooks on it.
class ContextAccess {
 public:
  /// The state of `ctx`; null if it cannot be cancelled.
  static ContextState* state(const Context& ctx) noexcept;

  /// Lists `hook`, unless the state was cancelled already: then it returns false and will not call.
  static bool add(ContextState& state, CancelHook& hook) noexcept;

  /// Takes `hook` back; waits while another thread runs it.
  static void remove(ContextState& state, CancelHook& hook) noexcept;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
