// SPDX-License-Identifier: MIT

// What the code under test takes from the C and C++ runtimes, and the checker needs to know of: memory, exceptions,
// copies of memory, statics, and the standard library's own waits.

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cxxabi.h>
#include <dlfcn.h>
#include <chrono>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <optional>

#include "model/execution.hpp"
#include "model/heap.hpp"
#include "model/region.hpp"
#include "model/shadow.hpp"
#include "model/violation.hpp"

namespace checker = penstock::checker;
using checker::execution;
using checker::heap;
using checker::observing;
using checker::Region;
using checker::shadow;

namespace {

/// Null if there is no memory, or if this is the allocation that has to fail.
void* allocate(std::size_t size, std::size_t alignment) noexcept {
  if (!observing) {
    if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
    return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  }
  const checker::Entry entry;
  void* const memory = heap.allocate(execution.me().id, size, alignment);
  if (execution.options().fail_allocation != 0) execution.count_allocation_version();
  return memory;
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  if (void* const memory = allocate(size, alignment)) return memory;
  throw std::bad_alloc();
}

void release(void* memory) noexcept {
  if (!Region::contains(reinterpret_cast<std::uintptr_t>(memory))) return std::free(memory);
  // What the test keeps beyond its execution is gone by then; the leak has been reported there.
  if (!execution.running()) return;
  const bool checked = observing;
  const checker::Entry entry;
  heap.free(execution.me().id, memory, checked);
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return allocate_or_throw(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t to) {
  return allocate_or_throw(size, static_cast<std::size_t>(to));
}
void* operator new[](std::size_t size, std::align_val_t to) {
  return allocate_or_throw(size, static_cast<std::size_t>(to));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t to, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(to));
}
void* operator new[](std::size_t size, std::align_val_t to, const std::nothrow_t&) noexcept {
  return allocate(size, static_cast<std::size_t>(to));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory); }

// --- exceptions: on the thread's heap, as everything else that one execution makes and the next must not see ---

namespace {

// The runtime's header lies directly before the object; 128 bytes in libstdc++. More does no harm.
constexpr std::size_t kExceptionHeader = 256;

// The runtime's own functions. No statics of functions here: their guards are among what this file defines.
void* (*real_allocate_exception)(std::size_t) = nullptr;
void (*real_free_exception)(void*) = nullptr;

template <class Function>
Function* find(Function*& function, const char* name) {
  if (function == nullptr) function = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
  return function;
}

}  // namespace

extern "C" void* __cxa_allocate_exception(std::size_t size) noexcept {
  if (!observing) return find(real_allocate_exception, "__cxa_allocate_exception")(size);
  const checker::Entry entry;
  void* const memory = heap.allocate_quietly(execution.me().id, size + kExceptionHeader, 16);
  std::memset(memory, 0, size + kExceptionHeader);
  return static_cast<char*>(memory) + kExceptionHeader;
}

extern "C" void __cxa_free_exception(void* thrown) noexcept {
  if (!Region::contains(reinterpret_cast<std::uintptr_t>(thrown))) {
    return find(real_free_exception, "__cxa_free_exception")(thrown);
  }
  release(static_cast<char*>(thrown) - kExceptionHeader);
}

// --- copies: -Wl,--wrap leads the instrumented code here, and newer clangs call __tsan_mem... themselves ---

extern "C" void* __real_memcpy(void*, const void*, std::size_t);
extern "C" void* __real_memmove(void*, const void*, std::size_t);
extern "C" void* __real_memset(void*, int, std::size_t);
extern "C" int __real_memcmp(const void*, const void*, std::size_t);

namespace {

void note(const void* address, std::size_t size, bool write) {
  if (observing) shadow.access_range(reinterpret_cast<std::uintptr_t>(address), size, write);
}

}  // namespace

extern "C" void* __wrap_memcpy(void* to, const void* from, std::size_t size) {
  note(from, size, false);
  note(to, size, true);
  return __real_memcpy(to, from, size);
}
extern "C" void* __wrap_memmove(void* to, const void* from, std::size_t size) {
  note(from, size, false);
  note(to, size, true);
  return __real_memmove(to, from, size);
}
extern "C" void* __wrap_memset(void* to, int value, std::size_t size) {
  note(to, size, true);
  return __real_memset(to, value, size);
}
extern "C" void* __tsan_memcpy(void* to, const void* from, std::size_t size) { return __wrap_memcpy(to, from, size); }
extern "C" void* __tsan_memmove(void* to, const void* from, std::size_t size) { return __wrap_memmove(to, from, size); }
extern "C" void* __tsan_memset(void* to, int value, std::size_t size) { return __wrap_memset(to, value, size); }
extern "C" int __wrap_memcmp(const void* a, const void* b, std::size_t size) {
  note(a, size, false);
  note(b, size, false);
  return __real_memcmp(a, b, size);
}

// --- statics of functions: initialized once for all executions, by one of them, without a decision in between ---

namespace {

std::optional<checker::Unobserved> initialization;
int initializations = 0;

void end_initialization() {
  if (initializations != 0 && --initializations == 0) initialization.reset();
}

}  // namespace

// The first byte of a guard says that the static is there (Itanium C++ ABI), the second, here, that it is being made.
extern "C" int __cxa_guard_acquire(abi::__guard* guard) {
  char* const state = reinterpret_cast<char*>(guard);
  if (state[0] != 0) return 0;
  if (state[1] != 0) std::abort();  // a static whose initializer comes back to it
  state[1] = 1;
  if (execution.running() && initializations++ == 0) initialization.emplace();
  return 1;
}
extern "C" void __cxa_guard_release(abi::__guard* guard) noexcept {
  char* const state = reinterpret_cast<char*>(guard);
  state[1] = 0;
  state[0] = 1;
  end_initialization();
}
extern "C" void __cxa_guard_abort(abi::__guard* guard) noexcept {
  reinterpret_cast<char*>(guard)[1] = 0;
  end_initialization();
}

// --- the standard library's own waits: std::stop_callback, std::latch and their like sleep on a futex ---

extern "C" long __real_syscall(long, ...);
extern "C" int __real_sched_yield();
extern "C" pthread_t __real_pthread_self();

// For std::this_thread::get_id(): a std::stop_callback that is destroyed asks whether its own thread runs it.
extern "C" pthread_t __wrap_pthread_self() {
  return execution.running() ? static_cast<pthread_t>(execution.me().id + 1) : __real_pthread_self();
}

extern "C" int __wrap_sched_yield() {
  if (!execution.controls()) return __real_sched_yield();
  checker::spin();
  return 0;
}

extern "C" long __wrap_syscall(long number, ...) {
  va_list arguments;
  va_start(arguments, number);
  long values[6];
  for (long& value : values) value = va_arg(arguments, long);
  va_end(arguments);
  if (number != SYS_futex || !execution.controls()) {
    return __real_syscall(number, values[0], values[1], values[2], values[3], values[4], values[5]);
  }
  auto* const word = reinterpret_cast<const std::uint32_t*>(values[0]);
  const long command = values[1] & FUTEX_CMD_MASK;
  if (command == FUTEX_WAKE) return checker::Futex::wake(word, static_cast<int>(values[2]));
  std::optional<checker::TimePoint> deadline;
  if (const auto* const timeout = reinterpret_cast<const timespec*>(values[3])) {
    const auto given = std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec);
    deadline = command == FUTEX_WAIT ? checker::virtual_now() + given : checker::TimePoint(given);
  }
  return checker::Futex::wait(word, static_cast<std::uint32_t>(values[2]), deadline ? &*deadline : nullptr) ? 0 : -1;
}
