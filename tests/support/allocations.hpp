// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Counts the allocations of the calling thread, and makes one of them fail; the `operator new` that does so is part of
/// every test program.

#include <cstdint>

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

}  // namespace penstock::testing
