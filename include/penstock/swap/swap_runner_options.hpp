// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a `SwapRunner` is set up and asked, and what it tells about itself.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/histogram.hpp"
#include "penstock/swap/swap_backend.hpp"
#include "penstock/swap/swap_event.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_options.hpp"
#include "penstock/swap/swap_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {

struct SwapRunnerOptions {
  /// The models, and how is decided about them. Its name is the runner's, in texts, metrics and `top -H`. A planner
  /// that is not pairwise is asked on the runner's thread.
  SwapSchedulerOptions scheduler = {};
  /// Carries the decisions out. Let go of when the runner has ended.
  std::shared_ptr<SwapBackend> backend = nullptr;
  /// Hears of each event and of what was decided, on the runner's thread, which holds no lock meanwhile; one that is
  /// quick, such as a `DecisionLog` without `spill`, on that of who decides. Outlives the runner. Null: nobody.
  SwapObserver* observer = nullptr;

  /// After so long the context of a task ends. It is not given up by that: as long as the back end does not say what
  /// has become of it, nobody can know what runs. Positive, max(): never.
  Duration task_timeout = Duration::max();
  /// How long the destructor waits for the tasks of the back end; at least 0.
  Duration shutdown_timeout = std::chrono::seconds(30);
  /// Decides all times; outlives the runner, and the leases and tasks that are left of it.
  Clock* clock = &Clock::steady();

  /// OK, or InvalidArgument with all that is wrong. What the planner finds wrong is not known before it is made.
  [[nodiscard]] absl::Status validate() const;
};

/// Which model: by its name or by its id. For arguments: it refers to the name.
class ModelChoice {
 public:
  constexpr ModelChoice(ModelId id) noexcept : id_(id) {}                                    // NOLINT: meant to convert
  constexpr ModelChoice(std::string_view name) noexcept : name_(name), is_named_(true) {}    // NOLINT
  constexpr ModelChoice(const char* name) noexcept : ModelChoice(std::string_view(name)) {}  // NOLINT
  ModelChoice(const std::string& name) noexcept : ModelChoice(std::string_view(name)) {}     // NOLINT

  /// Its id in `models`; `kNoModel` if it is none of them. Cost: of a name, O(log of the number of models).
  [[nodiscard]] ModelId in(const ModelTable& models) const noexcept;
  /// "'qwen-30b'", or "model 7".
  [[nodiscard]] std::string text() const;

 private:
  ModelId id_ = kNoModel;
  std::string_view name_;
  bool is_named_ = false;
};

struct SwapRequestOptions {
  std::int32_t priority = 0;  ///< Added to that of the model.
  TenantId tenant{};
  /// When the request is of no use any more, on the runner's clock. Known to the scheduler, other than the end of a
  /// context: by `QueueOrder::kDeadline` it goes first, and by `reject_late` it is refused early. Of an acquire, whose
  /// context has a deadline on that clock, the earlier of the two counts, where the scheduler does either.
  TimePoint deadline = TimePoint::max();
};

/// What became of a `SwapRunner::shutdown`.
struct SwapShutdownReport {
  bool in_time = true;                ///< no task of the back end is left
  Duration took{};                    ///< the wait
  std::uint64_t refused = 0;          ///< requests that it refused, as they still waited
  std::size_t tasks = 0;              ///< of the back end, that are not settled
  std::size_t leases = 0;             ///< that are still out
  std::vector<ModelId> running = {};  ///< models whose processes still run, as far as was reported
};

/// A runner at one moment, but for `wait`: each model's at a moment of its own. Tasks:
/// `tasks_begun == tasks + tasks_succeeded + tasks_failed`.
struct SwapRunnerStats {
  SwapStats scheduler;

  std::size_t tasks = 0;          ///< of the back end, not settled
  std::size_t tasks_overdue = 0;  ///< of these, whose context has ended
  std::uint64_t tasks_begun = 0;
  std::uint64_t tasks_succeeded = 0;
  std::uint64_t tasks_failed = 0;   ///< settled with an error; also those that were dropped
  std::uint64_t tasks_dropped = 0;  ///< destroyed by the back end without a word
  std::uint64_t late_answers = 0;   ///< of the back end, to a task that had been settled

  std::uint64_t withdrawn = 0;       ///< requests cancelled before the scheduler was told of them; not `arrived`
  std::uint64_t unknown_models = 0;  ///< requests for a model that is none of the table; not `arrived`
  std::uint64_t lost_grants = 0;     ///< grants that came to who had just cancelled
  std::uint64_t untaken_grants = 0;  ///< grants that nobody took until the ticket was dropped or cancelled
  std::uint64_t exceptions = 0;      ///< of the back end
  std::uint64_t shortages = 0;       ///< times that memory was out, which the runner's thread tried again
  LatencyHistogram::Snapshot wait;   ///< from a request to its grant, of all models
};

/// One model of a runner at one moment.
struct SwapModelStats {
  ModelState state = ModelState::kStopped;
  ModelLoad load;
  std::uint64_t granted = 0;
  std::uint64_t refused = 0;
  std::uint64_t swaps_succeeded = 0;
  std::uint64_t swaps_failed = 0;
  LatencyHistogram::Snapshot wait;  ///< from a request to its grant
};

}  // namespace penstock::inline PENSTOCK_ABI
