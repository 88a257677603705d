// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The buffer of a channel: a fixed number of slots, filled and emptied in a circle.

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>

#include "penstock/version.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// First in, first out, of at most `capacity` values. A slot without a value is raw memory.
///
/// Threads: guarded by the owner's lock.
template <class T>
class Ring {
 public:
  /// Throws: std::bad_alloc. The caller has made sure that the size in bytes does not overflow.
  explicit Ring(std::size_t capacity)
      : capacity_(capacity), slots_(capacity == 0 ? nullptr : std::allocator<T>().allocate(capacity)) {}
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  ~Ring() {
    while (size_ != 0) drop();
    if (slots_ != nullptr) std::allocator<T>().deallocate(slots_, capacity_);
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool is_full() const noexcept { return size_ == capacity_; }

  /// Requires: not full.
  void push(T&& value) noexcept {
    std::size_t tail = head_ + size_;
    if (tail >= capacity_) tail -= capacity_;
    std::construct_at(slots_ + tail, std::move(value));
    ++size_;
  }

  /// Moves the oldest value into `into`, which is empty. Requires: not empty.
  void pop(std::optional<T>& into) noexcept {
    into.emplace(std::move(slots_[head_]));
    drop();
  }

 private:
  void drop() noexcept {
    std::destroy_at(slots_ + head_);
    if (++head_ == capacity_) head_ = 0;
    --size_;
  }

  const std::size_t capacity_;
  T* const slots_;
  std::size_t head_ = 0;
  std::size_t size_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
