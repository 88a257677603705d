// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The two locks of a pool, for what takes both, and some short questions.

#include <algorithm>
#include <cstddef>

#include "penstock/exec/detail/pool_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Holds both locks for a scope.
class ABSL_SCOPED_LOCKABLE PoolCore::Both {
 public:
  explicit Both(const PoolCore& pool) ABSL_EXCLUSIVE_LOCK_FUNCTION(pool.serve_, pool.intake_) : pool_(pool) {
    pool_.serve_.lock();
    pool_.intake_.lock();
  }
  ~Both() ABSL_UNLOCK_FUNCTION() {
    pool_.intake_.unlock();
    pool_.serve_.unlock();
  }
  Both(const Both&) = delete;
  Both& operator=(const Both&) = delete;

 private:
  const PoolCore& pool_;
};

inline std::size_t PoolCore::wanted() const noexcept { return configured_ + replacements_; }

inline std::size_t PoolCore::missing() const noexcept {
  return is(kStopping) || wanted() <= live_ + joining_ ? 0 : wanted() - live_ - joining_;
}

inline std::size_t PoolCore::queued() const noexcept {
  return static_cast<std::size_t>(entered_ - left_.load(std::memory_order_relaxed));
}

/// Whoever looks for work while there are too many goes instead.
inline std::size_t PoolCore::free_workers() const noexcept {
  const std::size_t staying = std::min(live_, wanted());
  return staying > busy_ ? staying - busy_ : 0;
}

inline bool PoolCore::has_place() const noexcept { return queued() + reserved_ < capacity_ + free_workers(); }

inline bool PoolCore::is_promised() const noexcept { return queued() + reserved_ + 1 > capacity_ + free_workers(); }

inline std::size_t PoolCore::depth(std::size_t more) const noexcept {
  return queued() > free_workers() + more ? queued() - free_workers() - more : 0;
}

inline bool PoolCore::is_watched_too_late(TimePoint when) const noexcept {
  return when.time_since_epoch().count() < watched_until_.load(std::memory_order_relaxed);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
