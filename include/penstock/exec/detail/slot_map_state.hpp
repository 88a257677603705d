// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The queues of a `SlotQueueMap`, by key.
///
/// Each use of a queue through the map pins it: looking it up, or making it, and the pin are one step under the lock of
/// its shard. A queue goes, under the same lock, only if it has no pin and nothing in it, and nobody launches there. So
/// nobody ever waits on a queue that has been deleted, and who deletes one waits for nobody.
///
/// Lock order: the lock of a shard, then the short lock of a queue, which is a leaf. Under the lock of a shard run the
/// hash, the equality and the copies of keys, and nothing else of the user's.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/slot_queue.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A queue, and what the map knows of it, guarded by the lock of its shard.
template <class T>
struct MappedQueue {
  explicit MappedQueue(SlotQueueOptions<T> options) : queue(std::move(options)) {}

  SlotQueue<T> queue;
  std::size_t pins = 0;
  std::uint64_t uses = 0;  // pins so far
  bool is_marked = false;  // was found idle at `idle_since`, after `uses_then` uses and `activity_then` events
  TimePoint idle_since{};
  std::uint64_t uses_then = 0;
  std::uint64_t activity_then = 0;
};

template <class K, class T, class Hash, class Equal>
class SlotMapState {
 public:
  using Mapped = MappedQueue<T>;

  using Queues = std::unordered_map<K, std::unique_ptr<Mapped>, Hash, Equal>;
  using Node = typename Queues::node_type;

  struct Shard {
    mutable Mutex mutex;
    Queues queues ABSL_GUARDED_BY(mutex);
    bool closed ABSL_GUARDED_BY(mutex) = false;
  };

  SlotMapState(std::size_t shards, std::size_t max_queues)
      : max_queues_(max_queues), shards_(std::make_unique<Shard[]>(shards)), count_(shards) {}

  [[nodiscard]] Shard& shard_of(const K& key) const {
    // The low bits of a hash may be all there is, as of an integer's.
    const std::uint64_t mixed = static_cast<std::uint64_t>(Hash{}(key)) * 0x9E3779B97F4A7C15U;
    return shards_[static_cast<std::size_t>(mixed >> 32U) % count_];
  }

  enum class Found : std::uint8_t { kPinned, kNone, kClosed, kFull };
  Found pin(Shard& shard, const K& key, Mapped*& mapped) const ABSL_LOCKS_EXCLUDED(shard.mutex) {
    const MutexLock lock(shard.mutex);
    if (shard.closed) return Found::kClosed;
    const auto at = shard.queues.find(key);
    if (at == shard.queues.end()) return Found::kNone;
    mapped = at->second.get();
    ++mapped->pins;
    ++mapped->uses;
    return Found::kPinned;
  }

  /// Takes `made` in, if there is room, unless there is one meanwhile, and pins what there is. Room is asked for in the
  /// same step: of two who come first with a key none is refused for what the other has made.
  Found pin_or_insert(Shard& shard, const K& key, std::unique_ptr<Mapped>& made, Mapped*& mapped)
      ABSL_LOCKS_EXCLUDED(shard.mutex) {
    const MutexLock lock(shard.mutex);
    if (shard.closed) return Found::kClosed;
    auto at = shard.queues.find(key);
    if (at == shard.queues.end()) {
      if (!reserve()) return Found::kFull;
      try {
        at = shard.queues.try_emplace(key).first;
      } catch (...) {
        unreserve(1);
        throw;
      }
      at->second = std::move(made);
    }
    mapped = at->second.get();
    ++mapped->pins;
    ++mapped->uses;
    return Found::kPinned;
  }

  static void unpin(Shard& shard, Mapped& mapped) noexcept ABSL_LOCKS_EXCLUDED(shard.mutex) {
    const MutexLock lock(shard.mutex);
    --mapped.pins;
  }

  /// Room for one more queue. Relaxed: a count, and nothing that it says is read by it.
  [[nodiscard]] bool reserve() noexcept {
    std::size_t size = size_.load(std::memory_order_relaxed);
    do {
      if (size >= max_queues_) return false;
    } while (!size_.compare_exchange_weak(size, size + 1, std::memory_order_relaxed, std::memory_order_relaxed));
    return true;
  }
  void unreserve(std::size_t count) noexcept { size_.fetch_sub(count, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  [[nodiscard]] static bool is_unused(const Mapped& mapped) noexcept {
    return mapped.pins == 0 && SlotQueueAccess::core(mapped.queue).is_unused();
  }

  bool erase_if_idle(const K& key) {
    Shard& shard = shard_of(key);
    Node gone;  // goes without the lock
    {
      const MutexLock lock(shard.mutex);
      const auto at = shard.queues.find(key);
      if (at == shard.queues.end() || !is_unused(*at->second)) return false;
      gone = shard.queues.extract(at);
    }
    unreserve(1);
    return true;
  }

  /// Deletes what is idle, and `may_go` says may go.
  template <class MayGo>
  std::size_t sweep(MayGo may_go) noexcept {
    std::size_t total = 0;
    for (std::size_t i = 0; i != count_; ++i) {
      Shard& shard = shards_[i];
      std::size_t taken = 0;
      do {
        std::array<Node, 32> gone;  // these go without the lock
        taken = 0;
        {
          const MutexLock lock(shard.mutex);
          for (auto at = shard.queues.begin(); at != shard.queues.end() && taken != gone.size();) {
            Mapped& mapped = *at->second;
            if (!is_unused(mapped)) {
              mapped.is_marked = false;
              ++at;
            } else if (may_go(mapped)) {
              gone[taken++] = shard.queues.extract(at++);
            } else {
              ++at;
            }
          }
        }
        unreserve(taken);
        total += taken;
      } while (taken == 32);
    }
    return total;
  }

  /// Calls `visit(key, mapped)` for each queue, pinned, without a lock. Throws: std::bad_alloc, what copying a key
  /// throws.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i != count_; ++i) {
      Shard& shard = shards_[i];
      Pins pins(shard);
      {
        const MutexLock lock(shard.mutex);
        pins.all.reserve(shard.queues.size());
        for (const auto& [key, mapped] : shard.queues) {
          pins.all.emplace_back(key, mapped.get());
          ++mapped->pins;
        }
      }
      for (const auto& [key, mapped] : pins.all) visit(key, *mapped);
    }
  }

  /// Closes all queues, and takes in no more.
  bool close() noexcept {
    bool is_first = false;
    for (std::size_t i = 0; i != count_; ++i) {
      const MutexLock lock(shards_[i].mutex);
      is_first = !std::exchange(shards_[i].closed, true) || is_first;
    }
    // Nothing is added any more. They are closed without the lock, since that runs the user's code; so each is pinned,
    // many in one pass, as each pass begins at the first one.
    for (std::size_t i = 0; i != count_; ++i) {
      Shard& shard = shards_[i];
      std::array<Mapped*, 256> open;
      std::size_t pinned = 0;
      do {
        pinned = pin_open(shard, open);
        for (std::size_t at = 0; at != pinned; ++at) {
          open[at]->queue.close();
          unpin(shard, *open[at]);
        }
      } while (pinned == open.size());
    }
    return is_first;
  }

 private:
  struct Pins {
    explicit Pins(Shard& pinned) : shard(pinned) {}
    Pins(const Pins&) = delete;
    Pins& operator=(const Pins&) = delete;
    ~Pins() {
      for (const auto& [key, mapped] : all) unpin(shard, *mapped);
    }
    Shard& shard;
    std::vector<std::pair<K, Mapped*>> all;
  };

  /// Pins as many as fit of those that are open. Returns how many.
  static std::size_t pin_open(Shard& shard, std::span<Mapped*> open) noexcept ABSL_LOCKS_EXCLUDED(shard.mutex) {
    const MutexLock lock(shard.mutex);
    std::size_t pinned = 0;
    for (auto at = shard.queues.begin(); at != shard.queues.end() && pinned != open.size(); ++at) {
      if (at->second->queue.is_closed()) continue;
      ++at->second->pins;
      open[pinned++] = at->second.get();
    }
    return pinned;
  }

  const std::size_t max_queues_;
  const std::unique_ptr<Shard[]> shards_;
  const std::size_t count_;
  world::Atomic<std::size_t> size_{0};
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
