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

/// By its own limits and those of the pool, from its acceptance on.
inline void PoolCore::limit_wait(AnsweredJob& job) const noexcept {
  job.expires_at_ = saturated_add(job.enqueued_at_, wait_limit_);
  if (const JobTerms* const terms = job.terms_.get()) {
    const Duration limit = lagged(terms->wait_limit(options_.queue_wait_limit));
    job.expires_at_ = std::min(terms->context.deadline(), saturated_add(job.enqueued_at_, limit));
  }
}

inline void PoolCore::set_detour(Detour why, bool on) noexcept {
  const std::uint32_t before = detour_.load(std::memory_order_relaxed);
  detour_.store(on ? before | why : before & ~std::uint32_t{why}, std::memory_order_relaxed);
}

inline bool PoolCore::is_mine(const AnsweredJob& job) const noexcept {
  return job.pool_.load(std::memory_order_relaxed) == this;
}

template <class Call>
void PoolCore::tell_observer(Call call) noexcept {
  try {
    call(*options_.observer);
  } catch (...) {
    report(std::current_exception(), nullptr);
  }
}

inline bool PoolCore::is_watched_too_late(TimePoint when) const noexcept {
  return when.time_since_epoch().count() < watched_until_.load(std::memory_order_relaxed);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
