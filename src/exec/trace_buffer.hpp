// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Where the events of a trace wait to be written.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/exec/chrome_trace.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

enum class TraceKind : std::uint8_t { kStart, kFinish, kDrop, kState };

/// An event; its texts, first the pool's name and then the tag, are in the chunk it is in.
struct TraceRecord {
  TraceKind kind;
  PoolState state;
  JobOutcome outcome;
  std::uint16_t pool_bytes;
  std::uint16_t tag_bytes;
  std::uint32_t text_at;
  absl::StatusCode code;
  std::uint32_t attempt;
  std::uint64_t call_id;
  std::uint64_t job_id;
  std::size_t worker_id;
  TimePoint since;
  TimePoint at;
};

/// Events in the order in which they came. Allocated without a lock, filled under one.
struct TraceChunk {
  static constexpr std::size_t kRecords = 64;
  static constexpr std::size_t kTextBytes = 2048;
  static_assert(kTextBytes >= 2 * ChromeTrace::kMaxTextBytes);

  TraceChunk() {}  // NOLINT(modernize-use-equals-default): leaves the arrays as they are

  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
    return records_used < kRecords && kTextBytes - text_used >= bytes;
  }

  TraceChunk* next = nullptr;
  std::size_t records_used = 0;
  std::size_t text_used = 0;
  std::array<TraceRecord, kRecords> records;
  std::array<char, kTextBytes> text;
};

/// Chunks, freed with the list.
class TraceChunks {
 public:
  TraceChunks() = default;
  TraceChunks(const TraceChunks&) = delete;
  TraceChunks& operator=(const TraceChunks&) = delete;
  ~TraceChunks() {
    while (TraceChunk* const chunk = pop()) delete chunk;
  }

  [[nodiscard]] const TraceChunk* first() const noexcept { return first_; }
  [[nodiscard]] TraceChunk* last() const noexcept { return last_; }
  void push(TraceChunk& chunk) noexcept {
    (last_ == nullptr ? first_ : last_->next) = &chunk;
    last_ = &chunk;
  }
  TraceChunk* pop() noexcept {
    TraceChunk* const chunk = first_;
    if (chunk == nullptr) return nullptr;
    first_ = chunk->next;
    if (first_ == nullptr) last_ = nullptr;
    return chunk;
  }
  void swap(TraceChunks& other) noexcept {
    std::swap(first_, other.first_);
    std::swap(last_, other.last_);
  }

 private:
  TraceChunk* first_ = nullptr;
  TraceChunk* last_ = nullptr;
};

inline std::string_view cut_text(std::string_view text) noexcept { return text.substr(0, ChromeTrace::kMaxTextBytes); }

/// What has happened and is not written yet. Each worker has a part of its own, as far as there are enough of them, so
/// its lock is free when it comes, and its events stay in order.
class TraceBuffer {
 public:
  static constexpr std::size_t kParts = 16;

  explicit TraceBuffer(std::size_t max_bytes) : most_chunks_(max_bytes / sizeof(TraceChunk)) {}

  void add(TraceRecord record, std::string_view pool, std::string_view tag) noexcept {
    pool = cut_text(pool);
    tag = cut_text(tag);
    record.pool_bytes = static_cast<std::uint16_t>(pool.size());
    record.tag_bytes = static_cast<std::uint16_t>(tag.size());
    Part& part = part_of(pool, record.worker_id);
    if (put(part, record, pool, tag)) return;
    TraceChunk* spare = make_chunk();
    {
      SpinLockGuard lock(part.lock);
      if (part.closed || spare == nullptr) {
        ++part.lost;
      } else {
        part.chunks.push(*std::exchange(spare, nullptr));
        put_last(part, record, pool, tag);
      }
    }
    if (spare != nullptr) free_chunk(spare);
  }

  /// Hands out the events of one part.
  void take(std::size_t index, bool is_last, TraceChunks& chunks) noexcept {
    Part& part = parts_[index].value;
    SpinLockGuard lock(part.lock);
    part.chunks.swap(chunks);
    part.closed = part.closed || is_last;
  }

  void free_chunk(TraceChunk* chunk) noexcept {
    delete chunk;
    SpinLockGuard lock(budget_lock_);
    --chunks_;
  }

  [[nodiscard]] std::uint64_t lost() noexcept {
    std::uint64_t sum = 0;
    for (auto& part : parts_) {
      SpinLockGuard lock(part.value.lock);
      sum += part.value.lost;
    }
    return sum;
  }

  /// Events that were taken and could not be written.
  void lose(std::size_t count) noexcept {
    SpinLockGuard lock(parts_[0].value.lock);
    parts_[0].value.lost += count;
  }

 private:
  struct Part {
    SpinLock lock;  // leaf, as budget_lock_
    TraceChunks chunks ABSL_GUARDED_BY(lock);
    std::uint64_t lost ABSL_GUARDED_BY(lock) = 0;
    bool closed ABSL_GUARDED_BY(lock) = false;
  };

  Part& part_of(std::string_view pool, std::size_t worker_id) noexcept {
    return parts_[(worker_id + pool.size()) % kParts].value;
  }

  bool put(Part& part, const TraceRecord& record, std::string_view pool, std::string_view tag) noexcept {
    SpinLockGuard lock(part.lock);
    const TraceChunk* const chunk = part.chunks.last();
    if (part.closed || chunk == nullptr || !chunk->has_room(pool.size() + tag.size())) return false;
    put_last(part, record, pool, tag);
    return true;
  }

  void put_last(Part& part, const TraceRecord& record, std::string_view pool, std::string_view tag) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(part.lock) {
    TraceChunk& chunk = *part.chunks.last();
    TraceRecord& here = chunk.records[chunk.records_used++];
    here = record;
    here.text_at = static_cast<std::uint32_t>(chunk.text_used);
    chunk.text_used += pool.copy(chunk.text.data() + chunk.text_used, pool.size());
    chunk.text_used += tag.copy(chunk.text.data() + chunk.text_used, tag.size());
  }

  /// Null if there is no room for one more.
  TraceChunk* make_chunk() noexcept {
    {
      SpinLockGuard lock(budget_lock_);
      if (chunks_ >= most_chunks_) return nullptr;
      ++chunks_;
    }
    TraceChunk* const chunk = new (std::nothrow) TraceChunk;
    if (chunk == nullptr) {
      SpinLockGuard lock(budget_lock_);
      --chunks_;
    }
    return chunk;
  }

  const std::size_t most_chunks_;
  std::array<CachePadded<Part>, kParts> parts_;
  SpinLock budget_lock_;  // once for each chunk
  std::size_t chunks_ ABSL_GUARDED_BY(budget_lock_) = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
