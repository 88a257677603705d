// SPDX-License-Identifier: MIT

// A task is a number of calls: its stops, all at once, then its start. The calls of a model stand in a line of its own;
// the first one of a line has a thread, which goes on with the next.
//
// Locks: mutex_, a leaf. The functions, reports and answers are called without it.

#include "penstock/swap/function_backend.hpp"

#include <deque>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/elastic_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

absl::Status FunctionBackendOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(static_cast<bool>(start), "start", "a function", "none");
  violations.require(static_cast<bool>(stop), "stop", "a function", "none");
  const absl::Status bad = threads.validate();
  if (bad.ok()) return violations.status("function backend");
  return absl::InvalidArgumentError(fmt::format("function backend: {}{}threads: {}", violations.text(),
                                                violations.empty() ? "" : "; ", detail::text_of(bad)));
}

namespace detail {
namespace {

FunctionBackendOptions checked(FunctionBackendOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(text_of(bad)));
  return options;
}

/// One task that is under way.
struct Errand {
  explicit Errand(SwapTask given) noexcept : task(std::move(given)), left(task.to_stop().size()) {}

  SwapTask task;
  // Guarded by the back end's mutex.
  std::size_t left;  // stops that have not ended
  absl::Status first_error;
};
using ErrandPtr = std::shared_ptr<Errand>;

/// One call of a function.
struct Call {
  ErrandPtr errand;
  bool starts = false;
};

/// The calls for one model.
struct Line {
  std::deque<Call> calls;
  bool is_served = false;  // a thread runs them
  ModelState state = ModelState::kStopped;
};

}  // namespace

class FunctionBackendCore {
 public:
  explicit FunctionBackendCore(FunctionBackendOptions options)
      : options_(checked(std::move(options))), threads_(options_.threads) {}

  void attach(const ModelTable& models, ModelStateReport report) {
    const MutexLock lock(mutex_);
    models_ = models;
    lines_.resize(models_.size());
    report_ = std::make_shared<const ModelStateReport>(std::move(report));
  }

  void report(ModelId model, ModelState state) {
    std::shared_ptr<const ModelStateReport> report;
    {
      const MutexLock lock(mutex_);
      if (!models_.contains(model)) return;
      line_of(model).state = state;
      report = report_;
    }
    (*report)(model, state);
  }

  void begin(SwapTask task) {
    const auto errand = std::make_shared<Errand>(std::move(task));
    const std::vector<ModelId> to_stop(errand->task.to_stop().begin(), errand->task.to_stop().end());
    if (to_stop.empty()) return start_target(errand);
    for (const ModelId model : to_stop) enter(model, {errand, false});
  }

 private:
  [[nodiscard]] Line& line_of(ModelId model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return lines_[static_cast<std::size_t>(model)];
  }

  /// Has `call` run once those before it for the same model have.
  void enter(ModelId model, Call call) {
    {
      const MutexLock lock(mutex_);
      Line& line = line_of(model);
      line.calls.push_back(std::move(call));
      if (std::exchange(line.is_served, true)) return;
    }
    OpStatus status = OpStatus::kFull;
    try {
      status = threads_.execute([this, model] { serve(model); });
    } catch (const std::bad_alloc&) {  // as if there were no thread
    }
    if (status == OpStatus::kOk) return;
    // The line was empty, and nobody else serves it: what is in it has come since, and goes with it. One after the
    // other, as that needs no memory, of which there may be none.
    while (const std::optional<Call> failed = next_of(model)) end(*failed, no_thread_error());
  }

  /// The next call for `model`; if none is left, its line is not served any more.
  std::optional<Call> next_of(ModelId model) noexcept {
    const MutexLock lock(mutex_);
    Line& line = line_of(model);
    if (line.calls.empty()) {
      line.is_served = false;
      return std::nullopt;
    }
    std::optional<Call> call = std::move(line.calls.front());
    line.calls.pop_front();
    return call;
  }

  void serve(ModelId model) noexcept {
    while (const std::optional<Call> call = next_of(model)) {
      end(*call, call->starts ? run_start(model, *call->errand) : run_stop(model, *call->errand));
    }
  }

  static absl::Status no_thread_error() noexcept {
    try {
      return absl::ResourceExhaustedError("function backend: no thread for a call");
    } catch (const std::bad_alloc&) {
      return absl::Status(absl::StatusCode::kResourceExhausted, {});
    }
  }

  absl::Status run_start(ModelId model, const Errand& errand) noexcept {
    if (errand.task.context().is_done()) {
      return contained(model, "start", [&] {
        const absl::Status cause = errand.task.context().cause();
        return absl::Status(cause.code(), cause.message());
      });
    }
    report(model, ModelState::kStarting);
    absl::Status status =
        contained(model, "start", [&] { return options_.start(models_[model], errand.task.context()); });
    report(model, status.ok() ? ModelState::kReady : ModelState::kStopped);
    return status;
  }

  absl::Status run_stop(ModelId model, const Errand& errand) noexcept {
    ModelState before{};
    {
      const MutexLock lock(mutex_);
      before = line_of(model).state;
    }
    report(model, ModelState::kStopping);
    absl::Status status =
        contained(model, "stop", [&] { return options_.stop(models_[model], errand.task.stop_timeout()); });
    report(model, status.ok() ? ModelState::kStopped : before);
    return status;
  }

  template <class Function>
  absl::Status contained(ModelId model, const char* what, Function function) noexcept {
    try {
      try {
        return function();
      } catch (const std::exception& thrown) {
        return absl::InternalError(fmt::format("{} of model '{}' threw: {}", what, models_.name(model), thrown.what()));
      }
    } catch (...) {  // what is no exception, or no memory for the text
      return absl::Status(absl::StatusCode::kInternal, {});
    }
  }

  void end(const Call& call, absl::Status status) noexcept {
    Errand& errand = *call.errand;
    if (call.starts) return std::move(errand.task).done(std::move(status));
    absl::Status stopped;
    {
      const MutexLock lock(mutex_);
      if (errand.first_error.ok()) errand.first_error = std::move(status);
      if (--errand.left != 0) return;
      stopped = std::move(errand.first_error);
    }
    if (!stopped.ok() || errand.task.target() == kNoModel) return std::move(errand.task).done(std::move(stopped));
    try {
      start_target(call.errand);
    } catch (const std::bad_alloc&) {
      std::move(errand.task).done(absl::Status(absl::StatusCode::kResourceExhausted, {}));
    }
  }

  void start_target(const ErrandPtr& errand) { enter(errand->task.target(), {errand, true}); }

  const FunctionBackendOptions options_;
  mutable Mutex mutex_;
  ModelTable models_;  // never changes once it is attached, and nothing is called before
  std::vector<Line> lines_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ModelStateReport> report_ ABSL_GUARDED_BY(mutex_);
  ElasticPool threads_;  // the first to go: its tasks use all of the above
};

}  // namespace detail

FunctionBackend::FunctionBackend(FunctionBackendOptions options)
    : core_(std::make_unique<detail::FunctionBackendCore>(std::move(options))) {}
FunctionBackend::~FunctionBackend() = default;

void FunctionBackend::attach(const ModelTable& models, ModelStateReport report) {
  core_->attach(models, std::move(report));
}
void FunctionBackend::begin(SwapTask task) { core_->begin(std::move(task)); }
void FunctionBackend::report(ModelId model, ModelState state) { core_->report(model, state); }

}  // namespace penstock::inline PENSTOCK_ABI
