// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Numbers that many threads change and few read: `Counter`, `Counters` (a group of them) and `Gauge`.
///
/// How a count stays cheap: a counter has several rows, each on cache lines of its own, and the first thread that comes
/// to a row owns it for good, together with the threads that get its thread index after it. The owner counts with a
/// plain load and store, in a cell that nobody else writes. A thread that finds its row owned by another one counts
/// with an atomic addition in the row's second, shared cell. A reader adds up all cells. Whatever the number of
/// threads, no count is lost and no thread waits.
///
/// Memory: rows * (8 + 16 * N bytes, rounded up to 128). See `Counters` for figures. Components with more than one
/// count use a group; a lone `Counter` pays for the same lines.

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/metrics/detail/thread_index.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
#if defined(PENSTOCK_MODEL)
inline constexpr std::size_t kCounterRows = 1;  // each row is steps to explore; a scenario about rows asks for more
#else
inline constexpr std::size_t kCounterRows = 16;
#endif
}  // namespace detail

/// `N` counts that go up together in a component, each named by an enumerator or an index below `N`.
///
/// With 16 rows a group of 1 to 7 counts takes 2 KiB, of 8 to 15 counts 4 KiB, of 16 to 23 counts 6 KiB, and so on by
/// 2 KiB for each 8 counts; `Rows` = 1 takes a sixteenth, and is as fast for as long as one thread does most of the
/// counting.
///
/// Threads: any member, from any thread.
template <std::size_t N, std::size_t Rows = detail::kCounterRows>
class Counters {
 public:
  static_assert(N > 0, "a group has at least one count");
  static_assert(Rows > 0 && (Rows & (Rows - 1)) == 0, "the number of rows must be a power of two");

  /// The value of each count, by index.
  using Snapshot = std::array<std::uint64_t, N>;

  Counters() = default;
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;

  /// Adds `amount` to the count `which`; modulo 2^64.
  ///
  /// Order: whoever reads this count with `amount` in it sees all that the caller counted before.
  /// Cost:  about 1 ns for the owner of a row, else one uncontended atomic addition; never allocates.
  template <class Which>
  void add(Which which, std::uint64_t amount = 1) noexcept;

  /// The sum of all additions to `which`: exact once the adders have been joined with, never decreasing before.
  ///
  /// Cost: two loads in each row.
  template <class Which>
  [[nodiscard]] std::uint64_t value(Which which) const noexcept;

  /// All counts, read from the last index to the first. So if each operation counts in the order of the indexes
  /// (accepted, started, finished), no snapshot shows more effects than causes: accepted >= started >= finished.
  [[nodiscard]] Snapshot snapshot() const noexcept;

 private:
  using Cell = detail::world::Atomic<std::uint64_t>;

  static constexpr detail::ThreadIndex kUnowned = 0xFFFF'FFFE;  // no thread has this index

  // owner   Set once, from kUnowned to the index of the first thread that comes. A thread that reads a stale kUnowned
  //         fails to claim the row and learns the owner then.
  // own     Written by the thread that holds the index `owner`, which alone does not need read-modify-writes: the index
  //         passes from thread to thread with release and acquire (X1 in thread_index.hpp).
  // shared  Written by everybody else.
  //   C1  release in add() -> acquire in value(): counts made before are seen by who sees a later one.
  struct alignas(detail::kCachePadding) Row {
    detail::world::Atomic<detail::ThreadIndex> owner{kUnowned};
    std::array<Cell, N> own{};
    std::array<Cell, N> shared{};
  };

  [[gnu::noinline]] void add_slowly(std::size_t index, std::uint64_t amount) noexcept;

  static void add_owned(Cell& cell, std::uint64_t amount) noexcept {
    cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_release);  // C1 release
  }

  std::array<Row, Rows> rows_{};
};

/// One count that goes up.
///
/// Threads: any member, from any thread. Takes 2 KiB: several counts of one object belong in `Counters`.
class Counter {
 public:
  /// Adds `amount`, as `Counters::add` does.
  ///
  /// Cost: about 1 ns; see `Counters::add`.
  void add(std::uint64_t amount = 1) noexcept { counters_.add(0U, amount); }

  /// The sum of all additions: exact once the adders have been joined with, never decreasing before.
  [[nodiscard]] std::uint64_t value() const noexcept { return counters_.value(0U); }

 private:
  Counters<1> counters_;
};

/// One number that goes up and down.
///
/// Threads: any member, from any thread. All threads share its cache line, so what changes with every operation (how
/// many run now) is better taken as the difference of two counts.
class Gauge {
 public:
  Gauge() = default;
  Gauge(const Gauge&) = delete;
  Gauge& operator=(const Gauge&) = delete;

  void set(std::int64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }

  /// Adds `amount`, which may be negative; wraps around at the ends of the range.
  void add(std::int64_t amount) noexcept { value_.fetch_add(amount, std::memory_order_relaxed); }

  /// Sets the gauge to `value` if that is more: for high-water marks. Only a new mark writes.
  void raise_to(std::int64_t value) noexcept;

  [[nodiscard]] std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  // A number of its own: it orders nothing, and a stale read is an old truth.
  detail::world::Atomic<std::int64_t> value_{0};
};

// --- implementation ---

template <std::size_t N, std::size_t Rows>
template <class Which>
void Counters<N, Rows>::add(Which which, std::uint64_t amount) noexcept {
  static_assert(std::is_enum_v<Which> || std::is_integral_v<Which>, "a count is named by an enumerator or an index");
  const auto index = static_cast<std::size_t>(which);
  PENSTOCK_CHECK(index < N, "no such count in this group of counters");
  const detail::ThreadIndex me = detail::thread_index();
  Row& row = rows_[me % Rows];
  if (row.owner.load(std::memory_order_relaxed) == me) [[likely]] {
    add_owned(row.own[index], amount);
  } else {
    add_slowly(index, amount);
  }
}

template <std::size_t N, std::size_t Rows>
void Counters<N, Rows>::add_slowly(std::size_t index, std::uint64_t amount) noexcept {
  const detail::ThreadIndex me = detail::assign_thread_index();
  Row& row = rows_[me % Rows];
  if (me != detail::IndexPool::kNone) {
    detail::ThreadIndex owner = kUnowned;
    if (row.owner.compare_exchange_strong(owner, me, std::memory_order_relaxed, std::memory_order_relaxed) ||
        owner == me) {
      add_owned(row.own[index], amount);
      return;
    }
  }
  row.shared[index].fetch_add(amount, std::memory_order_release);  // C1 release
}

template <std::size_t N, std::size_t Rows>
template <class Which>
std::uint64_t Counters<N, Rows>::value(Which which) const noexcept {
  const auto index = static_cast<std::size_t>(which);
  PENSTOCK_CHECK(index < N, "no such count in this group of counters");
  std::uint64_t sum = 0;
  for (const Row& row : rows_) {
    sum += row.own[index].load(std::memory_order_acquire);     // C1 acquire
    sum += row.shared[index].load(std::memory_order_acquire);  // C1 acquire
  }
  return sum;
}

template <std::size_t N, std::size_t Rows>
typename Counters<N, Rows>::Snapshot Counters<N, Rows>::snapshot() const noexcept {
  Snapshot values{};
  for (std::size_t index = N; index-- > 0;) values[index] = value(index);
  return values;
}

inline void Gauge::raise_to(std::int64_t value) noexcept {
  std::int64_t current = value_.load(std::memory_order_relaxed);
  while (current < value &&
         !value_.compare_exchange_weak(current, value, std::memory_order_relaxed, std::memory_order_relaxed)) {
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
