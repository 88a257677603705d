// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many retries all calls together may make.

#include <cstdint>

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct RetryBudgetOptions {
  /// Retries that each call earns for all. Without limit: infinity.
  double ratio = 0.1;
  /// At most so many earned retries are kept; a new budget has them all. [1, 1000000]
  double capacity = 100;
  /// Retries per second that need not be earned, for providers with few calls; unused ones are kept for a second.
  /// [0, 1000000]
  double per_second = 1;
};

/// Limits retries to a part of all calls, so that they cannot multiply the load of a provider that is in trouble. A
/// token bucket: each call deposits `ratio`, each retry withdraws 1, and `capacity` is the most it holds. Beside it,
/// `per_second` retries are always free. So in any time t with n calls,
///
///     retries <= capacity + ratio * n + max(1, per_second) + per_second * t
///
/// The rule is that of `RetryBudget` in Twitter's Finagle, and of the retry throttling of gRPC, but for what is kept:
/// Finagle forgets deposits after some seconds, and begins with ten seconds' worth of free retries.
///
/// Threads: any member, from any thread; no deposit and no withdrawal is lost or made twice.
class RetryBudget {
 public:
  /// Throws: std::invalid_argument if the options are not as they say.
  explicit RetryBudget(const RetryBudgetOptions& options = {});
  RetryBudget(const RetryBudget&) = delete;
  RetryBudget& operator=(const RetryBudget&) = delete;

  /// A call begins. Cost: one load of a line that nobody writes while the bucket is full; otherwise one
  /// compare-exchange.
  void deposit() noexcept;

  /// A retry may be made; false if there is no token for it.
  [[nodiscard]] bool try_withdraw(TimePoint now) noexcept;

  /// How many retries could be made now; infinity if there is no limit.
  [[nodiscard]] double balance(TimePoint now) const noexcept;

 private:
  [[nodiscard]] bool try_withdraw_free(TimePoint now) noexcept;

  // Tokens in billionths, in [0, capacity_]. It orders nothing: what a token allows is not published through it. A
  // stale read costs another round of the loop, or, seen full by a depositor, is a deposit that came first.
  detail::CachePadded<detail::world::Atomic<std::int64_t>> tokens_;
  // The generic cell rate algorithm: the time, in nanoseconds of the clock's epoch, from which on free retries would be
  // saved up again. Each takes interval_ of it, and it may be ahead of now by tolerance_. Orders nothing, either.
  detail::CachePadded<detail::world::Atomic<Duration::rep>> free_from_;
  std::int64_t deposit_ = 0;
  std::int64_t capacity_ = 0;
  Duration interval_{};  // zero: none is free
  Duration tolerance_{};
  bool unlimited_ = false;
};

}  // namespace penstock::inline PENSTOCK_ABI
