// SPDX-License-Identifier: MIT
#include "penstock/exec/periodic_runner.hpp"

#include <stdexcept>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/periodic_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

const PeriodicRunnerOptions& checked(const PeriodicRunnerOptions& options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  return options;
}

}  // namespace

// --- the runner ---

PeriodicRunner::PeriodicRunner(PeriodicRunnerOptions options)
    : core_(std::make_shared<detail::PeriodicCore>(checked(options))) {}

PeriodicRunner::~PeriodicRunner() {
  if (core_->is_forked()) {
    static_cast<void>(
        new std::shared_ptr<detail::PeriodicCore>(std::move(core_)));  // its threads and locks are the parent's
    return;
  }
  core_->shutdown();
}

absl::StatusOr<PeriodicTask> PeriodicRunner::begin(PeriodicTaskOptions options, detail::PeriodicCall call) {
  if (core_->is_forked()) {
    return absl::FailedPreconditionError(fmt::format("periodic runner '{}': cannot begin '{}' in a forked child",
                                                     name(), detail::shortened(options.name, kMaxNameBytes)));
  }
  if (absl::Status status = options.validate(); !status.ok()) return status;
  if (!call) {
    return absl::InvalidArgumentError(fmt::format("periodic task '{}': there is no function to call", options.name));
  }
  auto state = core_->begin(std::move(options), std::move(call));
  if (!state.ok()) return state.status();
  return PeriodicTask(*std::move(state));
}

const std::string& PeriodicRunner::name() const noexcept { return core_->options().name; }
Clock& PeriodicRunner::clock() const noexcept { return *core_->options().clock; }

PeriodicRunnerStats PeriodicRunner::stats() const {
  return core_->is_forked() ? PeriodicRunnerStats{} : core_->stats();
}

// --- a handle ---

PeriodicTask& PeriodicTask::operator=(PeriodicTask&& other) noexcept {
  PeriodicTask taken(std::move(other));
  state_.swap(taken.state_);
  return *this;
}

PeriodicTask::~PeriodicTask() {
  if (state_ == nullptr) return;
  if (state_->core->is_forked()) {
    static_cast<void>(new std::shared_ptr<detail::PeriodicState>(std::move(state_)));
    return;
  }
  stop();
}

void PeriodicTask::stop() noexcept { static_cast<void>(stop(Context::background())); }

OpStatus PeriodicTask::stop(const Context& ctx) {
  if (state_ == nullptr || state_->core->is_forked()) return OpStatus::kOk;
  const std::shared_ptr<detail::PeriodicState> state = state_;  // what it waits for may destroy this handle
  state->core->end(*state);
  return state->core->await_end(*state, ctx);
}

void PeriodicTask::end() noexcept {
  if (state_ == nullptr || state_->core->is_forked()) return;
  const std::shared_ptr<detail::PeriodicState> state = state_;  // the function may own this handle
  state->core->end(*state);
}

void PeriodicTask::abandon() noexcept {
  if (state_ == nullptr || state_->core->is_forked()) return;
  const std::shared_ptr<detail::PeriodicState> state = std::move(state_);
  state->core->end(*state);
}

void PeriodicTask::run_now() noexcept {
  if (state_ != nullptr && !state_->core->is_forked()) state_->core->run_now(*state_);
}

absl::Status PeriodicTask::set_interval(Duration interval) {
  PeriodicTaskOptions changed = options();
  changed.interval = interval;
  return set_options(changed);
}

absl::Status PeriodicTask::set_options(const PeriodicTaskOptions& options) {
  if (state_ == nullptr || state_->core->is_forked()) return absl::OkStatus();
  if (absl::Status status = options.validate(); !status.ok()) return status;
  state_->core->set_options(*state_, options);
  return absl::OkStatus();
}

bool PeriodicTask::is_active() const noexcept {
  return state_ != nullptr && !state_->core->is_forked() && state_->core->is_active(*state_);
}

PeriodicTaskOptions PeriodicTask::options() const {
  if (state_ == nullptr || state_->core->is_forked()) return {.name = {}};
  return state_->core->options_of(*state_);
}

PeriodicTaskStats PeriodicTask::stats() const {
  if (state_ == nullptr || state_->core->is_forked()) return {};
  return state_->core->stats_of(*state_);
}

}  // namespace penstock::inline PENSTOCK_ABI
