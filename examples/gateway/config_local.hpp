// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Models that the gateway serves itself: each by a child process, which comes when it is asked for and goes when
/// another one needs its place.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/swap/process_options.hpp"
#include "penstock/swap/swap_model.hpp"
#include "penstock/swap/swap_options.hpp"

namespace gateway {

struct LocalModelConfig {
  penstock::SwapModel model;         ///< With its name.
  penstock::ProcessOptions process;  ///< But for the port: "{port}" in its arguments and environment stands for it.
  int port = 0;                      ///< On 127.0.0.1, where the process listens; 0: one that is free.
  std::string ready_path = "/health";
  std::string group = {};       ///< Where models run together by groups; empty: none.
  std::uint64_t memory_mb = 0;  ///< Where they share a budget; 0: unsaid.
  bool is_pinned = false;       ///< It is not evicted where they share a budget.
  std::chrono::milliseconds processing_timeout{600'000};
  std::chrono::milliseconds connect_timeout{2'000};
  std::chrono::milliseconds keep_idle{60'000};  ///< For connections to it.
  std::size_t max_answer_bytes = 16 << 20;

  [[nodiscard]] const std::string& name() const noexcept { return model.name; }
};

/// What a client that has asked for a stream is told while it waits for its turn.
enum class StatusForm {
  kNone,
  kComments,  ///< Lines that begin with a colon, which clients skip.
  kEvents,    ///< "event: status".
};

struct LocalConfig {
  std::vector<LocalModelConfig> models;
  penstock::SwapSchedulerOptions scheduler;  ///< But for the models: how is decided among them.

  std::chrono::milliseconds queue_wait{600'000};  ///< For who waits for its turn.
  std::size_t attempts = 2;                       ///< As long as a process dies before it has said something.
  StatusForm status_form = StatusForm::kComments;
  std::chrono::milliseconds status_after{250};  ///< Until then the status of the response can still be chosen.
  std::chrono::milliseconds status_every{1'000};
  std::string text = {};  ///< All of it, as JSON: another one says something else.

  /// The options, with the models.
  [[nodiscard]] penstock::SwapSchedulerOptions scheduler_options() const;
  /// How many requests the scheduler may hold at a time.
  [[nodiscard]] std::size_t most_requests() const;
  /// How many of them may be served at a time.
  [[nodiscard]] std::size_t most_calls() const;
  /// All that does not fit together, a line each, beginning with the path from "$.local" on.
  [[nodiscard]] std::vector<std::string> violations() const;
};

}  // namespace gateway
