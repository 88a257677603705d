// SPDX-License-Identifier: MIT
#pragma once

#include "penstock/state/detail/object_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// Keeps all owners out of their caches for a scope. While one lives its thread does nothing that may wait for one of
/// them: it takes `mutex_`, and nothing else.
class ObjectCore::Visit {
 public:
  explicit Visit(ObjectCache* first) noexcept : first_(first) {
    if (first_ == nullptr) return;
    for (ObjectCache* cache = first_; cache != nullptr; cache = cache->next_of_pool) cache->lock.revoke();
    AsymmetricLock::publish_revocations();
    for (ObjectCache* cache = first_; cache != nullptr; cache = cache->next_of_pool) cache->lock.await();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  ~Visit() {
    for (ObjectCache* cache = first_; cache != nullptr; cache = cache->next_of_pool) cache->lock.restore();
  }

 private:
  ObjectCache* const first_;
};

/// Lets go of the core at the end of a scope.
class ObjectCore::Share {
 public:
  explicit Share(ObjectCore& core) noexcept : core_(core) {}
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  ~Share() { core_.drop_share(); }

 private:
  ObjectCore& core_;
};

/// The watch over the hit ratio.
struct ObjectAlert {
  explicit ObjectAlert(AlertRule rule) : alert(std::move(rule)) {}

  Mutex mutex;  // a leaf
  Alert alert ABSL_GUARDED_BY(mutex);
  // What the last value that counted was taken from.
  std::uint64_t requests ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t hits ABSL_GUARDED_BY(mutex) = 0;
};

struct ObjectTimes {
  LatencyHistogram acquire;
  LatencyHistogram reset;
  LatencyHistogram hold;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
