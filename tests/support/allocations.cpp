// SPDX-License-Identifier: MIT
#include "support/allocations.hpp"

#include <cstdlib>
#include <limits>
#include <new>

namespace penstock::testing {
namespace {

constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

thread_local std::uint64_t allocation_count = 0;
thread_local std::uint64_t failing_allocation = kNever;

void* allocate(std::size_t size, std::size_t alignment) {
  if (allocation_count++ == failing_allocation) {
    failing_allocation = kNever;
    throw std::bad_alloc();
  }
  const std::size_t wanted = size == 0 ? 1 : size;
  void* const memory = alignment <= __STDCPP_DEFAULT_NEW_ALIGNMENT__
                           ? std::malloc(wanted)
                           : std::aligned_alloc(alignment, (wanted + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

Allocations Allocations::now() noexcept { return {allocation_count}; }

FailAllocation::FailAllocation(std::uint64_t nth) noexcept { failing_allocation = allocation_count + nth; }
FailAllocation::~FailAllocation() { failing_allocation = kNever; }
bool FailAllocation::has_failed() const noexcept { return failing_allocation == kNever; }

}  // namespace penstock::testing

// All forms, not only the two that the standard library's others come down to: a sanitizer brings its own of each, and
// memory has to go back to where it came from.
namespace testing = penstock::testing;

void* operator new(std::size_t size) { return testing::allocate(size, 0); }
void* operator new[](std::size_t size) { return testing::allocate(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return testing::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return testing::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return testing::allocate(size, 0);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return operator new(size, tag); }
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  try {
    return testing::allocate(size, static_cast<std::size_t>(alignment));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t& tag) noexcept {
  return operator new(size, alignment, tag);
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept { std::free(memory); }
