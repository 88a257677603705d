// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of swap runners share: a back end that does what it is told.

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/failure_stage.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "support/eventually.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

/// Keeps each task until the test says how it ends; or ends it at once.
class ScriptedBackend : public SwapBackend {
 public:
  void attach(const ModelTable& models, ModelStateReport report) override {
    models_ = models;
    report_ = std::move(report);
  }

  void begin(SwapTask task) override {
    if (answers_at_once) return succeed(std::move(task));
    const std::lock_guard lock(mutex_);
    begun_.push_back(text_of(task));
    tasks_.push_back(std::move(task));
  }

  /// "b (stops a)", for each task so far.
  [[nodiscard]] std::vector<std::string> begun() const {
    const std::lock_guard lock(mutex_);
    return begun_;
  }

  /// The task that has waited for longest, once there is one.
  [[nodiscard]] SwapTask next() {
    std::optional<SwapTask> task;
    const bool came = eventually([&] {
      const std::lock_guard lock(mutex_);
      if (tasks_.empty()) return false;
      task.emplace(std::move(tasks_.front()));
      tasks_.pop_front();
      return true;
    });
    if (!came) throw std::runtime_error("no task came");
    return *std::move(task);
  }

  /// Does as a good back end would.
  void succeed(SwapTask task) {
    for (const ModelId model : task.to_stop()) report_(model, ModelState::kStopped);
    if (task.target() != kNoModel) report_(task.target(), ModelState::kReady);
    std::move(task).done(absl::OkStatus());
  }
  void succeed() { succeed(next()); }
  void fail(absl::Status status) {
    SwapTask task = next();
    for (const ModelId model : task.to_stop()) report_(model, ModelState::kStopped);
    std::move(task).done(std::move(status));
  }
  void report(const std::string& model, ModelState state) { report_(*models_.find(model), state); }

  bool answers_at_once = false;

 private:
  [[nodiscard]] std::string text_of(const SwapTask& task) const {
    std::string text = task.target() == kNoModel ? "stop" : std::string(models_.name(task.target()));
    for (const ModelId model : task.to_stop()) text += " -" + std::string(models_.name(model));
    return text;
  }

  ModelTable models_;
  ModelStateReport report_;
  mutable std::mutex mutex_;
  std::vector<std::string> begun_;
  std::deque<SwapTask> tasks_;
};

/// A runner with room for one of the models a, b and c at a time.
struct Machine {
  explicit Machine(SwapRunnerOptions options = {}) {
    if (options.scheduler.models.empty()) options.scheduler.models = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    options.scheduler.name = "gpu";
    options.backend = backend;
    options.clock = &clock;
    options.shutdown_timeout = Duration::zero();
    runner = std::make_unique<SwapRunner>(std::move(options));
  }

  /// Brings `model` up, and lets nobody use it.
  void warm_up(const std::string& model) {
    SwapTicket ticket = *runner->submit(model);
    backend->succeed();
    static_cast<void>(ticket.wait().value());
    settle();
  }

  /// Until the runner has looked at all that it was told.
  void settle() const {
    // What was said before this question has been looked at when it is answered.
    static_cast<void>(runner->unload(std::span<const ModelId>{}));
  }

  std::shared_ptr<ScriptedBackend> backend = std::make_shared<ScriptedBackend>();
  ManualClock clock;
  std::unique_ptr<SwapRunner> runner;
};

inline std::string stage_of(const absl::Status& status) { return failure_stage(status).value_or(""); }

}  // namespace penstock::testing
