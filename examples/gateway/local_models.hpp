// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The models that the gateway serves itself, which take turns.

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "config_local.hpp"
#include "errors.hpp"
#include "local_model.hpp"

#include "penstock/core/context.hpp"
#include "penstock/exec/elastic_pool.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/swap/process_backend.hpp"
#include "penstock/swap/swap_runner.hpp"

namespace gateway {

/// Local models, and the runner that lets each request through to its model as soon as that can serve it: it has a
/// model's process started, and those stopped before that are in its way.
///
/// Threads: any member, from any thread, once made.
class LocalModels {
 public:
  class Turns;

  /// Starts no process. Throws: std::invalid_argument, std::system_error.
  explicit LocalModels(const LocalConfig& config);
  /// Stops all processes.
  ~LocalModels();
  LocalModels(const LocalModels&) = delete;
  LocalModels& operator=(const LocalModels&) = delete;

  /// Null if there is none of that name.
  [[nodiscard]] LocalModel* find(std::string_view name) const;
  [[nodiscard]] const LocalConfig& config() const noexcept { return config_; }

  /// Waits for the model's turn, asks it, and brings back the whole answer. If its process dies meanwhile, it waits for
  /// another turn, as often as is configured.
  ///
  /// Blocks: until there is an answer, a refusal, or `ctx` ends.
  absl::StatusOr<Answer> ask(LocalModel& model, const std::string& body, const penstock::Context& ctx);

  /// Asks for a turn, and does not wait for it.
  absl::StatusOr<penstock::SwapTicket> submit(const LocalModel& model);
  /// What a client is told of a request that waits: {"model", "state", "position", "why", "text", "eta_seconds"}.
  [[nodiscard]] std::string status_json(const LocalModel& model, const penstock::SwapTicket& ticket) const;

  /// Stops a model; null: all. Who waits for it is refused. Blocks: until it has stopped.
  absl::Status unload(const LocalModel* model, const penstock::Context& ctx);

  /// Refuses all who wait or come, and stops all processes: by force if they have not ended by `deadline`.
  /// Returns: whether none is left.
  bool shutdown(std::chrono::steady_clock::time_point deadline);

  /// Kills all processes, for who is about to end without anything else.
  void kill() const noexcept;

  /// What the client of a request for `model` is told that got no answer.
  [[nodiscard]] static Failure explain(const absl::Status& status, const penstock::Context& ctx,
                                       const LocalModel& model);

  /// Members of an array that has begun, as GET /v1/models lists them.
  void write_models(penstock::JsonWriter& json) const;
  /// "local": what the runner, its queue and its processes do, as a member of an object that has begun.
  void write_state(penstock::JsonWriter& json) const;
  void collect(penstock::MetricSink& sink) const;
  /// What became of the requests, a line.
  [[nodiscard]] std::string books() const;

  /// Threads for calls whose answers are streamed.
  [[nodiscard]] penstock::ElasticPool& calls() noexcept { return calls_; }

 private:
  const LocalConfig config_;
  std::map<std::string, std::unique_ptr<LocalModel>, std::less<>> models_;
  std::shared_ptr<penstock::ProcessBackend> backend_;
  std::unique_ptr<penstock::SwapRunner> runner_;
  penstock::ElasticPool calls_{{.name = "local streams"}};
};

/// How often a request may ask.
class LocalModels::Turns {
 public:
  explicit Turns(const LocalModels& models) : left_(models.config().attempts) {}

  /// Whether it may do so again after this.
  [[nodiscard]] bool again(const LocalModel::Outcome& outcome) {
    // A grant may cross the end of the process: then nothing was asked, and the runner knows of it by now.
    if (outcome.was_gone) return ++crossed_ <= kMostCrossed;
    return outcome.has_died && --left_ > 0;
  }

 private:
  static constexpr int kMostCrossed = 10;
  std::size_t left_;
  int crossed_ = 0;
};

}  // namespace gateway
