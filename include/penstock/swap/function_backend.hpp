// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A back end of two functions that block: one starts a model, one stops it.

#include <functional>
#include <memory>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/exec/elastic_pool_options.hpp"
#include "penstock/swap/swap_backend.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
class FunctionBackendCore;
}

struct FunctionBackendOptions {
  /// Starts `model`, and returns OK once it is ready to serve. It should give up when `ctx` ends. An error is what
  /// those get who wait for the model; then it is taken to be stopped.
  std::function<absl::Status(const SwapModel& model, const Context& ctx)> start = {};
  /// Stops `model`, and returns OK once that has happened; `timeout` is how long it may take, 0: as long as is usual.
  /// Also called for a model that is not running. After an error the model is taken to run as before, and the swap that
  /// it was stopped for has failed.
  std::function<absl::Status(const SwapModel& model, Duration timeout)> stop = {};
  /// The threads that call them: one for each call that runs.
  ElasticPoolOptions threads = {.name = "swap"};

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// Calls functions that block on threads of its own.
///
///     auto backend = std::make_shared<FunctionBackend>(FunctionBackendOptions{
///         .start = [&](const SwapModel& model, const Context& ctx) { return servers.launch(model.name, ctx); },
///         .stop = [&](const SwapModel& model, Duration) { return servers.terminate(model.name); }});
///
/// All stops of a swap run at the same time, then its start; calls for one model never overlap, and run in the order in
/// which they were asked for. A start that nobody wants any more when its turn comes is left out. Exceptions count as
/// an Internal error. States are reported around each call; a model that ends by itself is told by `report`.
///
/// Threads: any member, from any thread. The functions may call the runner in any way, but not destroy it.
class FunctionBackend final : public SwapBackend {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; what a pool throws.
  explicit FunctionBackend(FunctionBackendOptions options);
  /// Blocks: while a function runs.
  ~FunctionBackend() override;
  FunctionBackend(const FunctionBackend&) = delete;
  FunctionBackend& operator=(const FunctionBackend&) = delete;

  void attach(const ModelTable& models, ModelStateReport report) override;
  void begin(SwapTask task) override;

  /// Tells the runner of what the functions do not know, such as a process that has ended by itself. Never waits;
  /// nothing before a runner has it, or after that has gone.
  void report(ModelId model, ModelState state);

 private:
  const std::unique_ptr<detail::FunctionBackendCore> core_;
};

}  // namespace penstock::inline PENSTOCK_ABI
