// SPDX-License-Identifier: MIT
#include "penstock/swap/process_backend.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "absl/base/thread_annotations.h"

#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using ProcessPtr = std::unique_ptr<Process>;

std::string_view name_of(const ProcessPtr& process) noexcept { return process->name(); }

ProcessBackendOptions checked(ProcessBackendOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  return options;
}

Task<absl::Status> stop_of(Process* process, Duration graceful_timeout) {
  if (graceful_timeout == Duration::zero()) co_return co_await process->async_stop();
  co_return co_await process->async_stop(graceful_timeout);
}

}  // namespace

absl::Status ProcessBackendOptions::validate() const {
  std::string text;
  const auto add = [&](std::string_view violation) {
    if (!text.empty()) text += "; ";
    text += violation;
  };
  std::vector<std::string_view> names;
  for (const ProcessOptions& process : processes) {
    if (const absl::Status status = process.validate(); !status.ok()) add(detail::text_of(status));
    names.push_back(process.name);
  }
  if (const absl::Status status = supervisor.validate(); !status.ok()) add(detail::text_of(status));
  std::sort(names.begin(), names.end());
  for (auto at = names.begin(); (at = std::adjacent_find(at, names.end())) != names.end(); ++at) {
    add(fmt::format("options.processes must have one name each, got '{}' twice", detail::shortened(*at, 256)));
  }
  return text.empty() ? absl::OkStatus() : absl::InvalidArgumentError("process backend: " + text);
}

struct ProcessBackend::State {
  explicit State(ProcessBackendOptions options) : supervisor(std::move(options.supervisor)) {
    for (ProcessOptions& one : options.processes) {
      processes.push_back(std::make_unique<Process>(supervisor, std::move(one)));
    }
    std::sort(processes.begin(), processes.end(),
              [](const ProcessPtr& a, const ProcessPtr& b) { return a->name() < b->name(); });
  }

  [[nodiscard]] bool is_forked() const noexcept { return generation != detail::fork_generation(); }

  ProcessSupervisor supervisor;
  std::vector<ProcessPtr> processes;  // in the order of their names, which is that of the models' ids
  const std::uint32_t generation = detail::fork_generation();  // of forks

  Mutex mutex;  // leaf: nothing else is locked while it is held
  CondVar idle;
  std::size_t in_flight ABSL_GUARDED_BY(mutex) = 0;
  bool is_attached ABSL_GUARDED_BY(mutex) = false;
};

/// Keeps the back end while a task of it is carried out.
class ProcessBackend::InFlight {
 public:
  explicit InFlight(State& state) : state_(&state) {
    const MutexLock lock(state.mutex);
    ++state.in_flight;
  }
  InFlight(InFlight&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  InFlight& operator=(InFlight&&) = delete;
  ~InFlight() {
    if (state_ == nullptr) return;
    const MutexLock lock(state_->mutex);
    // Under the lock: once it is let go of, who waits may destroy what is notified.
    if (--state_->in_flight == 0) state_->idle.notify_all();
  }

 private:
  State* state_;
};

ProcessBackend::ProcessBackend(ProcessBackendOptions options)
    : state_(std::make_unique<State>(checked(std::move(options)))) {}

ProcessBackend::~ProcessBackend() {
  if (state_->is_forked()) {
    // Who waits, and whose lock it is, is the parent's.
    static_cast<void>(state_.release());
    return;
  }
  for (const ProcessPtr& process : state_->processes) process->begin_shutdown();
  {
    const MutexLock lock(state_->mutex);
    while (state_->in_flight != 0) static_cast<void>(state_->idle.wait(state_->mutex));
  }
}

void ProcessBackend::attach(const ModelTable& models, ModelStateReport report) {
  if (state_->is_forked()) throw std::invalid_argument("process backend: in a forked child");
  std::string text;
  for (const SwapModel& model : models.all()) {
    if (find(model.name) == nullptr) text += fmt::format("; model '{}' has no process", model.name);
  }
  for (const ProcessPtr& process : state_->processes) {
    if (!models.find(process->name()).has_value()) {
      text += fmt::format("; process '{}' has no model", process->name());
    }
  }
  if (!text.empty()) throw std::invalid_argument("process backend: " + text.substr(2));
  for (const ProcessPtr& process : state_->processes) {
    const ModelId id = *models.find(process->name());
    process->report_to([report, id](ModelState state) { report(id, state); });
  }
  const MutexLock lock(state_->mutex);
  state_->is_attached = true;
}

void ProcessBackend::begin(SwapTask task) {
  static_cast<void>(spawn(Executor::inline_executor(), run(this, InFlight(*state_), std::move(task))));
}

Task<> ProcessBackend::run(ProcessBackend* self, InFlight /*keeps_it*/, SwapTask task) {
  absl::Status status;
  try {
    const std::span<const ModelId> stops = task.to_stop();
    status = co_await self->carry_out(std::vector<ModelId>(stops.begin(), stops.end()), task.target(),
                                      task.stop_timeout(), task.context());
  } catch (const std::exception& caught) {
    status = absl::Status(absl::StatusCode::kResourceExhausted, caught.what());
  }
  std::move(task).done(std::move(status));
}

Task<absl::Status> ProcessBackend::carry_out(std::vector<ModelId> to_stop, ModelId target, Duration graceful_timeout,
                                             Context ctx) {
  if (state_->is_forked()) co_return absl::FailedPreconditionError("process backend: in a forked child");
  const InFlight keeps_it(*state_);
  std::vector<JoinHandle<absl::Status>> stops;
  stops.reserve(to_stop.size());
  for (const ModelId id : to_stop) {
    Process* const process = find(id);
    if (process == nullptr) continue;  // what does not exist does not run
    stops.push_back(spawn(Executor::inline_executor(), stop_of(process, graceful_timeout)));
  }
  absl::Status stopped;
  for (JoinHandle<absl::Status>& stop : stops) {
    absl::Status status = co_await stop;
    if (stopped.ok()) stopped = std::move(status);
  }
  if (!stopped.ok() || target == kNoModel) co_return stopped;

  Process* const process = find(target);
  if (process == nullptr) {
    co_return absl::NotFoundError(
        fmt::format("process backend: there is no model {}", static_cast<std::uint32_t>(target)));
  }
  // Looks at the context before it starts anything.
  absl::Status ready = co_await process->async_ensure_ready(ctx);
  if (ready.ok() || !ctx.is_done()) co_return ready;
  // No swap wants it any more. If it has become ready meanwhile it may as well stay, and if somebody else waits for it,
  // it is his.
  static_cast<void>(co_await process->async_abort_start());
  if (process->state() == ModelState::kReady) co_return absl::OkStatus();
  co_return ready;
}

Process* ProcessBackend::find(std::string_view name) const noexcept {
  const auto& all = state_->processes;
  const auto at = std::lower_bound(all.begin(), all.end(), name,
                                   [](const ProcessPtr& process, std::string_view n) { return name_of(process) < n; });
  return at != all.end() && name_of(*at) == name ? at->get() : nullptr;
}

Process* ProcessBackend::find(ModelId model) const noexcept {
  const auto place = static_cast<std::size_t>(model);
  if (state_->is_forked()) return nullptr;
  const MutexLock lock(state_->mutex);
  return state_->is_attached && place < state_->processes.size() ? state_->processes[place].get() : nullptr;
}

void ProcessBackend::collect(MetricSink& sink) const {
  for (const ProcessPtr& process : state_->processes) process->collect(sink);
}

}  // namespace penstock::inline PENSTOCK_ABI
