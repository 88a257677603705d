// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who carries out what a swap scheduler decides: stops processes and brings others up.

#include <functional>
#include <memory>
#include <span>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
struct SwapTaskState;
}

/// A swap to be carried out, or models to be stopped: a handle that is settled once.
///
///     void begin(SwapTask task) override {
///       threads.execute([this, task = std::move(task)]() mutable {
///         for (ModelId id : task.to_stop()) stop(id);                     // and report each as stopped
///         if (task.target() == kNoModel) return std::move(task).done(absl::OkStatus());
///         if (task.context().is_done()) return std::move(task).done(absl::CancelledError("nobody waits"));
///         std::move(task).done(start(task.target(), task.context()));     // and report it as ready
///       });
///     }
///
/// Destroyed unsettled, it has failed: "the back end dropped it". What is said after the first `done` is counted as
/// late, and changes nothing; what is said after its runner has gone, neither.
///
/// Threads: one at a time; any thread may settle it, also within the call that hands it over.
class SwapTask {
 public:
  SwapTask(SwapTask&&) noexcept;
  SwapTask& operator=(SwapTask&&) noexcept;
  ~SwapTask();

  /// What is to be brought up; `kNoModel`: nothing.
  [[nodiscard]] ModelId target() const noexcept;
  /// What has to be stopped before, all at the same time.
  [[nodiscard]] std::span<const ModelId> to_stop() const noexcept;
  /// How long stopping may take: what an unload was asked for with. Zero, which a swap always says: as each model is
  /// set up. Less: no time at all. The end of `context()` is none of stopping.
  [[nodiscard]] Duration stop_timeout() const noexcept;
  /// Ends when nobody wants the swap any more, when the target is being unloaded, or after
  /// `SwapRunnerOptions::task_timeout`. A target that was not started by then must not be. The task is to be settled
  /// nevertheless, by whatever has become of it.
  [[nodiscard]] const Context& context() const noexcept;

  /// Settles it; never waits. The states of its models are to be reported before. OK: all of `to_stop()` have stopped,
  /// and the target is ready. Else the status is what those get who waited for it.
  void done(absl::Status status) && noexcept;

 private:
  friend struct detail::SwapTaskState;
  explicit SwapTask(std::shared_ptr<detail::SwapTaskState> state) noexcept;

  std::shared_ptr<detail::SwapTaskState> state_;
};

/// Tells a runner that a model's process does something else from now on; of several reports about a model that the
/// runner has not come to yet, it sees the last one. Any thread; never waits, fails, or allocates; after the runner has
/// gone, nothing happens.
using ModelStateReport = std::function<void(ModelId, ModelState)>;

/// The user's side of a `SwapRunner`: it runs one at a time, and belongs to one.
///
/// Tasks may overlap. No two that run at once name the same model, but for one case: a model that is unloaded while an
/// earlier task brings it up. That task's context has ended then, and stopping the model calls its start off.
class SwapBackend {
 public:
  virtual ~SwapBackend() = default;

  /// Called once, before anything else, by the constructor of the runner, which throws what this throws. The table is
  /// valid during the call, and may be copied.
  virtual void attach(const ModelTable& models, ModelStateReport report) = 0;

  /// Carries out `task`. Called on the runner's thread, which decides nothing meanwhile: must not wait. It may settle
  /// the task at once, report, and call the runner in any way that does not wait. What it throws is caught and counted,
  /// and the task has failed.
  virtual void begin(SwapTask task) = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI
