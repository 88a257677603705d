// SPDX-License-Identifier: MIT
#include "penstock/swap/process.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/metrics/sink.hpp"
#include "process_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using Kind = detail::ProcessWish::Kind;

ProcessOptions checked(ProcessOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  return options;
}

/// Any duration is one here: what is below zero is zero, and the smallest stands for none.
detail::ProcessWish stop_within(Duration graceful_timeout) noexcept {
  return {.kind = Kind::kStopped, .graceful_timeout = std::max(graceful_timeout, Duration::zero())};
}

absl::Status ask(detail::ProcessCore& core, const detail::ProcessWish& wish) {
  detail::ProcessWait wait;
  core.enter(wish, Context::background(), wait, nullptr);
  return std::move(wait.result);
}

}  // namespace

Process::Process(ProcessSupervisor& supervisor, ProcessOptions options)
    : core_(std::make_shared<detail::ProcessCore>(supervisor.core_, checked(std::move(options)))) {
  if (!core_->is_forked()) core_->begin();
}

Process::~Process() {
  if (core_->is_forked()) {
    // The child, the threads and the locks are the parent's.
    static_cast<void>(new std::shared_ptr<detail::ProcessCore>(std::move(core_)));
    return;
  }
  core_->destroy();
}

absl::Status Process::ensure_ready(const Context& ctx) { return detail::await(*core_, {.kind = Kind::kReady}, ctx); }
detail::ProcessAwaiter Process::async_ensure_ready(Context ctx) {
  return {core_, {.kind = Kind::kReady}, std::move(ctx)};
}
absl::Status Process::try_ensure_ready() { return ask(*core_, {.kind = Kind::kReady}); }

absl::Status Process::stop(const Context& ctx) { return detail::await(*core_, {.kind = Kind::kStopped}, ctx); }
absl::Status Process::stop(Duration graceful_timeout, const Context& ctx) {
  return detail::await(*core_, stop_within(graceful_timeout), ctx);
}
detail::ProcessAwaiter Process::async_stop(Context ctx) { return {core_, {.kind = Kind::kStopped}, std::move(ctx)}; }
detail::ProcessAwaiter Process::async_stop(Duration graceful_timeout, Context ctx) {
  return {core_, stop_within(graceful_timeout), std::move(ctx)};
}
absl::Status Process::try_stop() { return ask(*core_, {.kind = Kind::kStopped}); }
absl::Status Process::try_stop(Duration graceful_timeout) { return ask(*core_, stop_within(graceful_timeout)); }

absl::Status Process::shutdown(const Context& ctx) { return detail::await(*core_, {.kind = Kind::kShutdown}, ctx); }
detail::ProcessAwaiter Process::async_shutdown(Context ctx) {
  return {core_, {.kind = Kind::kShutdown}, std::move(ctx)};
}
absl::Status Process::try_shutdown() { return ask(*core_, {.kind = Kind::kShutdown}); }

detail::ProcessAwaiter Process::async_abort_start(Context ctx) {
  return {core_, {.kind = Kind::kNotStarting}, std::move(ctx)};
}

ModelState Process::state() const { return core_->is_forked() ? ModelState::kUnknown : core_->state(); }
int Process::pid() const { return core_->is_forked() ? 0 : core_->pid(); }
std::vector<ProcessLine> Process::log(std::size_t most) const {
  return core_->is_forked() ? std::vector<ProcessLine>() : core_->log(most);
}
const std::string& Process::name() const noexcept { return core_->options().name; }
const ProcessOptions& Process::options() const noexcept { return core_->options(); }
ProcessStats Process::stats() const { return core_->is_forked() ? ProcessStats{} : core_->stats(); }
void Process::collect(MetricSink& sink) const { detail::collect_process(sink, name(), stats()); }
void Process::report_to(std::function<void(ModelState)> report) { core_->report_to(std::move(report)); }
void Process::begin_shutdown() noexcept { core_->begin_shutdown(false); }

void detail::collect_process(MetricSink& sink, const std::string& name, const ProcessStats& stats) {
  struct Total {
    std::string_view name;
    std::string_view help;
    std::uint64_t value;
  };
  const std::array totals = {
      Total{"penstock_process_starts_total", "Starts begun", stats.starts},
      Total{"penstock_process_ready_total", "Starts that came to be ready", stats.ready},
      Total{"penstock_process_start_failures_total", "Starts that failed", stats.start_failures},
      Total{"penstock_process_aborted_total", "Starts that were stopped", stats.aborted},
      Total{"penstock_process_crashes_total", "Children that ended by themselves while ready", stats.crashes},
      Total{"penstock_process_stops_total", "Stops of a child", stats.stops},
      Total{"penstock_process_kills_total", "Stops that had to kill", stats.kills},
      Total{"penstock_process_log_bytes_total", "Bytes written by children", stats.log_bytes},
      Total{"penstock_process_log_lines_total", "Lines written by children", stats.log_lines},
      Total{"penstock_process_missed_lines_total", "Lines a listener was too slow for", stats.missed_lines},
      Total{"penstock_process_missed_transitions_total", "Transitions a listener was too slow for",
            stats.missed_transitions},
      Total{"penstock_process_caught_exceptions_total", "Exceptions of checks and listeners", stats.caught_exceptions},
  };
  for (const Total& total : totals) sink.counter(total.name, total.help, {{"process", name}}, total.value);
  constexpr std::array kStates = {ModelState::kStarting, ModelState::kReady, ModelState::kStopping,
                                  ModelState::kStopped, ModelState::kShutdown};
  for (const ModelState state : kStates) {
    sink.gauge("penstock_process_state", "1 for the state it is in", {{"process", name}, {"state", to_string(state)}},
               stats.state == state ? 1 : 0);
  }
  sink.gauge("penstock_process_in_state_seconds", "Time since its state has changed", {{"process", name}},
             detail::seconds(stats.in_state));
  sink.gauge("penstock_process_start_duration_seconds", "Of the last start that came to be ready", {{"process", name}},
             detail::seconds(stats.took_last));
}

}  // namespace penstock::inline PENSTOCK_ABI
