// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a concurrency limiter behaves, what it says when it refuses, and its figures.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/route/limit_algorithm.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a finished call says about how busy the other side is.
enum class LimitOutcome : std::uint8_t {
  kSuccess,  ///< It was worked on; how long that took says how busy the other side is.
  kDropped,  ///< The other side had too much to do.
  kIgnored,  ///< Nothing.
};

/// OK is a success; ResourceExhausted, Unavailable and DeadlineExceeded are drops, unless they come from the library
/// itself, before there was a call (`failure_stage` is not "run"). Everything else is ignored: a refusal of a bad
/// request is quick, whatever there is to do.
LimitOutcome classify_limit(const absl::Status& status) noexcept;

/// A part of the callers, with a share of the limit that others cannot take from them.
struct LimitPartition {
  std::string name;    ///< 1 to 256 bytes; no two have the same, and none "default".
  double share = 0.0;  ///< (0, 1]; all shares together are at most 1.

  friend bool operator==(const LimitPartition&, const LimitPartition&) = default;
};

struct ConcurrencyLimiterOptions {
  /// Who is served first of those who wait.
  enum class Order : std::uint8_t {
    kFifo,  ///< Who came first.
    kLifo,  ///< Who came last: under overload some callers are served in time, instead of all too late.
  };
  /// How calls are timed whose reports do not bring the time along. A fixed limit needs no times and takes none.
  enum class Timing : std::uint8_t {
    kByCaller,  ///< Not at all: such a report says nothing about the time.
    kCoarse,    ///< By `Clock::recent()`, to a few milliseconds, for some 10 ns a call.
    kExact,     ///< By `Clock::now()`, for some 50 ns a call.
  };

  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.
  LimitOptions algorithm = AimdLimit{};
  /// Makes an algorithm of the user's, instead of `algorithm`.
  std::function<std::unique_ptr<LimitAlgorithm>()> make_algorithm = {};
  std::optional<LimitWindow> window = std::nullopt;
  std::optional<LimitProbe> probe = std::nullopt;  ///< With Vegas, Gradient, Gradient2, or an algorithm of the user's.

  /// While fewer are in flight than the limit, anybody may go. At the limit, a partition may if fewer of its calls are
  /// in flight than max(1, ceil(limit * share)). So there can be more in flight than the limit, by up to as many.
  std::vector<LimitPartition> partitions = {};  ///< At most 100.
  /// The share of all who name no partition, or one that there is not. 0: none.
  double default_share = 0.0;

  Order order = Order::kFifo;
  std::size_t max_waiting = 1000;           ///< Who would be one more is refused. 0: nobody waits.
  Duration wait_timeout = Duration::max();  ///< Not negative; how long anybody waits at most.
  Timing timing = Timing::kExact;

  /// What a status that is given to `Slot::settle` means; `classify_limit` if empty. May be called by many threads.
  std::function<LimitOutcome(const absl::Status&)> classify = {};
  std::uint64_t seed = 0;           ///< Of what is random in the algorithm; 0: a random one.
  Clock* clock = &Clock::steady();  ///< Must outlive the limiter.

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

/// Why an acquire got no slot.
struct LimitRefusal {
  OpStatus status = OpStatus::kFull;  ///< kFull, kTimedOut, kCancelled or kClosed.
  std::size_t limit = 0;
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  Duration waited{};
  bool has_partition = false;  ///< There are partitions: of the caller's,
  std::size_t partition_in_flight = 0;
  std::size_t partition_guarantee = 0;
};

/// A text such as "concurrency limiter 'bedrock': no slot in time (waited 250 ms, limit 20, 20 in flight, 3 waiting)":
/// ResourceExhausted, DeadlineExceeded, Cancelled or, if the limiter is closed, Unavailable. The payload
/// `type.penstock/stage` is "limit".
absl::Status to_status(const LimitRefusal& refusal, std::string_view name);

struct LimitPartitionStats {
  std::string name;  ///< Empty: of all who name none of the others.
  double share = 0;
  std::size_t guarantee = 0;  ///< So many of its calls may be in flight whatever the others do.
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  std::uint64_t acquired = 0;
  std::uint64_t rejected = 0;
};

struct ConcurrencyLimiterStats {
  std::string algorithm;
  std::size_t limit = 0;
  std::size_t in_flight = 0;
  std::size_t waiting = 0;
  bool closed = false;
  Duration min_rtt{};     ///< What the algorithm takes for the time of a call that does not queue; zero: not known.
  Duration window_rtt{};  ///< What it last compared with that.

  // Since the limiter was made; exact when nothing is under way.
  std::uint64_t success = 0;
  std::uint64_t dropped = 0;
  std::uint64_t ignored = 0;
  std::uint64_t abandoned = 0;        ///< Slots that were destroyed without a report.
  std::uint64_t doubled_reports = 0;  ///< Reports on a slot that was settled.
  std::uint64_t rejected = 0;         ///< Refused at once: no room, nor in the line.
  std::uint64_t waits = 0;            ///< How many have stood in line.
  std::uint64_t timed_out = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t refused_closed = 0;
  std::uint64_t limit_changes = 0;
  std::uint64_t missed_samples = 0;     ///< That came while the algorithm was busy with too many others.
  std::uint64_t caught_exceptions = 0;  ///< Of `classify` and `make_algorithm`.

  /// If there are partitions: each, and first the one of those who name none.
  std::vector<LimitPartitionStats> partitions;
};

}  // namespace penstock::inline PENSTOCK_ABI
