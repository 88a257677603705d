// SPDX-License-Identifier: MIT

// How the models that the gateway serves itself are read from JSON.

#include "config_local.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>

#include <fmt/core.h>

#include "config_reader.hpp"

namespace gateway {
namespace {

using nlohmann::json;
using penstock::Duration;
using penstock::LimitAt;

LocalModelConfig read_model(const json& object, const std::string& path, std::vector<std::string>& violations) {
  LocalModelConfig local;
  Reader reader(object, path, violations);
  if (!object.is_object()) return local;
  penstock::SwapModel& model = local.model;
  penstock::ProcessOptions& process = local.process;
  reader.text("name", model.name, true);
  process.arguments = reader.texts("command", "texts", true);
  process.environment = reader.texts("environment", "texts");
  reader.text("directory", process.working_directory);
  reader.number("port", local.port, 0, 65535);
  if (const json* const ready = reader.find("ready")) {
    Reader part(*ready, path + ".ready", violations);
    part.text("path", local.ready_path);
    if (local.ready_path.front() != '/') part.complain("path", "must begin with '/'", local.ready_path);
    part.time_ms("timeout_ms", process.start_timeout, 1, kDayMs);
    part.time_ms("interval_ms", process.probe_interval, 1, kDayMs);
    part.refuse_unknown_keys();
  }
  reader.text("group", local.group);
  reader.number("memory_mb", local.memory_mb, 1, kMostMemoryMb);
  reader.flag("pinned", local.is_pinned);
  reader.number("priority", model.priority, -1'000'000, 1'000'000);
  reader.number("concurrency_limit", model.concurrency_limit, 1, 10'000);
  reader.time_ms_or_false("idle_unload_ms", model.idle_unload, 1, 365 * kDayMs);
  reader.time_ms("start_ms", model.start_time, 0, kDayMs);
  reader.time_ms("stop_timeout_ms", process.graceful_timeout, 0, kDayMs);
  reader.time_ms("processing_timeout_ms", local.processing_timeout, 1, kDayMs);
  reader.time_ms("connect_timeout_ms", local.connect_timeout, 1, kDayMs);
  reader.time_ms("keep_idle_ms", local.keep_idle, 1, kDayMs);
  reader.number("max_answer_bytes", local.max_answer_bytes, 1, 1 << 30);
  reader.refuse_unknown_keys();
  process.name = model.name;
  return local;
}

void read_back_off(const json& object, const std::string& path, LocalConfig& local,
                   std::vector<std::string>& violations) {
  if (object.is_boolean() && !object.get<bool>()) {
    local.scheduler.back_off.first = Duration::zero();
    return;
  }
  Reader reader(object, path, violations);
  reader.time_ms("first_ms", local.scheduler.back_off.first, 1, kDayMs);
  reader.number("factor", local.scheduler.back_off.factor, 1, 10);
  reader.time_ms("longest_ms", local.scheduler.back_off.longest, 1, kDayMs);
  reader.refuse_unknown_keys();
}

void read_batching(const json& object, const std::string& path, LocalConfig& local,
                   std::vector<std::string>& violations) {
  Reader reader(object, path, violations);
  reader.flag("by_cost", local.scheduler.batching.by_cost);
  reader.time_ms("min_residency_ms", local.scheduler.batching.min_residency, 0, kDayMs);
  reader.refuse_unknown_keys();
}

void read_status(const json& object, const std::string& path, LocalConfig& local,
                 std::vector<std::string>& violations) {
  if (object.is_boolean() && !object.get<bool>()) {
    local.status_form = StatusForm::kNone;
    return;
  }
  Reader reader(object, path, violations);
  reader.choice("form", local.status_form, {{"comments", StatusForm::kComments}, {"events", StatusForm::kEvents}});
  reader.time_ms("after_ms", local.status_after, 0, kDayMs);
  reader.time_ms("every_ms", local.status_every, 1, kDayMs);
  reader.refuse_unknown_keys();
}

std::size_t limit_of(const LocalModelConfig& model) {
  constexpr std::size_t kUnsaid = 10;
  return model.model.concurrency_limit == 0 ? kUnsaid : static_cast<std::size_t>(model.model.concurrency_limit);
}

}  // namespace

LocalConfig read_local(const json& object, const std::string& path, std::vector<std::string>& violations) {
  LocalConfig local;
  penstock::SwapSchedulerOptions& scheduler = local.scheduler;
  scheduler.name = "local";
  scheduler.cancel_unwanted = true;
  scheduler.back_off.first = std::chrono::seconds(1);
  Reader reader(object, path, violations);
  if (!object.is_object()) return local;
  const json* const models = reader.find("models");
  if (models != nullptr && models->is_array() && !models->empty()) {
    for (std::size_t i = 0; i < models->size(); ++i) {
      local.models.push_back(read_model((*models)[i], fmt::format("{}.models[{}]", path, i), violations));
    }
  } else {
    reader.complain("models", "must be a list that is not empty", models == nullptr ? json() : *models);
  }
  local.scheduler.planner = read_planner(reader, local.models, violations);
  reader.choice("limit_at", scheduler.limit_at,
                {{"arrival", LimitAt::kArrival}, {"grant", LimitAt::kGrant}, {"service", LimitAt::kService}});
  scheduler.max_queued = std::max<std::size_t>(128, scheduler.limit_at == LimitAt::kArrival ? local.most_calls() : 0);
  reader.number("max_queued", scheduler.max_queued, 1, 100'000);
  reader.time_ms("queue_wait_ms", local.queue_wait, 1, kDayMs);
  reader.time_ms_or_false("max_wait_ms", scheduler.max_wait, 1, kDayMs);
  reader.flag("cancel_unwanted", scheduler.cancel_unwanted);
  reader.flag("reject_late", scheduler.reject_late);
  reader.number("attempts", local.attempts, 1, 100);
  const auto part = [&](const char* key, auto read) {
    if (const json* const found = reader.find(key)) read(*found, path + "." + key, local, violations);
  };
  part("back_off", read_back_off);
  part("batching", read_batching);
  part("status", read_status);
  reader.refuse_unknown_keys();
  local.text = object.dump(-1, ' ', false, json::error_handler_t::replace);
  return local;
}

penstock::SwapSchedulerOptions LocalConfig::scheduler_options() const {
  penstock::SwapSchedulerOptions options = scheduler;
  for (const LocalModelConfig& each : models) options.models.push_back(each.model);
  return options;
}

std::size_t LocalConfig::most_calls() const {
  std::size_t calls = 0;
  for (const LocalModelConfig& model : models) calls += limit_of(model);
  return calls;
}

std::size_t LocalConfig::most_requests() const {
  return most_calls() + (scheduler.limit_at == LimitAt::kArrival ? 0 : scheduler.max_queued);
}

std::vector<std::string> LocalConfig::violations() const {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const LocalModelConfig& model = models[i];
    if (model.name().empty() || model.process.arguments.empty()) continue;  // has been said
    const absl::Status status = model.process.validate();
    if (!status.ok()) result.push_back(fmt::format("$.local.models[{}]: {}", i, std::string(status.message())));
  }
  const penstock::SwapSchedulerOptions options = scheduler_options();
  if (const absl::Status status = options.validate(); !status.ok()) {
    result.push_back(fmt::format("$.local: {}", std::string(status.message())));
    return result;
  }
  try {
    static_cast<void>(options.planner(penstock::ModelTable(options.models)));
  } catch (const std::invalid_argument& error) {
    result.push_back(fmt::format("$.local: {}", error.what()));
  }
  return result;
}

}  // namespace gateway
