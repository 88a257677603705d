// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A provider's road in virtual time: jobs arrive, wait in a bounded queue, and are called by workers, as far as a
/// limit and a breaker let them; a scaler looks once per tick and adds or removes workers.
///
///   arrival -> [breaker open: refused] -> [queue full: refused] -> queue -> [waited too long: refused]
///           -> worker and limit free -> [breaker: refused] -> provider -> served, failed, or timed out
///
/// It is a model of the pool; what decides (scaler, limit, breaker) is the library's own code.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "penstock/route/circuit_breaker.hpp"

#include "curve.hpp"
#include "provider.hpp"
#include "virtual_time.hpp"

namespace simulation {

struct RoadOptions {
  Curve rate{.base = 10};  ///< Jobs per second; Poisson.
  double duration_s = 60;  ///< For so long do jobs arrive; then those in the system are seen to their end.
  ProviderOptions provider{};

  int workers = 10;            ///< At the beginning.
  double start_up_s = 0.5;     ///< From when a worker is added to when it takes its first job.
  std::size_t capacity = 200;  ///< Of the queue.
  double queue_wait_s = 10;    ///< A job that has waited for so long is refused; infinity: none is.
  double timeout_s = 30;       ///< A call that takes longer is given up; infinity: none is.
  double tick_s = 1;           ///< How often the scaler looks.
  std::optional<penstock::CircuitBreakerOptions> breaker{};  ///< With auto_half_open: that lets arrivals in again.
};

/// What a scaler sees.
struct Reading {
  TimePoint now{};
  std::size_t workers = 0;  ///< Starting ones included, retiring ones not.
  std::size_t busy = 0;     ///< Of these.
  std::size_t queued = 0;
  std::size_t capacity = 0;
  bool breaker_open = false;
  bool limited = false;  ///< As many calls are on their way as the limit allows.

  // From the beginning on.
  std::uint64_t arrived = 0;
  std::uint64_t started = 0;
  Duration wait_total{};  ///< Of these.
  std::uint64_t finished = 0;
  Duration run_total{};  ///< Of these.
};
/// How many workers to add; less than zero: to remove.
using Scaler = std::function<int(const Reading&)>;

struct CallSample {
  Duration rtt{};
  std::size_t in_flight = 0;  ///< When it began, itself included.
  bool dropped = false;
  TimePoint now{};
};
/// Returns the new limit.
using Limit = std::function<std::size_t(const CallSample&)>;

struct Policy {
  Scaler scaler{};  ///< Empty: the number of workers is fixed.
  Limit limit{};    ///< Empty: a call for each worker.
  std::size_t first_limit = 0;
};

struct Moment {
  double time_s = 0;
  double rate = 0;
  int workers = 0;
  std::size_t queued = 0;
  std::size_t in_flight = 0;
  std::size_t limit = 0;  ///< Zero: there is none.
};

struct RoadResult {
  // arrived = served + rejected() + failed()
  std::uint64_t arrived = 0;
  std::uint64_t served = 0;
  std::uint64_t queue_full = 0;
  std::uint64_t queue_expired = 0;
  std::uint64_t breaker_refused = 0;
  std::uint64_t provider_failed = 0;
  std::uint64_t provider_refused = 0;
  std::uint64_t timed_out = 0;

  double worker_seconds = 0;   ///< Starting and retiring workers included, while jobs arrive.
  double busy_seconds = 0;     ///< Until the last job has left, as all below.
  double system_seconds = 0;   ///< The integral of the number of jobs in the system.
  double sojourn_seconds = 0;  ///< The sum of the times that jobs were in the system.
  double wait_seconds = 0;     ///< The sum of the times that jobs which were called had waited before.
  double length_s = 0;
  int most_workers = 0;
  std::vector<float> response_s{};  ///< Of each job that was served, from its arrival on.
  std::vector<Moment> moments{};    ///< One for each tick.

  [[nodiscard]] std::uint64_t rejected() const noexcept { return queue_full + queue_expired + breaker_refused; }
  [[nodiscard]] std::uint64_t failed() const noexcept { return provider_failed + provider_refused + timed_out; }
};

/// The same `options`, `seed` and decisions give the same result, byte for byte. Whatever the policy, the same seed has
/// the same jobs arrive at the same times.
[[nodiscard]] RoadResult run(const RoadOptions& options, const Policy& policy, std::uint64_t seed);

/// The smallest of `values` that so many of them are not greater than; 0 of none. `part` is in (0, 1].
[[nodiscard]] double percentile(std::vector<float> values, double part);

}  // namespace simulation
