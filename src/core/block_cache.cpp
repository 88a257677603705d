// SPDX-License-Identifier: MIT
#include "penstock/core/detail/block_cache.hpp"

#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/world.hpp"

#if (defined(__unix__) || defined(__APPLE__)) && !defined(PENSTOCK_MODEL)
#include <pthread.h>
#define PENSTOCK_HAS_FORK 1
#endif

#if defined(PENSTOCK_MODEL) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PENSTOCK_NO_BLOCK_CACHE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define PENSTOCK_NO_BLOCK_CACHE 1
#endif
#endif

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::align_val_t kAlignment{kBlockStep};

#if !defined(PENSTOCK_NO_BLOCK_CACHE)

constexpr std::size_t kSizes = kLargestBlock / kBlockStep;
constexpr std::uint32_t kMagazine = 32;
constexpr std::uint32_t kDepot = 256;

/// A free block.
struct Block {
  Block* next;           // in its magazine
  Block* next_magazine;  // of the first one of a magazine in the depot
};

struct Magazine {
  Block* first = nullptr;
  std::uint32_t count = 0;

  [[nodiscard]] Block* pop() noexcept {
    Block* const block = first;
    if (block != nullptr) {
      first = block->next;
      // It comes from another thread's cache, mostly: on the way while this one is used.
      __builtin_prefetch(first, 1);
      --count;
    }
    return block;
  }
  void push(Block& block) noexcept {
    block.next = first;
    first = &block;
    ++count;
  }
  void free_all() noexcept {
    while (Block* const block = pop()) ::operator delete(block, kAlignment);
  }
};

/// Full magazines of one size. Never destroyed: threads may end after everything else has.
class alignas(kCachePadding) Depot {
 public:
  Magazine take() noexcept {
    const std::lock_guard lock(lock_);
    Magazine magazine;
    if (first_ != nullptr) {
      magazine = {first_, kMagazine};
      first_ = first_->next_magazine;
      --count_;
    }
    return magazine;
  }

  /// Takes a full one.
  void put(Magazine magazine) noexcept {
    {
      const std::lock_guard lock(lock_);
      if (count_ != kDepot) {
        magazine.first->next_magazine = std::exchange(first_, magazine.first);
        ++count_;
        return;
      }
    }
    magazine.free_all();
  }

  // For who forks.
  void lock() noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS { lock_.lock(); }
  void unlock() noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS { lock_.unlock(); }

 private:
  SpinLock lock_;
  Block* first_ = nullptr;  // guarded by lock_, as is count_
  std::uint32_t count_ = 0;
};

constinit Depot depots[kSizes];

#if defined(PENSTOCK_HAS_FORK)

void lock_all() noexcept {
  for (Depot& depot : depots) depot.lock();
}
void unlock_all() noexcept {
  for (Depot& depot : depots) depot.unlock();
}

// No fork comes while a thread has the lock of a depot: the child would find it locked for ever, and half of a list
// behind it. Registered when the library is loaded, so that handlers of the user, which may use the library, run while
// the locks are free. A system without memory for it leaves it out: a child is then as lost as without us.
[[maybe_unused]] const int registered = pthread_atfork(lock_all, unlock_all, unlock_all);

#endif

/// A thread's own blocks of one size. Two magazines, so that a thread at the edge of one does not go to the depot each
/// time.
struct Stock {
  Magazine loaded;
  Magazine spare;

  void* allocate(Depot& depot) {
    Block* block = loaded.pop();
    if (block == nullptr) {
      std::swap(loaded, spare);
      if (loaded.count == 0) loaded = depot.take();
      block = loaded.pop();
    }
    return block;
  }

  void free(Block& block, Depot& depot) noexcept {
    if (loaded.count == kMagazine) {
      if (spare.count == kMagazine) depot.put(std::exchange(spare, {}));
      std::swap(loaded, spare);
    }
    loaded.push(block);
  }
};

struct Stocks {
  Stock of[kSizes];

  Stocks() = default;
  Stocks(const Stocks&) = delete;
  Stocks& operator=(const Stocks&) = delete;
  ~Stocks();
};

struct StocksTag {};
struct GoneTag {};

/// Whether the calling thread's stocks have been destroyed: jobs may end later than that. Trivial, so it stays
/// readable.
bool& stocks_are_gone() noexcept { return world::thread_local_value<GoneTag, bool>(); }

Stocks::~Stocks() {
  stocks_are_gone() = true;
  for (std::size_t size = 0; size < kSizes; ++size) {
    for (Magazine* const magazine : {&of[size].loaded, &of[size].spare}) {
      if (magazine->count == kMagazine) {
        depots[size].put(*magazine);
      } else {
        magazine->free_all();
      }
    }
  }
}

#endif

}  // namespace

void* allocate_block(std::size_t bytes) {
#if !defined(PENSTOCK_NO_BLOCK_CACHE)
  if (bytes <= kLargestBlock) {
    const std::size_t size = (bytes - 1) / kBlockStep;
    if (!stocks_are_gone()) {
      Stock& stock = world::thread_local_value<StocksTag, Stocks>().of[size];
      if (void* const block = stock.allocate(depots[size])) return block;
    }
    bytes = (size + 1) * kBlockStep;  // whoever frees it may keep it for another of its size
  }
#endif
  return ::operator new(bytes, kAlignment);
}

void free_block(void* block, [[maybe_unused]] std::size_t bytes) noexcept {
#if !defined(PENSTOCK_NO_BLOCK_CACHE)
  if (bytes <= kLargestBlock && !stocks_are_gone()) {
    const std::size_t size = (bytes - 1) / kBlockStep;
    return world::thread_local_value<StocksTag, Stocks>().of[size].free(*static_cast<Block*>(block), depots[size]);
  }
#endif
  ::operator delete(block, kAlignment);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
