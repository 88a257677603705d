// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a coroutine waits for an object.

#include <coroutine>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/state/detail/object_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
template <class T>
class Pooled;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// One acquire of a coroutine.
class ObjectTake {
 public:
  ObjectTake(ObjectCore& core, Context ctx) noexcept : core_(core), ctx_(std::move(ctx)) {}
  ObjectTake(const ObjectTake&) = delete;
  ObjectTake& operator=(const ObjectTake&) = delete;
  ~ObjectTake();

  /// Whether there is nothing to wait for.
  [[nodiscard]] bool ready();

  /// Returns whether the coroutine stays suspended; from then on it may be gone.
  template <class Promise>
  [[nodiscard]] bool suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, &grant_);
    return wait_->suspend([this] { return join(); });
  }

  /// Throws: what the factory throws; std::bad_alloc.
  absl::StatusOr<ObjectSlot*> finish();

 private:
  bool join() noexcept;

  ObjectCore& core_;
  const Context ctx_;
  TimePoint began_{};
  ObjectGrant grant_;
  ObjectCore::Look seen_ = ObjectCore::Look::kFull;  // kParked: it is in line, and has a share
  bool is_ready_ = false;                            // what was granted has been made ready for use
  std::optional<CoroutineWait> wait_;
};

template <class T>
class [[nodiscard]] ObjectAwaiter {
 public:
  ObjectAwaiter(ObjectCore& core, Context ctx) : take_(core, std::move(ctx)) {}

  bool await_ready() { return take_.ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return take_.suspend(coroutine);
  }
  absl::StatusOr<Pooled<T>> await_resume() {
    absl::StatusOr<ObjectSlot*> slot = take_.finish();
    if (!slot.ok()) return slot.status();
    return Pooled<T>(**slot);
  }

 private:
  ObjectTake take_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
