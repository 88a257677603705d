// SPDX-License-Identifier: MIT
#include "penstock/route/health_monitor.hpp"

#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/route/detail/health_state.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxMonitorNameBytes = 256;
constexpr std::size_t kMaxWatchNameBytes = 240;  // that of a task is a little longer

/// "0.25 s".
std::string text(Duration duration) { return fmt::format("{} s", detail::seconds(duration)); }

/// Keeps what the parent's threads and locks are for from being destroyed.
void leave_to_parent(std::shared_ptr<detail::HealthState> state) {
  static_cast<void>(new std::shared_ptr<detail::HealthState>(std::move(state)));
}

/// Waits for the first check of `state`: OK if it passed.
absl::Status await_first(detail::HealthState& state, const HealthCheckOptions& options, Clock& clock,
                         const Context& ctx) {
  // The check has its own time-out, but where the system has no thread there is no check.
  Context limited = Context(clock).with_timeout(options.timeout);
  std::optional<StopBridge> bridge;
  if (ctx.can_end()) limited = limited.with_stop_token(bridge.emplace(ctx).token());
  absl::Status result;
  switch (state.await(0, limited, result)) {
    case OpStatus::kOk:
      return result;
    case OpStatus::kTimedOut:
      return absl::DeadlineExceededError(fmt::format("health watch '{}': the first check has no result after {}",
                                                     state.name(), text(options.timeout)));
    case OpStatus::kCancelled:
      return ctx.cause();
    default:
      return absl::UnavailableError(fmt::format("health watch '{}': stopped", state.name()));
  }
}

}  // namespace

absl::Status HealthCheckOptions::validate() const {
  constexpr std::uint32_t kMost = 1'000'000;
  detail::OptionViolations violations;
  violations.require(static_cast<bool>(check), "check", "a function", "none");
  violations.require(interval > Duration::zero(), "interval", "positive", text(interval));
  violations.require(timeout > Duration::zero(), "timeout", "positive", text(timeout));
  violations.require(jitter >= 0 && jitter <= 1, "jitter", "in [0, 1]", jitter);  // a NaN is not
  violations.require(start <= HealthStart::kRequired, "start", "one of HealthStart", static_cast<int>(start));
  violations.require(unhealthy_after >= 1 && unhealthy_after <= kMost, "unhealthy_after", "in [1, 1000000]",
                     unhealthy_after);
  violations.require(healthy_after >= 1 && healthy_after <= kMost, "healthy_after", "in [1, 1000000]", healthy_after);
  return violations.status("health check");
}

// --- the monitor ---

HealthMonitor::HealthMonitor(PeriodicRunner& runner, std::string name) : runner_(runner) {
  if (name.empty() || name.size() > kMaxMonitorNameBytes) {
    throw std::invalid_argument(
        fmt::format("health monitor: its name must be 1 to {} bytes, got {}", kMaxMonitorNameBytes, name.size()));
  }
  registry_ = std::make_shared<detail::HealthRegistry>(std::move(name));
}

HealthMonitor::~HealthMonitor() = default;

absl::StatusOr<HealthWatch> HealthMonitor::watch(std::string name, HealthCheckOptions options, HealthListener listener,
                                                 const Context& ctx) {
  if (registry_->is_forked()) {
    return absl::FailedPreconditionError(fmt::format("health monitor '{}': cannot watch '{}' in a forked child",
                                                     this->name(), detail::shortened(name, kMaxWatchNameBytes)));
  }
  if (name.empty() || name.size() > kMaxWatchNameBytes) {
    return absl::InvalidArgumentError(
        fmt::format("health monitor '{}': the name of a watch must be 1 to {} bytes, got {}", this->name(),
                    kMaxWatchNameBytes, name.size()));
  }
  if (const absl::Status status = options.validate(); !status.ok()) {
    return absl::InvalidArgumentError(fmt::format("watch '{}': {}", name, detail::text_of(status)));
  }
  Clock& clock = runner_.clock();
  try {
    clock.start_timers();
  } catch (const std::system_error& caught) {
    return absl::ResourceExhaustedError(
        fmt::format("health watch '{}': cannot start the clock's thread: {}", name, caught.what()));
  }
  auto state = std::make_shared<detail::HealthState>(registry_, std::move(name), options, std::move(listener), clock);
  if (absl::Status status = detail::HealthState::begin(state, runner_); !status.ok()) return status;
  HealthWatch watch(std::move(state));
  if (options.start != HealthStart::kChecked && options.start != HealthStart::kRequired) return watch;
  const absl::Status first = await_first(*watch.state_, options, clock, ctx);
  if (first.ok() || options.start == HealthStart::kChecked) return watch;
  watch.abandon();
  return first;
}

const std::string& HealthMonitor::name() const noexcept { return registry_->name(); }

std::vector<HealthStats> HealthMonitor::watches() const {
  std::vector<HealthStats> all;
  if (registry_->is_forked()) return all;
  for (const auto& state : registry_->watches()) all.push_back(state->stats());
  return all;
}

HealthMonitorStats HealthMonitor::stats() const {
  HealthMonitorStats stats;
  for (const HealthStats& watch : watches()) {
    ++stats.watches;
    ++stats.by_health[static_cast<std::size_t>(watch.health)];
    stats.checking += watch.is_checking ? 1 : 0;
  }
  return stats;
}

// --- a watch ---

HealthWatch::HealthWatch(std::shared_ptr<detail::HealthState> state) noexcept
    : state_(std::move(state)), health_(&state_->health) {}

HealthWatch::HealthWatch(HealthWatch&& other) noexcept
    : state_(std::move(other.state_)), health_(std::exchange(other.health_, nullptr)) {}

HealthWatch& HealthWatch::operator=(HealthWatch&& other) noexcept {
  HealthWatch taken(std::move(other));
  state_.swap(taken.state_);
  std::swap(health_, taken.health_);
  return *this;
}

HealthWatch::~HealthWatch() {
  if (state_ == nullptr) return;
  if (state_->is_forked()) {
    leave_to_parent(std::move(state_));
  } else {
    stop();
  }
}

void HealthWatch::check_now() noexcept {
  if (state_ != nullptr && !state_->is_forked()) state_->check_now();
}

absl::Status HealthWatch::check_now(const Context& ctx) {
  if (state_ == nullptr || state_->is_forked()) return absl::UnavailableError("health watch: there is none");
  const std::shared_ptr<detail::HealthState> state = state_;
  const std::uint64_t number = state->begun();
  state->check_now();
  absl::Status result;
  const OpStatus status = state->await(number, ctx, result);
  if (status == OpStatus::kOk) return result;
  if (status == OpStatus::kClosed) {
    return absl::UnavailableError(fmt::format("health watch '{}': stopped", state->name()));
  }
  return to_status(status, fmt::format("health watch '{}'", state->name()));
}

absl::Status HealthWatch::set_options(HealthCheckOptions options) {
  if (state_ == nullptr || state_->is_forked()) return absl::OkStatus();
  if (const absl::Status status = options.validate(); !status.ok()) {
    return absl::InvalidArgumentError(fmt::format("watch '{}': {}", state_->name(), detail::text_of(status)));
  }
  state_->set_options(std::move(options));
  return absl::OkStatus();
}

HealthCheckOptions HealthWatch::options() const {
  return state_ == nullptr || state_->is_forked() ? HealthCheckOptions{} : state_->options();
}

void HealthWatch::stop() noexcept { static_cast<void>(stop(Context::background())); }

OpStatus HealthWatch::stop(const Context& ctx) {
  if (state_ == nullptr || state_->is_forked()) return OpStatus::kOk;
  const std::shared_ptr<detail::HealthState> state = state_;  // what it waits for may destroy this watch
  state->end();
  return state->await_end(ctx);
}

void HealthWatch::abandon() noexcept {
  if (state_ == nullptr || state_->is_forked()) return;
  health_ = nullptr;
  const std::shared_ptr<detail::HealthState> state = std::move(state_);
  state->end();
}

std::string HealthWatch::name() const { return state_ == nullptr ? std::string() : state_->name(); }

HealthStats HealthWatch::stats() const {
  return state_ == nullptr || state_->is_forked() ? HealthStats{} : state_->stats();
}

}  // namespace penstock::inline PENSTOCK_ABI
