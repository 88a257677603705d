// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How many calls at a time another system bears, found out from how long calls take and how they end. Pure decisions:
/// a finished call goes in, the new limit comes out. No clock, no lock, no thread.
///
///   FixedLimit      the number that it was given
///   AimdLimit       one more after a good call, a tenth less after a drop or a time-out, as TCP did first
///   VegasLimit      L * (1 - shortest time / this time) calls of L are queueing: more if few are, fewer if many
///   GradientLimit   L * (shortest time / this time) + a queue; forgets the shortest time now and then
///   Gradient2Limit  L * (average time / this time) + a queue
///
/// They decide what the algorithms of the same names in Netflix's concurrency-limits decide, to the last bit. That
/// includes a flaw of the last three: under a load that never ends, what they compare with grows with the queue, and so
/// does the limit. A `LimitProbe` stops that: from time to time it lets only so few calls through that they cannot
/// queue, and what these take is what all are compared with until the next time.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// The largest limit there is.
inline constexpr std::size_t kMaxConcurrencyLimit = 1'000'000'000;

/// One finished call.
struct LimitSample {
  Duration rtt{};             ///< How long it took; less than 1 ns counts as 1 ns.
  std::size_t in_flight = 0;  ///< How many were under way when it began, itself among them.
  bool dropped = false;       ///< It was refused or timed out: the other side had too much to do.
  TimePoint now{};            ///< When it ended.
};

/// Threads: one at a time.
class LimitAlgorithm {
 public:
  virtual ~LimitAlgorithm() = default;

  /// Learns from a call that ended. Returns the new limit.
  virtual std::size_t on_sample(const LimitSample& sample) noexcept = 0;
  /// In [1, kMaxConcurrencyLimit].
  [[nodiscard]] virtual std::size_t limit() const noexcept = 0;
  /// Such as "vegas".
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;

  /// How long a call takes, as far as is known, when none has to queue; zero: not known.
  [[nodiscard]] virtual Duration min_rtt() const noexcept { return Duration::zero(); }
  /// What it last compared with that; zero: nothing yet.
  [[nodiscard]] virtual Duration window_rtt() const noexcept { return Duration::zero(); }

  /// So long took the shortest of some calls that could not have queued, and so long they took on average. From now on
  /// these are the times to compare with, instead of what can be told from samples under load.
  virtual void set_base_rtt(Duration shortest, Duration mean) noexcept {
    static_cast<void>(shortest);
    static_cast<void>(mean);
  }

 protected:
  LimitAlgorithm() = default;
  LimitAlgorithm(const LimitAlgorithm&) = default;
  LimitAlgorithm& operator=(const LimitAlgorithm&) = default;
};

struct FixedLimit {
  std::size_t limit = 20;  ///< [1, kMaxConcurrencyLimit]

  /// OK, or InvalidArgument with every violation; likewise below.
  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const FixedLimit&, const FixedLimit&) = default;
};

/// A drop, or a call that took longer than `timeout`: L = int(L * backoff). Else, if at least half of L are under way:
/// L + 1.
struct AimdLimit {
  std::size_t initial = 20;                    ///< [min, max]
  std::size_t min = 20;                        ///< [1, max]
  std::size_t max = 200;                       ///< [min, kMaxConcurrencyLimit]
  double backoff = 0.9;                        ///< (0, 1)
  Duration timeout = std::chrono::seconds(5);  ///< Positive.

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const AimdLimit&, const AimdLimit&) = default;
};

/// With lg = max(1, int(log10 L)): of a queue of at most lg, L + 6 lg; less than 3 lg, L + lg; more than 6 lg, or after
/// a drop, L - lg.
struct VegasLimit {
  std::size_t initial = 20;  ///< [1, max]
  std::size_t max = 1000;    ///< [1, kMaxConcurrencyLimit]
  double smoothing = 1.0;    ///< (0, 1]; how much of each change is made.
  /// Takes the time of one call as the shortest there is, whatever it is, each time that U(0.5, 1) * probe_multiplier *
  /// L calls have ended. 0: never.
  std::size_t probe_multiplier = 30;
  /// Doubles the limit once in each round trip, until calls queue or are dropped for the first time.
  bool slow_start = false;

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const VegasLimit&, const VegasLimit&) = default;
};

/// With queue = max(4, int(sqrt L)): L * clamp(tolerance * shortest / rtt, 0.5, 1) + queue; after a drop, L * backoff.
struct GradientLimit {
  std::size_t initial = 50;  ///< [min, max]
  std::size_t min = 1;       ///< [1, max]
  std::size_t max = 1000;    ///< [min, kMaxConcurrencyLimit]
  double tolerance = 2.0;    ///< [1, inf)
  double backoff = 0.9;      ///< (0, 1)
  double smoothing = 0.2;    ///< (0, 1]; how much of each change downwards is made.
  /// Falls to max(min, queue), and forgets the shortest time, after so many calls and a random part of as many again.
  /// 0: never.
  std::size_t probe_interval = 1000;

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const GradientLimit&, const GradientLimit&) = default;
};

/// L * clamp(tolerance * average / rtt, 0.5, 1) + queue. With `min` as it is, it never lets fewer than 20 through,
/// whatever becomes of the other side, and after drops alone it sheds nothing: see `heed_drops`.
struct Gradient2Limit {
  std::size_t initial = 20;       ///< [min, max]
  std::size_t min = 20;           ///< [1, max]
  std::size_t max = 200;          ///< [min, kMaxConcurrencyLimit]
  std::size_t queue = 4;          ///< [0, kMaxConcurrencyLimit]; what the limit may grow by while nothing gets slower.
  std::size_t long_window = 600;  ///< At least 1; calls in the average.
  double smoothing = 0.2;         ///< (0, 1]; how much of each change is made.
  double tolerance = 1.5;         ///< [1, inf)
  /// A drop counts as a call that took so long that the limit would be halved, whatever it took and however few were
  /// under way; its time is not in the average. Off, a drop is a call like any other.
  bool heed_drops = false;

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const Gradient2Limit&, const Gradient2Limit&) = default;
};

using LimitOptions = std::variant<FixedLimit, AimdLimit, VegasLimit, GradientLimit, Gradient2Limit>;

/// Gives an algorithm, instead of each call, what the calls of a time had in common: their average time, the most that
/// were under way, and whether any was dropped. What a probe has found out becomes an average, too: beside the shortest
/// of some calls, the average of others looks like a queue wherever calls are not all alike.
struct LimitWindow {
  Duration min_rtt = std::chrono::microseconds(100);  ///< Not negative; shorter calls are not looked at.
  std::size_t min_samples = 10;                       ///< At least 1; a window with fewer is thrown away.
  /// A window lasts twice as long as the shortest call of the one before, but at least and at most this.
  Duration min_length = std::chrono::seconds(1);  ///< Positive.
  Duration max_length = std::chrono::seconds(1);  ///< At least min_length.

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const LimitWindow&, const LimitWindow&) = default;
};

/// Finds out now and then, first of all at the beginning, how long calls take that cannot queue. For Vegas, Gradient
/// and Gradient2; these forget their own probes then.
///
/// While it does, the limit is `concurrency`. It ends when `samples` calls that had begun meanwhile have ended, dropped
/// ones not counted; then the limit is what it was before. With little to do, or with long calls, that takes a while.
struct LimitProbe {
  std::size_t concurrency = 3;                   ///< [1, kMaxConcurrencyLimit]
  std::size_t samples = 50;                      ///< At least 1.
  Duration interval = std::chrono::seconds(60);  ///< Positive; from the end of one probe to the beginning of the next.
  double jitter = 0.15;                          ///< [0, 1]; each interval is longer by a random part up to this one.
  /// Positive; a probe that takes longer ends, and goes by the calls it has seen, with the next call that ends.
  Duration time_limit = Duration::max();

  [[nodiscard]] absl::Status validate() const;
  friend bool operator==(const LimitProbe&, const LimitProbe&) = default;
};

/// The algorithm of `options`, which must be valid. `seed` decides what is random.
///
/// Throws: std::bad_alloc.
std::unique_ptr<LimitAlgorithm> make_limit_algorithm(const LimitOptions& options, std::uint64_t seed = 1);
/// The same within a window, and that with a probe.
std::unique_ptr<LimitAlgorithm> make_limit_algorithm(const LimitOptions& options,
                                                     const std::optional<LimitWindow>& window,
                                                     const std::optional<LimitProbe>& probe, std::uint64_t seed = 1);

/// `algorithm`, which is given windows instead of calls. `window` must be valid.
std::unique_ptr<LimitAlgorithm> with_window(std::unique_ptr<LimitAlgorithm> algorithm, const LimitWindow& window);
/// `algorithm`, which is told by probes what to compare with. `probe` must be valid. A window goes inside of a probe:
/// a probe counts calls.
std::unique_ptr<LimitAlgorithm> with_probe(std::unique_ptr<LimitAlgorithm> algorithm, const LimitProbe& probe,
                                           std::uint64_t seed = 1);

}  // namespace penstock::inline PENSTOCK_ABI
