// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Memory for requests, responses and pieces of streams, kept for the next one: object pools of a few sizes.

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/state/object_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

class BufferPool;
class MetricSink;

namespace detail {

/// `capacity` bytes behind a header, in one allocation.
struct BufferBlock {
  explicit BufferBlock(std::size_t bytes) noexcept : capacity(bytes) {}
  ~BufferBlock() { unpoison(bytes(), capacity); }
  BufferBlock(const BufferBlock&) = delete;
  BufferBlock& operator=(const BufferBlock&) = delete;
  [[nodiscard]] char* bytes() noexcept { return reinterpret_cast<char*>(this + 1); }

  static void* operator new(std::size_t header, std::size_t capacity) { return ::operator new(header + capacity); }
  static void operator delete(void* block) noexcept { ::operator delete(block); }
  static void operator delete(void* block, std::size_t /*capacity*/) noexcept { ::operator delete(block); }

  const std::size_t capacity;
};

}  // namespace detail

struct BufferPoolOptions {
  std::string name = "unnamed";  ///< For messages and metrics; at most 200 bytes.
  /// The capacities of buffers, ascending, at most 64; a buffer has the least that will do. Empty: the powers of two
  /// from 256 bytes to 1 MiB. One that has to be larger than all of them comes from the system, and is not kept.
  std::vector<std::size_t> sizes = {};
  /// So much memory of each size may be idle, but always one buffer; positive.
  std::size_t max_idle_bytes = 8 << 20;
  /// As `ObjectPoolOptions::purge_every`.
  Duration purge_every = std::chrono::seconds(60);
  ObjectDetection detection = ObjectDetection::kOff;  ///< As `ObjectPoolOptions::detection`.
  Clock* clock = &Clock::steady();                    ///< Outlives the pool and its buffers.
  Executor* executor = nullptr;                       ///< As `ObjectPoolOptions::executor`.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// All sizes at one moment, or nearly: one after the other.
struct BufferPoolStats {
  struct Size {
    std::size_t capacity = 0;
    ObjectPoolStats objects;
  };

  std::vector<Size> sizes;     ///< Ascending.
  std::uint64_t oversize = 0;  ///< Buffers that were larger than all of them, and so were never kept.
  std::uint64_t grown = 0;     ///< Buffers that were filled up, and moved to a larger one.

  [[nodiscard]] std::size_t bytes_idle() const noexcept;
  /// In [0, 1], of all requests, those for oversize ones among them; 0 without requests.
  [[nodiscard]] double hit_ratio() const noexcept;
};

/// A few bytes, and room for more. Its memory comes from a `BufferPool`, and goes back there.
///
/// A buffer may outlive its pool, but then it can no longer grow beyond its capacity.
///
/// Threads: one at a time, like any value. One that was moved from, or made without a pool, has no capacity, and to
/// make it grow ends the process.
class [[nodiscard]] Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)),
        block_(std::exchange(other.block_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        pooled_(std::move(other.pooled_)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  /// Gives the memory back.
  ~Buffer() { drop(); }

  [[nodiscard]] char* data() noexcept { return block_ == nullptr ? nullptr : block_->bytes(); }
  [[nodiscard]] const char* data() const noexcept { return block_ == nullptr ? nullptr : block_->bytes(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return block_ == nullptr ? 0 : block_->capacity; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::string_view view() const noexcept { return {data(), size_}; }
  [[nodiscard]] std::span<char> span() noexcept { return {data(), size_}; }
  [[nodiscard]] std::span<const char> span() const noexcept { return {data(), size_}; }

  // What makes it grow may move its bytes, as in a vector. It throws std::bad_alloc, and then nothing has changed.

  /// Adds `bytes`, which may be its own.
  void append(std::string_view bytes);
  /// Room for `more` bytes behind the last one, to be written by a read from a socket. What is there is nobody's: it
  /// may hold what an earlier owner has left.
  [[nodiscard]] std::span<char> prepare(std::size_t more) {
    reserve(sum(size_, more));
    return {data() + size_, more};
  }
  /// The first `written` bytes of what was prepared are part of it now. At most the capacity.
  void commit(std::size_t written) noexcept {
    PENSTOCK_CHECK(written <= capacity() - size_, "more was committed to a buffer than it has room for");
    size_ += written;
  }
  /// Cuts it, or fills it up with zeros.
  void resize(std::size_t size);
  void clear() noexcept { size_ = 0; }
  /// Makes sure that `capacity()` is at least this.
  void reserve(std::size_t capacity) {
    if (capacity <= this->capacity()) return;
    Buffer larger = enlarged(capacity);
    swap(larger);
  }

  /// Gives the memory back now; as if moved from.
  void reset() noexcept { const Buffer dropped(std::move(*this)); }

 private:
  friend class BufferPool;

  /// Pooled, or of its own.
  Buffer(BufferPool& pool, Pooled<detail::BufferBlock> pooled) noexcept
      : pool_(&pool), block_(pooled.get()), pooled_(std::move(pooled)) {
    detail::unpoison(block_->bytes(), block_->capacity);
  }
  Buffer(BufferPool& pool, std::unique_ptr<detail::BufferBlock> own) noexcept : pool_(&pool), block_(own.release()) {}

  [[nodiscard]] static std::size_t sum(std::size_t a, std::size_t b) noexcept {
    return b > std::numeric_limits<std::size_t>::max() - a ? std::numeric_limits<std::size_t>::max() : a + b;
  }
  void swap(Buffer& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    std::swap(size_, other.size_);
    std::swap(pooled_, other.pooled_);
  }
  void drop() noexcept {
    if (block_ == nullptr) return;
    if (pooled_) {
      detail::poison(block_->bytes(), block_->capacity);
    } else {
      delete block_;
    }
  }
  /// A copy with room for more than now, and at least `capacity`.
  [[nodiscard]] Buffer enlarged(std::size_t capacity);

  BufferPool* pool_ = nullptr;
  detail::BufferBlock* block_ = nullptr;  // of pooled_, or its own if that holds none
  std::size_t size_ = 0;
  Pooled<detail::BufferBlock> pooled_;
};

/// Lends buffers.
///
///     BufferPool buffers({.name = "responses"});
///
///     Buffer body = buffers.acquire(4096);
///     body.append(head);
///     body.commit(read(socket, body.prepare(1024)));
///     send(body.view());                              // its memory goes back at the end of the scope
///
/// For each size there is an `ObjectPool`: what that says about threads, purges, memory and cost holds here. In a
/// forked child buffers come from the system.
///
/// Threads: any member, from any thread.
class BufferPool {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; std::system_error if the
  ///         clock has to start a thread for its timers and cannot.
  explicit BufferPool(BufferPoolOptions options);
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();

  /// An empty buffer with room for at least `capacity` bytes. Throws: std::bad_alloc. Never waits.
  Buffer acquire(std::size_t capacity) {
    const std::size_t index = index_of(capacity);
    if (index >= pools_.size()) [[unlikely]]
      return acquire_oversize(capacity);
    // Without a limit, and open as long as we are, it refuses nobody but a forked child.
    absl::StatusOr<Pooled<detail::BufferBlock>> pooled = pools_[index]->acquire();
    if (!pooled.ok()) [[unlikely]]
      return acquire_own(options_.sizes[index]);
    return {*this, *std::move(pooled)};
  }
  /// One that holds a copy of `bytes`.
  Buffer copy(std::string_view bytes) {
    Buffer buffer = acquire(bytes.size());
    buffer.append(bytes);
    return buffer;
  }

  /// As `ObjectPool::purge`, for each size.
  void purge() noexcept;
  /// As `ObjectPool::release_idle`, for each size. Returns how many bytes that were.
  std::size_t release_idle(double ratio = 1.0) noexcept;

  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  [[nodiscard]] BufferPoolStats stats() const;
  /// Writes the metrics of its object pools, with the labels pool = "<name> <capacity>", and
  /// `penstock_buffer_pool_...` with the label pool = name().
  void collect(MetricSink& sink) const;

 private:
  friend class Buffer;
  using Pool = ObjectPool<detail::BufferBlock>;

  /// The first size that will do; pools_.size() if there is none.
  [[nodiscard]] std::size_t index_of(std::size_t capacity) const noexcept {
    std::size_t index = first_[static_cast<std::size_t>(std::bit_width(capacity))];
    while (index < pools_.size() && options_.sizes[index] < capacity) ++index;
    return index;
  }
  Buffer acquire_oversize(std::size_t capacity);
  Buffer acquire_own(std::size_t capacity);

  BufferPoolOptions options_;                 // constant; with the sizes filled in
  std::vector<std::unique_ptr<Pool>> pools_;  // one for each of the sizes
  std::array<std::uint8_t, std::numeric_limits<std::size_t>::digits + 1> first_{};  // by the bits of the capacity
  Counter oversize_;
  Counter grown_;
};

}  // namespace penstock::inline PENSTOCK_ABI
