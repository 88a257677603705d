// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A swap scheduler among models and clients that are made up, in virtual time: to choose a policy, and to test one's
/// own.
///
/// The same options give the same report, bit for bit, on each machine whose <cmath> is the same. Two simulations that
/// differ in the scheduler only have the same requests: when they come, how long each is served, how long its client
/// waits. (Clients of a closed loop come when the one before has ended, so there only their order is the same.)
///
///     SwapSimulation simulation{.scheduler = {.models = {{.name = "a"}, {.name = "b"}}}};
///     simulation.workloads = {{.model = "a", .arrivals = PoissonArrivals{.per_second = 1}, .service = {6s}},
///                             {.model = "b", .arrivals = PoissonArrivals{.per_second = 0.05}, .service = {6s}}};
///     std::puts(to_table(simulate(simulation)).c_str());
///     simulation.scheduler.max_wait = 60s;
///     std::puts(to_table(simulate(simulation)).c_str());

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_event.hpp"
#include "penstock/swap/swap_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// How long something takes, each time anew.
struct RandomDuration {
  enum class Shape : std::uint8_t {
    kConstant,
    kUniform,      ///< from `mean * (1 - spread)` to `mean * (1 + spread)`
    kExponential,  ///< as if it might end at any time
    kLogNormal,    ///< `spread` is the deviation of the logarithm: a few take very long
  };
  Duration mean{};  ///< at least 0; max(): it never ends
  Shape shape = Shape::kConstant;
  double spread = 0.5;  ///< [0, 1] if uniform, [0, 5] if log-normal
};

/// The process of a model.
struct SimulatedModel {
  std::string name = {};
  /// Nothing: always `SwapModel::start_time`.
  std::optional<RandomDuration> start = {};
  RandomDuration stop = {};
  double start_failure = 0;  ///< the part of its starts that fail, when they have taken their time; [0, 1]
  double start_hang = 0;     ///< the part of its starts that never end by themselves; [0, 1]
  /// A start that has taken so long has failed.
  Duration start_timeout = std::chrono::minutes(5);
  /// Between these times, from the beginning on, each start fails.
  struct Outage {
    Duration from{};
    Duration until = Duration::max();
  };
  std::vector<Outage> outages = {};
  /// How long it is ready until it ends by itself, with all that it serves: exponential; max(): never.
  Duration mean_time_to_crash = Duration::max();
};

/// At any time, with no regard to each other.
struct PoissonArrivals {
  double per_second = 1;
  Duration from{};
  Duration until = Duration::max();
};
/// Many at a time.
struct BurstArrivals {
  Duration every = std::chrono::minutes(1);
  std::size_t size = 10;
  Duration within = std::chrono::seconds(1);  ///< the times of a burst are uniform in it
  Duration from{};
  Duration until = Duration::max();
};
/// Clients of which each makes a request, waits for its end, thinks, and makes the next one.
struct ClosedLoop {
  std::size_t clients = 1;
  RandomDuration think{std::chrono::seconds(1), RandomDuration::Shape::kExponential};
};
using Arrivals = std::variant<PoissonArrivals, BurstArrivals, ClosedLoop>;

/// Requests of one sort.
struct SwapWorkload {
  std::string model = {};
  Arrivals arrivals = PoissonArrivals{};
  RandomDuration service{std::chrono::seconds(1), RandomDuration::Shape::kExponential};
  std::int32_t priority = 0;
  TenantId tenant{};
  /// So long a client waits; then it cancels.
  RandomDuration patience{Duration::max()};
  /// The request's deadline, from its arrival on; max(): none.
  Duration deadline = Duration::max();
  /// The part of the clients that have gone, without a word, when they are granted; [0, 1].
  double gone_at_grant = 0;
};

/// One request of a trace.
struct TracedRequest {
  Duration at{};  ///< from the beginning on
  std::string model = {};
  Duration service{};
  std::int32_t priority = 0;
  TenantId tenant{};
  Duration patience = Duration::max();
  Duration deadline = Duration::max();
};

/// The requests of a decision log, to see what another policy had done with them. Of those that were never served, the
/// service takes as long as the mean of their model's others. Errors: as of `DecisionReader`.
[[nodiscard]] absl::StatusOr<std::vector<TracedRequest>> trace_of(std::span<const std::byte> log);

/// A total rate of requests of which the first `hot` models get `hot_share` of all, and the others the rest, evenly.
[[nodiscard]] std::vector<SwapWorkload> hot_cold_mix(std::span<const std::string> models, std::size_t hot,
                                                     double hot_share, double per_second,
                                                     const RandomDuration& service);

/// Decides in place of a `SwapScheduler`: as `apply`.
using SwapDecide = std::function<std::uint64_t(const SwapEvent& event, TimePoint now, SwapActions& out)>;

struct SwapSimulation {
  SwapSchedulerOptions scheduler = {};
  /// Models that are not among these start and stop as it says there by default.
  std::vector<SimulatedModel> models = {};
  std::vector<SwapWorkload> workloads = {};
  std::vector<TracedRequest> trace = {};

  Duration duration = std::chrono::hours(1);
  /// Requests that come earlier are simulated, and not in the report.
  Duration warm_up{};
  std::uint64_t seed = 1;
  /// At the end it is shut down, so that everybody gets an answer. The report is as before that.
  bool shut_down = false;

  /// What is simulated; empty: a `SwapScheduler` with these options. Here a test calls a scheduler of its own, and
  /// looks at it after each event.
  SwapDecide decide = {};
  SwapObserver* observer = nullptr;  ///< Sees every event, such as a `DecisionLog`.

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

struct WaitFigures {
  std::uint64_t count = 0;
  Duration mean{};
  Duration p50{};
  Duration p99{};
  Duration max{};

  friend bool operator==(const WaitFigures&, const WaitFigures&) = default;
};

/// What became of some requests. Their waits are from arrival to grant.
struct SimulatedRequests {
  std::string name = {};
  std::uint64_t arrived = 0;
  std::uint64_t granted = 0;
  std::uint64_t served = 0;
  std::uint64_t broken = 0;  ///< granted, and their process ended, or was not ready
  std::uint64_t gone = 0;    ///< granted, and nobody was there
  std::uint64_t cancelled = 0;
  std::array<std::uint64_t, kSwapReasons> refused{};
  std::uint64_t unserved = 0;  ///< wait at the end
  Duration longest_unserved{};
  WaitFigures waits;

  friend bool operator==(const SimulatedRequests&, const SimulatedRequests&) = default;
};

struct SwapSimulationReport {
  SimulatedRequests all;
  std::vector<SimulatedRequests> models;   ///< by `ModelId`
  std::vector<SimulatedRequests> tenants;  ///< by `TenantId`, all beyond the list as the last one; none without tenants
  std::uint64_t swaps = 0;
  std::uint64_t swaps_failed = 0;
  std::uint64_t swaps_called_off = 0;
  std::uint64_t evictions = 0;
  std::uint64_t unloads = 0;  ///< models that were to be stopped otherwise
  std::uint64_t crashes = 0;
  double swap_time_share = 0;  ///< the part of the time in which a swap was under way
  std::uint64_t events = 0;    ///< that the scheduler was told of
  Duration longest_service{};  ///< that was begun

  friend bool operator==(const SwapSimulationReport&, const SwapSimulationReport&) = default;
};

/// Simulates. Throws: std::invalid_argument with the text of `simulation.validate()`; as `SwapScheduler` and `decide`.
///
/// Cost: below a microsecond for each event, without that of the scheduler; 8 bytes for each request.
[[nodiscard]] SwapSimulationReport simulate(const SwapSimulation& simulation);

/// For people: a line for each model and tenant, and one for all.
[[nodiscard]] std::string to_table(const SwapSimulationReport& report);

}  // namespace penstock::inline PENSTOCK_ABI
