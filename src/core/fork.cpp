// SPDX-License-Identifier: MIT
#include "penstock/core/detail/fork.hpp"

#include "penstock/core/detail/world.hpp"

#if (defined(__unix__) || defined(__APPLE__)) && !defined(PENSTOCK_MODEL)
#include <pthread.h>
#define PENSTOCK_HAS_FORK 1
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

#if defined(PENSTOCK_HAS_FORK)

namespace {

// Written by the one thread of a child before anything else runs there; orders nothing.
constinit world::Atomic<std::uint32_t> forks{0};

// When the library is loaded: a fork in the middle of a later registration would leave the child half of it. A system
// without memory for it leaves `forks` at 0: a child is then as lost as without us.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::uint32_t fork_generation() noexcept { return forks.load(std::memory_order_relaxed); }

#else

std::uint32_t fork_generation() noexcept { return 0; }

#endif

}  // namespace penstock::inline PENSTOCK_ABI::detail
