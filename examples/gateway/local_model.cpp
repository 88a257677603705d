// SPDX-License-Identifier: MIT
#include "local_model.hpp"

#include <chrono>
#include <utility>

#include <fmt/core.h>

#include "errors.hpp"

namespace gateway {
namespace {

using absl::StatusCode;
using penstock::ModelState;

/// How long the end of a process may take to be noticed, once it has broken off.
constexpr std::chrono::seconds kNotice{1};

UpstreamOptions upstream_options(const LocalModelConfig& config, int port) {
  return {.name = config.name(),
          .kind = "local model",
          .url = {.is_secure = false, .host = "127.0.0.1", .port = port, .path = ""},
          .connect_timeout = config.connect_timeout,
          .max_answer_bytes = config.max_answer_bytes,
          .keep_idle = config.keep_idle};
}

void insert_port(std::string& text, int port) {
  constexpr std::string_view kPlace = "{port}";
  for (std::size_t at = text.find(kPlace); at != text.npos; at = text.find(kPlace, at)) {
    text.replace(at, kPlace.size(), std::to_string(port));
  }
}

/// Whether the other side has gone, as far as can be seen from here.
bool broke_off(const absl::Status& status) {
  const auto stage = fault_stage(status);
  return (stage == Stage::kConnect && absl::IsUnavailable(status)) ||
         (stage == Stage::kUpstream && absl::IsDataLoss(status));
}

}  // namespace

LocalModel::LocalModel(const LocalModelConfig& config)
    : config_(config), port_(config.port), upstream_(upstream_options(config, port_.number())) {}

penstock::ProcessOptions LocalModel::process_options() {
  penstock::ProcessOptions options = config_.process;
  for (std::string& argument : options.arguments) insert_port(argument, port());
  for (std::string& variable : options.environment) insert_port(variable, port());
  options.ready = penstock::ReadyOnHttp{.port = static_cast<std::uint16_t>(port()), .path = config_.ready_path};
  options.on_transition = [this](const penstock::ProcessTransition&) {
    const std::lock_guard lock(mutex_);
    changed_.notify_all();
  };
  return options;
}

bool LocalModel::has_crashed(std::uint64_t crashes_before, const penstock::Context& ctx) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kNotice, [&] {
    return ctx.is_done() || process_->stats().crashes != crashes_before || process_->state() != ModelState::kReady;
  });
  return process_->stats().crashes != crashes_before;
}

LocalModel::Outcome LocalModel::complete(const std::string& body, const penstock::Context& ctx,
                                         const Upstream::OnPiece& on_piece) {
  const penstock::ProcessStats before = process_->stats();
  if (before.state != ModelState::kReady) {
    return {
        .answer = upstream_fault(StatusCode::kUnavailable, Stage::kConnect, "process_died",
                                 fmt::format("local model '{}': its process has ended ({})", name(), before.last_exit)),
        .was_gone = true};
  }
  Outcome outcome{.answer = upstream_.complete(body, "", ctx.with_timeout(config_.processing_timeout), on_piece)};
  if (outcome.answer.ok()) {
    outcome.answer->provider = "local";
    return outcome;
  }
  if (ctx.is_done() || !broke_off(outcome.answer.status())) return outcome;
  outcome.has_died = has_crashed(before.crashes, ctx);
  const penstock::ProcessStats after = process_->stats();
  if (outcome.has_died) {
    outcome.answer =
        upstream_fault(StatusCode::kUnavailable, Stage::kUpstream, "process_died",
                       fmt::format("local model '{}': its process has ended before its answer was complete ({})",
                                   name(), after.last_exit));
  } else if (after.state != ModelState::kReady || after.starts != before.starts) {
    outcome.answer =
        upstream_fault(StatusCode::kFailedPrecondition, Stage::kUpstream, "unloaded",
                       fmt::format("local model '{}': it was unloaded before its answer was complete", name()));
  }
  return outcome;
}

}  // namespace gateway
