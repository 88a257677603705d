// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Time as threads see it: what has happened before what.
///
/// Each thread counts its own releases. A vector clock says, for every thread, up to which of its counts everything has
/// been seen; an epoch is one thread's count at one moment. Access `a` happened before thread `t` now exactly if the
/// clock of `t` covers the epoch of `a` (Mattern 1989; epochs from FastTrack, Flanagan and Freund 2009).

#include <array>
#include <cstdint>

namespace penstock::checker {

/// Threads that one execution may create, the scenario's own included.
inline constexpr std::uint32_t kMaxThreads = 16;

/// One thread's count, packed: 4 bits of thread, 28 bits of count. The default is "never", which everybody covers.
struct Epoch {
  std::uint32_t bits = 0;

  static constexpr std::uint32_t kCountBits = 28;

  static constexpr Epoch of(std::uint32_t thread, std::uint32_t count) { return {(thread << kCountBits) | count}; }
  [[nodiscard]] constexpr std::uint32_t thread() const { return bits >> kCountBits; }
  [[nodiscard]] constexpr std::uint32_t count() const { return bits & ((1U << kCountBits) - 1); }
  [[nodiscard]] constexpr bool ever() const { return bits != 0; }
  friend constexpr bool operator==(Epoch, Epoch) = default;
};

struct VectorClock {
  std::array<std::uint32_t, kMaxThreads> counts{};

  void join(const VectorClock& other) {
    for (std::uint32_t i = 0; i != kMaxThreads; ++i) {
      if (other.counts[i] > counts[i]) counts[i] = other.counts[i];
    }
  }
  [[nodiscard]] bool covers(Epoch epoch) const { return counts[epoch.thread()] >= epoch.count(); }
  [[nodiscard]] Epoch epoch_of(std::uint32_t thread) const { return Epoch::of(thread, counts[thread]); }
};

}  // namespace penstock::checker
