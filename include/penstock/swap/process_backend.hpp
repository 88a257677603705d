// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Models served by child processes: what a swap runner decides, done to a process for each.

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/task.hpp"
#include "penstock/swap/process.hpp"
#include "penstock/swap/process_options.hpp"
#include "penstock/swap/process_supervisor.hpp"
#include "penstock/swap/swap_backend.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

struct ProcessBackendOptions {
  /// One for each model, of its name; no two have the same.
  std::vector<ProcessOptions> processes = {};
  ProcessSupervisorOptions supervisor = {};

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// A process for each model.
///
///     ProcessBackend backend({.processes = {{.name = "llama", .arguments = {"llama-server", "--port", "8101"},
///                                            .ready = ReadyOnHttp{.port = 8101}},
///                                           {.name = "qwen", .arguments = {"llama-server", "--port", "8102"},
///                                            .ready = ReadyOnHttp{.port = 8102}}}});
///     SwapRunner runner(options, planner, backend);
///
/// A swap stops what has to go, all at the same time, and when all of that has stopped it starts its target. One that
/// nobody wants any more starts nothing; a start that is under way then is aborted, unless somebody else waits for it,
/// as by `Process::ensure_ready`. If something does not stop, the swap has failed, and starts nothing either.
///
/// States are reported as they change: a child that ends by itself is reported as stopped once nobody of its group runs
/// any more, which is at once if it was alone. A process may also be started and stopped by who has the back end; the
/// runner hears of it.
///
/// In a forked child it refuses everything, and its destructor leaves all as it is.
///
/// Threads: any member, from any thread. It outlives its runner.
class ProcessBackend final : public SwapBackend {
 public:
  /// Starts nothing yet. Throws: std::invalid_argument with the text of `options.validate()`; as `ProcessSupervisor`
  /// and `Process` throw.
  explicit ProcessBackend(ProcessBackendOptions options);
  /// Shuts all processes down, at the same time. Blocks: as the destructors of the processes.
  ~ProcessBackend() override;

  /// Throws: std::invalid_argument if a model has no process, or a process no model, with all of them; in a forked
  ///         child, too.
  void attach(const ModelTable& models, ModelStateReport report) override;
  void begin(SwapTask task) override;

  /// What `begin` does with a task, for who has none: stops `to_stop` within `graceful_timeout` (zero: each within its
  /// own; less: kills them), which the end of `ctx` does not cut short, but `kill_timeout` bounds; then makes `target`
  /// ready, unless that is `kNoModel`. Ids are those of the table that was attached. The destructor waits for one that
  /// has begun.
  [[nodiscard]] Task<absl::Status> carry_out(std::vector<ModelId> to_stop, ModelId target, Duration graceful_timeout,
                                             Context ctx);

  /// The process of a model, or null. Cost: O(log of their number).
  [[nodiscard]] Process* find(std::string_view name) const noexcept;
  /// Null before `attach`, for an id that is not of its table, and in a forked child.
  [[nodiscard]] Process* find(ModelId model) const noexcept;

  /// Writes the metrics of all processes.
  void collect(MetricSink& sink) const;

 private:
  struct State;
  class InFlight;

  static Task<> run(ProcessBackend* self, InFlight in_flight, SwapTask task);

  std::unique_ptr<State> state_;
};

}  // namespace penstock::inline PENSTOCK_ABI
