// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One model that the gateway serves by a child process.

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"

#include "config_local.hpp"
#include "reserved_port.hpp"
#include "upstream.hpp"

#include "penstock/core/context.hpp"
#include "penstock/swap/process.hpp"
#include "penstock/swap/process_options.hpp"
#include "penstock/swap/swap_model.hpp"

namespace gateway {

/// Asks a model's process, and notices when that ends in the middle of an answer.
///
/// Threads: any member, from any thread, once `serve_by` was called.
class LocalModel {
 public:
  struct Outcome {
    absl::StatusOr<Answer> answer;
    /// The process that was to answer has ended by itself: another one may do better.
    bool has_died = false;
    /// It had ended before it was asked.
    bool was_gone = false;
  };

  /// Throws: std::system_error if there is no port for it.
  explicit LocalModel(const LocalModelConfig& config);
  LocalModel(const LocalModel&) = delete;
  LocalModel& operator=(const LocalModel&) = delete;

  [[nodiscard]] const LocalModelConfig& config() const noexcept { return config_; }
  [[nodiscard]] const std::string& name() const noexcept { return config_.name(); }
  [[nodiscard]] int port() const noexcept { return port_.number(); }
  [[nodiscard]] const penstock::Process& process() const noexcept { return *process_; }
  [[nodiscard]] penstock::SlotQueueStats connections() const { return upstream_.connections(); }
  void collect(penstock::MetricSink& sink) const { upstream_.collect(sink); }

  /// The process as it is to be started, which tells this model of its transitions.
  [[nodiscard]] penstock::ProcessOptions process_options();
  /// Which process that has become.
  void serve_by(penstock::Process& process) noexcept { process_ = &process; }

  /// One call, for who holds a lease. Blocks: until the answer is complete or `ctx` ends; if the process breaks off,
  /// also until it is known whether it has ended.
  Outcome complete(const std::string& body, const penstock::Context& ctx, const Upstream::OnPiece& on_piece = {});

 private:
  /// Waits until it is known what has become of the process that broke off: whether it has ended by itself.
  bool has_crashed(std::uint64_t crashes_before, const penstock::Context& ctx);

  const LocalModelConfig config_;
  const ReservedPort port_;
  Upstream upstream_;
  penstock::Process* process_ = nullptr;

  std::mutex mutex_;
  std::condition_variable changed_;  // the process does something else
};

}  // namespace gateway
