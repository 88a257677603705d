// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Counts the allocations of the calling thread, and makes one of them fail; the `operator new` that does so is part of
/// every test program.

#include <cstdint>
#include <new>
#include <type_traits>

namespace penstock::testing {

struct Allocations {
  std::uint64_t count = 0;

  /// How many the calling thread has made so far.
  static Allocations now() noexcept;

  friend bool operator==(const Allocations&, const Allocations&) = default;
};

/// Makes the calling thread's allocation number `nth` from here (0 is the next one) throw std::bad_alloc, once.
class FailAllocation {
 public:
  explicit FailAllocation(std::uint64_t nth) noexcept;
  FailAllocation(const FailAllocation&) = delete;
  FailAllocation& operator=(const FailAllocation&) = delete;
  ~FailAllocation();

  /// Whether it has come to that.
  [[nodiscard]] bool has_failed() const noexcept;
};

/// Calls `operation` with its first allocation failing, then its second, until none is left to fail; `check()` or
/// `check(threw)` looks at what each failure left behind. Returns how many there were. Whatever else is thrown ends the
/// test.
template <class Operation, class Check>
int failures_of(Operation operation, Check check) {
  for (int nth = 0;; ++nth) {
    const FailAllocation failure(static_cast<std::uint64_t>(nth));
    bool threw = false;
    try {
      operation();
    } catch (const std::bad_alloc&) {
      threw = true;
    }
    if (!failure.has_failed()) return nth;
    if constexpr (std::is_invocable_v<Check&, bool>) {
      check(threw);
    } else {
      check();
    }
  }
}

template <class Operation>
int failures_of(Operation operation) {
  return failures_of(operation, [] {});
}

/// How many allocations `operation` makes.
template <class Operation>
std::uint64_t allocations_of(Operation operation) {
  const Allocations before = Allocations::now();
  operation();
  return Allocations::now().count - before.count;
}

}  // namespace penstock::testing
