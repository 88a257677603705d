// SPDX-License-Identifier: MIT
#include "breaker_listeners.hpp"

#include <utility>

namespace penstock::inline PENSTOCK_ABI::detail {

BreakerListeners::~BreakerListeners() {
  // One after the other: a long list must not end in a deep recursion.
  std::unique_ptr<Node> node = std::move(first_);
  while (node != nullptr) node = std::move(node->next);
}

void BreakerListeners::add(CircuitBreaker::Listener listener) {
  auto node = std::make_unique<Node>(Node{std::move(listener), nullptr, 0});
  auto queue = std::make_unique<Queue>();  // freed again below, without the lock, if there is one
  const MutexLock lock(mutex_);
  if (queue_ == nullptr) queue_ = std::move(queue);
  node->first_change = seen_;
  Node* const added = node.get();
  (last_ == nullptr ? first_ : last_->next) = std::move(node);
  last_ = added;
}

void BreakerListeners::queue(const BreakerTransition& change) noexcept {
  const MutexLock lock(mutex_);
  if (queue_ == nullptr) return;
  if (seen_ - told_ == kMaxQueued) {
    ++told_;  // the oldest: who lags behind wants to know where things are now
    ++counts_.missed;
  }
  (*queue_)[seen_++ % kMaxQueued] = change;
}

void BreakerListeners::tell() noexcept {
  std::uint64_t thrown = 0;
  for (bool telling = false;; telling = true) {
    BreakerTransition change;
    std::uint64_t number = 0;
    Node* node = nullptr;
    Node* last = nullptr;
    {
      const MutexLock lock(mutex_);
      counts_.exceptions += std::exchange(thrown, 0);
      if (!telling && telling_) return;
      telling_ = told_ != seen_;
      if (!telling_) return;
      number = told_++;
      change = (*queue_)[number % kMaxQueued];
      node = first_.get();
      last = last_;
    }
    for (;; node = node->next.get()) {
      if (node->first_change <= number) {
        try {
          node->listener(change);
        } catch (...) {
          ++thrown;
        }
      }
      if (node == last) break;  // its `next` may be being written
    }
  }
}

BreakerListeners::Counts BreakerListeners::counts() const noexcept {
  const MutexLock lock(mutex_);
  return counts_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
