// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Lets so many through per second, and has the others wait for their turn: for providers that count requests or
/// tokens.
///
/// The limiter is a bucket that holds `burst` tokens, is full at first, and fills at `rate_per_second`. Who takes one
/// goes at once; who finds too few is told when there will be enough, or stands in line, first come, first served,
/// threads and coroutines alike. So in any time t no more than `burst + rate_per_second * t` are given out.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/core/retry_after.hpp"
#include "penstock/route/detail/rate_core.hpp"
#include "penstock/route/rate_limiter_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// Lets calls through at a rate.
///
///     RateLimiter limiter({.name = "openai", .rate_per_second = 10, .burst = 20});
///
///     if (!limiter.try_acquire()) return busy();             // now or never
///
///     RateRefusal why;                                       // or in turn, as long as ctx lasts
///     if (limiter.acquire(ctx, 1, why) != OpStatus::kOk) return to_status(why, limiter.name());
///
/// Nobody overtakes: while somebody stands in line, who comes is refused or gets in line behind. Who leaves the line
/// early leaves its place to the next one. A wait never ends before its tokens have come in; on the machine's clock it
/// ends as much later as the system takes to fire a timer and to wake a thread.
///
/// The clock may jump: forward it fills the bucket, which is `burst` at most; backward it stands still, for the
/// limiter, until it is where it was: that gives nothing and takes nothing.
///
/// Threads: any member, from any thread. The limiter must outlive all calls, waiting ones included: `close` ends these.
class RateLimiter {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc.
  explicit RateLimiter(RateLimiterOptions options);
  RateLimiter(const RateLimiter&) = delete;
  RateLimiter& operator=(const RateLimiter&) = delete;
  /// Blocks: while another thread sets the timer, or the timer fires.
  ~RateLimiter();

  /// Takes `n` tokens if they are there, and nobody waits for them. None is always there.
  ///
  /// Cost: reads the clock; with kGcra and nobody in line, one compare-exchange, and no lock for a refusal, either.
  [[nodiscard]] bool try_acquire(std::uint64_t n = 1) noexcept;
  /// The same; a refusal is explained in `why`. Made into text only where somebody will read it.
  ///
  /// Cost: a refusal takes one lock.
  [[nodiscard]] bool try_acquire(std::uint64_t n, RateRefusal& why) noexcept;

  /// Takes `n` tokens, waiting in line for them. A context that has ended already makes it look once.
  ///
  /// Blocks:  until they have come in, the limiter is closed, or `ctx` ends; not at all if they would come too late.
  /// Returns: kOk; kFull (refused at once: kLineFull, kTooLate, kTooMany), kTimedOut, kCancelled or kClosed.
  /// Throws:  std::system_error or std::bad_alloc if a clock needs a timer thread and cannot start it. Then nothing is
  ///          taken, and nobody is left in line.
  OpStatus acquire(const Context& ctx = Context::background(), std::uint64_t n = 1);
  OpStatus acquire(const Context& ctx, std::uint64_t n, RateRefusal& why);

  /// `co_await limiter.async_acquire(ctx, n)`: what `acquire` does, returns and throws, for a coroutine; `why` lives
  /// until it ends. The coroutine may be destroyed while it waits here, until its executor resumes it; tokens that it
  /// had been given by then are used.
  auto async_acquire(Context ctx = Context::background(), std::uint64_t n = 1) {
    return detail::RateAwaiter(*core_, std::move(ctx), n, nullptr);
  }
  auto async_acquire(Context ctx, std::uint64_t n, RateRefusal& why) {
    return detail::RateAwaiter(*core_, std::move(ctx), n, &why);
  }

  /// Changes everything but `name` and `clock`, which stay as they were. Tokens that are there stay, as long as they
  /// find room in the new burst. Who stands in line stays there, even if the line is shorter now, or the burst less
  /// than what was asked for; a wait that ends later now may run into its deadline.
  ///
  /// Returns: OK, or what `options.validate()` says; then nothing has changed.
  absl::Status set_options(const RateLimiterOptions& options);

  /// Gives nothing any more, for good: whoever waits or comes is refused. May be called again. Returns whether this was
  /// the call that closed it.
  bool close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept;

  [[nodiscard]] const std::string& name() const noexcept;
  /// As they were given last, with the name and the clock of the beginning.
  [[nodiscard]] RateLimiterOptions options() const;
  /// Cost: one lock, held while some 2.5 KiB are copied. Calls that run at this time may be missing.
  [[nodiscard]] RateLimiterStats stats() const noexcept;
  /// Writes the metrics `penstock_rate_limiter_...`, with the label rate_limiter = name().
  void collect(MetricSink& sink) const;

 private:
  const std::unique_ptr<detail::RateCore> core_;
};

}  // namespace penstock::inline PENSTOCK_ABI
