// SPDX-License-Identifier: MIT

// The functions that code compiled with -fsanitize=thread calls for every load and store of plain memory. The program
// is not linked with that sanitizer's runtime: these are the checker's own, so plain memory is checked without a word
// about it in the code under test. This file itself is compiled without the flag.

#include <atomic>
#include <cstdint>
#include <string>

#include "model/execution.hpp"
#include "model/shadow.hpp"
#include "model/trace.hpp"

using penstock::checker::execution;
using penstock::checker::observing;
using penstock::checker::Shadow;
using penstock::checker::shadow;

namespace {

inline void plain(const volatile void* address, std::size_t size, bool write) {
  if (observing) shadow.access(reinterpret_cast<std::uintptr_t>(address), size, write);
}

/// std::atomic in code under test, most of it in the standard library (shared_ptr, stop_token). Each operation
/// publishes and sees everything, and is a step only if the scenario asks for that. It is checked against plain writes,
/// but not the other way round: parts of the library are compiled elsewhere, and what they order is not seen here.
class StandardAtomic {
 public:
  template <class T>
  explicit StandardAtomic(const volatile T* address)
      : address_(reinterpret_cast<std::uintptr_t>(address)), size_(sizeof(T)) {}

  template <class Operation>
  auto perform(std::uint32_t what, bool writes, Operation operation) const {
    if (!observing || !execution.controls()) return operation();
    const penstock::checker::Entry entry;
    // Not for the guards of statics, which are looked at all the time, and are single bytes.
    if (execution.options().standard_steps && (writes || size_ != 1)) execution.schedule(!writes);
    note(writes);
    shadow.expect_written(address_, size_);
    Shadow::Sync& sync = shadow.sync(address_);
    execution.acquire(sync.clock);
    execution.saw(sync.version, what);
    if (writes) {
      sync.clock.join(execution.me().clock);
      sync.version = penstock::checker::mix(execution.me().history, what);
      execution.advance_epoch();
      execution.note_write();
    }
    return operation();
  }

 private:
  void note(bool writes) const {
    if (!penstock::checker::trace.recording() || !execution.options().standard_steps) return;
    execution.step(std::string(writes ? "changes" : "reads") + " the std::atomic at " +
                   penstock::checker::describe_address(address_));
  }

  std::uintptr_t address_;
  unsigned size_;
};

}  // namespace

#define PLAIN(size)                                                                        \
  extern "C" void __tsan_read##size(void* p) { plain(p, size, false); }                    \
  extern "C" void __tsan_write##size(void* p) { plain(p, size, true); }                    \
  extern "C" void __tsan_read_write##size(void* p) { plain(p, size, true); }               \
  extern "C" void __tsan_unaligned_read##size(void* p) { plain(p, size, false); }          \
  extern "C" void __tsan_unaligned_write##size(void* p) { plain(p, size, true); }          \
  extern "C" void __tsan_unaligned_read_write##size(void* p) { plain(p, size, true); }     \
  extern "C" void __tsan_volatile_read##size(void* p) { plain(p, size, false); }           \
  extern "C" void __tsan_volatile_write##size(void* p) { plain(p, size, true); }           \
  extern "C" void __tsan_unaligned_volatile_read##size(void* p) { plain(p, size, false); } \
  extern "C" void __tsan_unaligned_volatile_write##size(void* p) { plain(p, size, true); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_vptr_read(void** p) { plain(p, sizeof(void*), false); }
// A destructor of a base stores the same pointer again when there is nothing to change; that is no write.
extern "C" void __tsan_vptr_update(void** p, void* value) { plain(p, sizeof(void*), *p != value); }
extern "C" void __tsan_read_range(void* p, std::size_t size) {
  if (observing) shadow.access_range(reinterpret_cast<std::uintptr_t>(p), size, false);
}
extern "C" void __tsan_write_range(void* p, std::size_t size) {
  if (observing) shadow.access_range(reinterpret_cast<std::uintptr_t>(p), size, true);
}
extern "C" void __tsan_atomic_thread_fence(int) {}
extern "C" void __tsan_atomic_signal_fence(int) {}

#define FETCH(bits, type, name, builtin)                                                            \
  extern "C" type __tsan_atomic##bits##_fetch_##name(volatile type* p, type value, int) {           \
    return StandardAtomic(p).perform(2, true, [&] { return builtin(p, value, __ATOMIC_SEQ_CST); }); \
  }
#define ATOMIC(bits, type)                                                                                             \
  extern "C" type __tsan_atomic##bits##_load(const volatile type* p, int) {                                            \
    return StandardAtomic(p).perform(1, false, [&] { return __atomic_load_n(p, __ATOMIC_SEQ_CST); });                  \
  }                                                                                                                    \
  extern "C" void __tsan_atomic##bits##_store(volatile type* p, type value, int) {                                     \
    StandardAtomic(p).perform(2, true, [&] { __atomic_store_n(p, value, __ATOMIC_SEQ_CST); });                         \
  }                                                                                                                    \
  extern "C" type __tsan_atomic##bits##_exchange(volatile type* p, type value, int) {                                  \
    return StandardAtomic(p).perform(2, true, [&] { return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST); });        \
  }                                                                                                                    \
  FETCH(bits, type, add, __atomic_fetch_add)                                                                           \
  FETCH(bits, type, sub, __atomic_fetch_sub)                                                                           \
  FETCH(bits, type, and, __atomic_fetch_and)                                                                           \
  FETCH(bits, type, or, __atomic_fetch_or)                                                                             \
  FETCH(bits, type, xor, __atomic_fetch_xor)                                                                           \
  FETCH(bits, type, nand, __atomic_fetch_nand)                                                                         \
  extern "C" int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* expected, type value, int,      \
                                                               int) {                                                  \
    return StandardAtomic(p).perform(2, true, [&]() -> int {                                                           \
      return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);               \
    });                                                                                                                \
  }                                                                                                                    \
  extern "C" int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* expected, type value, int, int) { \
    return __tsan_atomic##bits##_compare_exchange_strong(p, expected, value, 0, 0);                                    \
  }                                                                                                                    \
  extern "C" type __tsan_atomic##bits##_compare_exchange_val(volatile type* p, type expected, type value, int, int) {  \
    __tsan_atomic##bits##_compare_exchange_strong(p, &expected, value, 0, 0);                                          \
    return expected;                                                                                                   \
  }
ATOMIC(8, std::uint8_t)
ATOMIC(16, std::uint16_t)
ATOMIC(32, std::uint32_t)
ATOMIC(64, std::uint64_t)
