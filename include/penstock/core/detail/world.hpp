// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The seam between the library and the machine: atomics, mutexes, condition variables, futexes, threads, thread-local
/// values, time and randomness are reached through `detail::world` and nowhere else.
///
/// In production each name is an alias or an inline call of the real thing and costs nothing. With PENSTOCK_MODEL the
/// same names come from the model checker (tests/model), which runs threads as fibers and decides every step.

#include "penstock/version.hpp"

#if defined(PENSTOCK_MODEL)
#include "model/world.hpp"  // IWYU pragma: export
#else

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>

namespace penstock::inline PENSTOCK_ABI::detail::world {

template <class T>
using Atomic = std::atomic<T>;
using Mutex = std::mutex;
using CondVar = std::condition_variable;  // waits are the parker's business: only the portable parker uses it
using Thread = std::thread;
using ThreadId = std::thread::id;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

inline TimePoint now() noexcept { return std::chrono::steady_clock::now(); }
/// The time at the last tick of the system's timer: at most `recent_lag()` before now, where the system ticks in time.
TimePoint recent() noexcept;
std::chrono::nanoseconds recent_lag() noexcept;
inline ThreadId this_thread_id() noexcept { return std::this_thread::get_id(); }

/// Tells the processor that the caller spins.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Gives the rest of the time slice away; for a wait on a thread that is known to be running.
inline void yield() noexcept { std::this_thread::yield(); }

/// The `round`-th wait in a loop, from 0, for a thread that is known to be at work: pauses at first, then yields, and
/// after a thousand rounds naps, since the one it waits for may need this very processor.
void back_off(std::uint32_t round) noexcept;

/// How often a thread may pause before it sleeps, waiting for what another one is about to do: 0 where the process has
/// one processor, so that nobody could do anything meanwhile.
std::uint32_t spin_limit() noexcept;
inline constexpr bool kMayYield = true;

// Two sides that each write, and then read what the other one has written, need a full barrier in between, or both may
// miss the other. Where one side comes a million times as often, it does with a light one, which only the compiler
// sees, if the other one takes a heavy one, which has every processor that runs a thread of this process pass a full
// barrier: membarrier(2), on Linux.

/// Whether there are heavy barriers. Asks the system the first time; what it says holds for good.
bool has_heavy_barriers() noexcept;
/// To be called only where there are. Cost: under a microsecond, and an interruption of each other processor of ours.
void heavy_barrier() noexcept;
inline void light_barrier() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

/// Names the calling thread for debuggers and `top -H`; at most 15 bytes are kept.
void set_thread_name(std::string_view name) noexcept;

/// The calling thread's own `T`, one for each `Tag`; default-constructed on first use.
template <class Tag, class T>
T& thread_local_value() noexcept {
  static thread_local T value{};
  return value;
}

/// A number in [0, bound), from a small generator of the calling thread. Fair, fast, and no secret.
/// Requires: bound > 0.
std::uint32_t random_below(std::uint32_t bound) noexcept;

// The futex operations wait and wake on the monotonic clock, in this process only. `wake` uses nothing but the address:
// the word may be gone by then, and a waiter must take any return as a hint to look again.
void futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected) noexcept;
/// Returns false once `deadline` has passed.
bool futex_wait_until(const Atomic<std::uint32_t>& word, std::uint32_t expected, TimePoint deadline) noexcept;
void futex_wake_one(const void* word) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail::world

#endif  // PENSTOCK_MODEL
