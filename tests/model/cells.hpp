// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The objects on which threads meet, as the checker sees them: 64-bit atomic cells, mutexes, condition variables,
/// futexes and threads. The types of world.hpp are made of these.
///
/// Every operation is one step: a decision who runs next comes first, then the operation happens at once. It updates
/// the vector clocks as the declared memory order says, and the history of its thread.
///
/// Outside an execution, and in code that asked not to be observed, they do the plain thing without a decision.

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace penstock::checker {

using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

/// Ties something in memory to what the checker knows of it in this execution.
class ObjectHandle {
 public:
  constexpr ObjectHandle() = default;
  ObjectHandle(const ObjectHandle&) = delete;
  ObjectHandle& operator=(const ObjectHandle&) = delete;

 private:
  friend class Execution;
  mutable std::uint32_t execution_ = 0;
  mutable std::uint32_t index_ = 0;
};

/// Up to 64 bits that are read and written at once.
class AtomicCell {
 public:
  using Update = std::uint64_t (*)(std::uint64_t old, std::uint64_t operand);

  constexpr explicit AtomicCell(std::uint64_t bits) noexcept : bits_(bits) {
    if (!std::is_constant_evaluated()) begin_life();
  }
  AtomicCell(const AtomicCell&) = delete;
  AtomicCell& operator=(const AtomicCell&) = delete;
  constexpr ~AtomicCell() {
    if (!std::is_constant_evaluated()) end_life();
  }

  std::uint64_t load(std::memory_order order) const noexcept;
  void store(std::uint64_t bits, std::memory_order order) noexcept;
  /// Replaces the value by `update(value, operand)` and returns the old one.
  std::uint64_t modify(std::string_view what, Update update, std::uint64_t operand, std::memory_order order) noexcept;
  bool compare_exchange(std::uint64_t& expected, std::uint64_t desired, bool may_fail_spuriously,
                        std::memory_order success, std::memory_order failure) noexcept;

 private:
  friend class Execution;
  friend class Futex;

  void begin_life() noexcept;
  void end_life() noexcept;

  std::uint64_t bits_;  // first: a futex knows the cell by its address
  ObjectHandle handle_;
};

class MutexCell {
 public:
  constexpr MutexCell() noexcept {
    if (!std::is_constant_evaluated()) begin_life();
  }
  constexpr ~MutexCell() {
    if (!std::is_constant_evaluated()) end_life();
  }

  void lock() noexcept;
  bool try_lock() noexcept;
  void unlock() noexcept;

 private:
  friend class ConditionCell;
  void begin_life() noexcept;
  void end_life() noexcept;

  std::uint64_t place_ = 0;  // what the shadow memory watches
  ObjectHandle handle_;
};

class ConditionCell {
 public:
  constexpr ConditionCell() noexcept {
    if (!std::is_constant_evaluated()) begin_life();
  }
  constexpr ~ConditionCell() {
    if (!std::is_constant_evaluated()) end_life();
  }

  void wait(MutexCell& mutex) noexcept;
  /// False if it timed out.
  bool wait_until(MutexCell& mutex, TimePoint deadline) noexcept;
  void notify_one() noexcept;
  void notify_all() noexcept;

 private:
  bool wait(MutexCell& mutex, const TimePoint* deadline) noexcept;
  void notify(bool all) noexcept;
  void begin_life() noexcept;
  void end_life() noexcept;

  std::uint64_t place_ = 0;
  ObjectHandle handle_;
};

class Futex {
 public:
  /// Sleeps while `cell` holds `expected`; null: no deadline. False if it timed out.
  static bool wait(const AtomicCell& cell, std::uint32_t expected, const TimePoint* deadline) noexcept;
  /// The same for a plain word, for the standard library's own waits.
  static bool wait(const std::uint32_t* word, std::uint32_t expected, const TimePoint* deadline) noexcept;
  /// Wakes up to `count` sleepers, chosen by address alone; returns how many.
  static int wake(const void* word, int count) noexcept;

 private:
  static bool sleep(const void* word, const TimePoint* deadline) noexcept;
};

// --- threads, time, chance ---

/// What a thread runs; deleted by the thread.
struct ThreadBody {
  virtual ~ThreadBody() = default;
  virtual void run() = 0;
};

/// False if this creation is told to fail; then nothing has happened.
bool may_create_thread() noexcept;
/// Starts a thread and returns its number.
std::uint32_t create_thread(ThreadBody& body) noexcept;
void join_thread(std::uint32_t thread) noexcept;
/// A Thread object that is still joinable is destroyed or assigned to.
[[noreturn]] void joinable_thread_dropped(std::uint32_t thread) noexcept;
std::uint32_t this_thread() noexcept;
void set_this_thread_name(std::string_view name) noexcept;

TimePoint virtual_now() noexcept;
/// A turn of a loop that waits for another thread: the caller does not run again before somebody has written something.
void spin() noexcept;
/// Whether the scenario's system has them, and one: the delayed stores of all threads arrive.
bool has_heavy_barriers() noexcept;
void heavy_barrier() noexcept;
std::uint32_t choose_below(std::uint32_t bound) noexcept;

/// The calling thread's value for `key`; null if it has none yet, or if there is no execution.
void* thread_value(const void* key) noexcept;
/// Memory for a value, and the function that destroys it at the end of the thread.
void* make_thread_value(const void* key, std::size_t size, std::size_t alignment, void (*destroy)(void*)) noexcept;
[[nodiscard]] bool in_execution() noexcept;

}  // namespace penstock::checker
