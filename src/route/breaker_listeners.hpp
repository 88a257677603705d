// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who is told about the changes of a breaker, and what is still to be told.
///
/// Changes are queued in their order, under the breaker's lock, and told after it has been let go. Whoever finds
/// another thread telling leaves his changes to it: so they are told in order and one at a time, and a listener that
/// causes a change does not meet itself.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"

#include "penstock/core/mutex.hpp"
#include "penstock/route/circuit_breaker.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: any member, from any thread.
class BreakerListeners {
 public:
  struct Counts {
    std::uint64_t exceptions = 0;  ///< That listeners have thrown.
    std::uint64_t missed = 0;      ///< Changes that they were too slow to be told.
  };

  BreakerListeners() = default;
  BreakerListeners(const BreakerListeners&) = delete;
  BreakerListeners& operator=(const BreakerListeners&) = delete;
  ~BreakerListeners();

  /// Has `listener` called for all that is queued from now on. Throws: std::bad_alloc, and nothing has changed then.
  void add(CircuitBreaker::Listener listener) ABSL_LOCKS_EXCLUDED(mutex_);

  /// For the holder of the breaker's lock: the order of these calls is the order in which changes are told.
  void queue(const BreakerTransition& change) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// Runs the listeners on what is queued, unless another thread does.
  void tell() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] Counts counts() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  static constexpr std::size_t kMaxQueued = 64;
  using Queue = std::array<BreakerTransition, kMaxQueued>;

  /// Listeners are never taken out, so a node may be read without the lock once it was seen in the list.
  struct Node {
    CircuitBreaker::Listener listener;
    std::unique_ptr<Node> next;
    std::uint64_t first_change;  // how many changes there had been when it came
  };

  mutable Mutex mutex_;  // after the breaker's; nothing else is locked while it is held
  std::unique_ptr<Node> first_ ABSL_GUARDED_BY(mutex_);
  Node* last_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // Those that are to be told: a ring of what was seen but not yet told. Many breakers have no listener, so it comes
  // with the first.
  std::unique_ptr<Queue> queue_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t seen_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;
  Counts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
