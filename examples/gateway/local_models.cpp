// SPDX-License-Identifier: MIT
#include "local_models.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <signal.h>

#include <fmt/core.h>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/retry_after.hpp"

namespace gateway {

using penstock::Context;
using penstock::Duration;
using penstock::ModelId;
using penstock::ModelState;
using penstock::SwapTicket;

namespace {

constexpr std::string_view kOwner = "local";

double seconds(Duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

LocalModels::LocalModels(const LocalConfig& config) : config_(config) {
  std::vector<penstock::ProcessOptions> processes;
  for (const LocalModelConfig& each : config.models) {
    auto model = std::make_unique<LocalModel>(each);
    processes.push_back(model->process_options());
    models_.emplace(each.name(), std::move(model));
  }
  backend_ = std::make_shared<penstock::ProcessBackend>(
      penstock::ProcessBackendOptions{.processes = std::move(processes), .supervisor = {.name = "local models"}});
  for (const auto& [name, model] : models_) model->serve_by(*backend_->find(name));
  runner_ = std::make_unique<penstock::SwapRunner>(
      penstock::SwapRunnerOptions{.scheduler = config.scheduler_options(), .backend = backend_});
}

LocalModels::~LocalModels() { shutdown(std::chrono::steady_clock::now()); }

LocalModel* LocalModels::find(std::string_view name) const {
  const auto found = models_.find(name);
  return found == models_.end() ? nullptr : found->second.get();
}

absl::StatusOr<SwapTicket> LocalModels::submit(const LocalModel& model) {
  return runner_->submit(model.name(), {.deadline = runner_->clock().now() + config_.queue_wait});
}

absl::StatusOr<Answer> LocalModels::ask(LocalModel& model, const std::string& body, const Context& ctx) {
  Turns turns(*this);
  for (;;) {
    absl::StatusOr<SwapTicket> ticket = submit(model);
    if (!ticket.ok()) return ticket.status();
    const absl::StatusOr<penstock::SwapLease> lease = ticket->wait(ctx);
    if (!lease.ok()) return lease.status();
    LocalModel::Outcome outcome = model.complete(body, ctx);
    if (!turns.again(outcome)) return std::move(outcome.answer);
  }
}

std::string LocalModels::status_json(const LocalModel& model, const SwapTicket& ticket) const {
  const auto position = ticket.position();
  const auto eta = ticket.eta();
  const penstock::SwapExplanation why = ticket.explain();
  penstock::JsonWriter json;
  json.begin_object().key("model").value(model.name()).key("state").value(position ? "queued" : "loading");
  if (position) json.key("position").value(*position);
  if (why.obstacle != penstock::SwapObstacle::kNothing) {
    json.key("why").value(to_string(why.obstacle)).key("text").value(to_text(why, runner_->models()));
  }
  if (eta) json.key("eta_seconds").value(seconds(*eta));
  json.end_object();
  return json.take();
}

absl::Status LocalModels::unload(const LocalModel* model, const Context& ctx) {
  return model == nullptr ? runner_->unload_all(Duration::zero(), ctx)
                          : runner_->unload(model->name(), Duration::zero(), ctx);
}

bool LocalModels::shutdown(std::chrono::steady_clock::time_point deadline) {
  const auto left = [&] {
    return std::max<Duration>(deadline - std::chrono::steady_clock::now(), std::chrono::milliseconds(1));
  };
  // What has been killed needs a moment to be gone.
  const auto ctx = Context::background().with_timeout(left() + std::chrono::seconds(1));
  static_cast<void>(runner_->unload_all(left(), ctx));
  const penstock::SwapShutdownReport report = runner_->shutdown(ctx);
  return report.in_time && report.running.empty();
}

void LocalModels::kill() const noexcept {
  for (const auto& [name, model] : models_) {
    // Each leads a group, in which is what it has started.
    if (const int pid = model->process().pid(); pid > 0) ::kill(-pid, SIGKILL);
  }
}

Failure LocalModels::explain(const absl::Status& status, const Context& ctx, const LocalModel& model) {
  if (const auto ended = called_off(ctx, kOwner, fmt::format("local model '{}'", model.name()))) return *ended;
  if (fault_stage(status)) return to_failure(status, kOwner);
  Failure failure{.message = std::string(status.message()), .provider = std::string(kOwner)};
  const auto classify = [&failure](int http_status, std::string type, Stage stage) {
    failure.status = http_status;
    failure.type = std::move(type);
    failure.stage = stage;
  };
  failure.retry_after = penstock::retry_after(status);
  if (penstock::failure_stage(status) != "swap") {
    classify(502, "start_failed", Stage::kSwap);
  } else if (absl::IsNotFound(status)) {
    failure = unknown_model(model.name());
  } else if (absl::IsResourceExhausted(status)) {
    classify(429, "queue_full", Stage::kAdmission);
    failure.retry_after = failure.retry_after.value_or(std::chrono::seconds(1));
  } else if (absl::IsDeadlineExceeded(status)) {
    classify(504, "deadline_exceeded", Stage::kQueue);
  } else if (absl::IsUnavailable(status)) {
    classify(503, "model_unavailable", Stage::kSwap);
    failure.retry_after = failure.retry_after.value_or(std::chrono::seconds(1));
  } else {
    classify(500, "internal", Stage::kGateway);
  }
  return failure;
}

void LocalModels::write_models(penstock::JsonWriter& json) const {
  for (const auto& [name, model] : models_) {
    json.begin_object().key("id").value(name).key("object").value("model").key("owned_by").value(kOwner);
    json.key("state").value(to_string(runner_->model_state(name))).end_object();
  }
}

void LocalModels::write_state(penstock::JsonWriter& json) const {
  const penstock::SwapRunnerStats stats = runner_->stats();
  const penstock::SwapStats& scheduler = stats.scheduler;
  json.key("local").begin_object();
  json.key("queued").value(scheduler.queued).key("joined").value(scheduler.joined);
  json.key("in_flight").value(scheduler.in_flight).key("swaps_active").value(scheduler.swaps_active);
  json.key("swaps").begin_object().key("started").value(scheduler.swaps_started);
  json.key("succeeded").value(scheduler.swaps_succeeded).key("failed").value(scheduler.swaps_failed);
  json.key("cancelled").value(scheduler.swaps_cancelled).end_object();
  json.key("requests").begin_object().key("arrived").value(scheduler.arrived).key("granted").value(scheduler.granted);
  json.key("served").value(scheduler.served).key("cancelled").value(scheduler.cancelled + stats.withdrawn);
  json.key("refused").begin_object();
  for (std::size_t reason = 0; reason < penstock::kSwapReasons; ++reason) {
    if (scheduler.refused[reason] == 0) continue;
    json.key(to_string(static_cast<penstock::SwapReason>(reason))).value(scheduler.refused[reason]);
  }
  json.end_object().end_object();
  json.key("models").begin_array();
  for (const auto& [name, model] : models_) {
    const penstock::SwapModelStats of_model = runner_->model_stats(name);
    const penstock::ProcessStats process = model->process().stats();
    json.begin_object().key("name").value(name).key("state").value(to_string(of_model.state));
    json.key("port").value(model->port()).key("pid").value(process.pid);
    json.key("queued").value(of_model.load.queued).key("joined").value(of_model.load.joined);
    json.key("in_flight").value(of_model.load.in_flight).key("granted").value(of_model.granted);
    json.key("refused").value(of_model.refused).key("starts").value(process.starts);
    json.key("start_failures").value(process.start_failures).key("crashes").value(process.crashes);
    json.key("kills").value(process.kills).key("last_exit").value(process.last_exit);
    json.key("start_seconds").value(seconds(process.took_last));
    const penstock::SlotQueueStats connections = model->connections();
    json.key("connections").begin_object().key("used").value(connections.leased).key("idle").value(connections.idle);
    json.end_object().key("log").begin_array();
    for (const penstock::ProcessLine& line : model->process().log(5)) json.value(line.text);
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

void LocalModels::collect(penstock::MetricSink& sink) const {
  runner_->collect(sink);
  calls_.collect(sink);
  backend_->collect(sink);
  for (const auto& [name, model] : models_) model->collect(sink);
}

std::string LocalModels::books() const {
  const penstock::SwapRunnerStats stats = runner_->stats();
  const penstock::SwapStats& scheduler = stats.scheduler;
  std::uint64_t refused = 0;
  for (const std::uint64_t each : scheduler.refused) refused += each;
  return fmt::format(
      "local models: {} requests: {} granted, {} refused, {} cancelled; {} swaps: {} succeeded, {} "
      "failed; {} evictions, {} unloads\n",
      scheduler.arrived, scheduler.granted, refused, scheduler.cancelled, scheduler.swaps_started,
      scheduler.swaps_succeeded, scheduler.swaps_failed, scheduler.evictions,
      scheduler.unloads + scheduler.idle_unloads);
}

}  // namespace gateway
