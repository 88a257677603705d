// SPDX-License-Identifier: MIT

// The metrics of a swap runner.

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/metrics/sink.hpp"
#include "swap_runner_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// The samples of one runner.
class Samples {
 public:
  Samples(MetricSink& sink, const std::string& runner) : sink_(sink), runner_{"runner", runner} {}

  void gauge(std::string_view name, std::string_view help, std::size_t value) {
    sink_.gauge(name, help, {runner_}, static_cast<double>(value));
  }
  void count(std::string_view name, std::string_view help, std::uint64_t value) {
    sink_.counter(name, help, {runner_}, value);
  }
  void count(std::string_view name, std::string_view help, Label label, std::uint64_t value) {
    sink_.counter(name, help, {runner_, label}, value);
  }

  void scheduler(const SwapStats& stats);
  void runner(const SwapRunnerStats& stats);
  void model(const std::string& name, const SwapModelStats& stats);

 private:
  MetricSink& sink_;
  const Label runner_;
};

void Samples::scheduler(const SwapStats& stats) {
  gauge("penstock_swap_queued", "requests that wait until nothing is in their way", stats.queued);
  gauge("penstock_swap_joined", "requests that wait for a swap that is under way", stats.joined);
  gauge("penstock_swap_in_flight", "requests that are served", stats.in_flight);
  gauge("penstock_swap_swaps", "swaps that are under way", stats.swaps_active);
  gauge("penstock_swap_stops", "stops that are under way", stats.stops_active);
  gauge("penstock_swap_queued_high_water", "the most that were queued at a time", stats.queued_high_water);
  count("penstock_swap_requests_total", "requests", stats.arrived);
  count("penstock_swap_granted_total", "requests that were let through", stats.granted);
  count("penstock_swap_granted_at_once_total", "of these, without waiting", stats.granted_at_once);
  count("penstock_swap_served_total", "requests that have been served", stats.served);
  count("penstock_swap_grants_refused_total", "grants that nobody took", stats.grants_refused);
  count("penstock_swap_cancelled_total", "requests that were taken back", stats.cancelled);
  for (std::size_t at = 0; at != kSwapReasons; ++at) {
    if (stats.refused[at] == 0) continue;
    count("penstock_swap_refused_total", "requests that were refused, by reason",
          {"reason", to_string(static_cast<SwapReason>(at))}, stats.refused[at]);
  }
  count("penstock_swap_started_total", "swaps", stats.swaps_started);
  count("penstock_swap_called_off_total", "swaps that were called off", stats.swaps_cancelled);
  count("penstock_swap_evictions_total", "models that swaps were to stop", stats.evictions);
  count("penstock_swap_unloads_total", "models that were stopped otherwise, by why", {"reason", "asked"},
        stats.unloads);
  count("penstock_swap_unloads_total", "models that were stopped otherwise, by why", {"reason", "idle"},
        stats.idle_unloads);
  count("penstock_swap_ignored_total", "reports for what had ended or never was", stats.ignored);
  count("penstock_swap_planner_failures_total", "times that the planner threw", stats.planner_failures);
  count("penstock_swap_planner_misfits_total", "models that the planner named without sense", stats.planner_misfits);
}

void Samples::runner(const SwapRunnerStats& stats) {
  gauge("penstock_swap_tasks", "tasks of the back end that are not settled", stats.tasks);
  gauge("penstock_swap_tasks_overdue", "of these, whose context has ended", stats.tasks_overdue);
  count("penstock_swap_tasks_total", "tasks of the back end that have ended, by result", {"result", "ok"},
        stats.tasks_succeeded);
  count("penstock_swap_tasks_total", "tasks of the back end that have ended, by result", {"result", "failed"},
        stats.tasks_failed);
  count("penstock_swap_tasks_dropped_total", "tasks that the back end dropped without a word", stats.tasks_dropped);
  count("penstock_swap_late_answers_total", "answers to tasks that had been settled", stats.late_answers);
  count("penstock_swap_backend_exceptions_total", "exceptions of the back end", stats.exceptions);
  count("penstock_swap_withdrawn_total", "requests taken back before the scheduler knew", stats.withdrawn);
  count("penstock_swap_unknown_models_total", "requests for what is no model", stats.unknown_models);
  count("penstock_swap_shortages_total", "times that memory was out on the runner's thread", stats.shortages);
}

void Samples::model(const std::string& name, const SwapModelStats& stats) {
  const Label model{"model", name};
  sink_.gauge("penstock_swap_queue_depth", "requests for a model that wait", {runner_, model},
              static_cast<double>(stats.load.queued + stats.load.joined));
  sink_.gauge("penstock_swap_model_in_flight", "requests that a model serves", {runner_, model},
              static_cast<double>(stats.load.in_flight));
  sink_.gauge("penstock_swap_model_running", "1 while the model's process runs", {runner_, model},
              is_running(stats.state) ? 1 : 0);
  sink_.gauge("penstock_swap_model_swap_seconds", "what bringing a model up takes", {runner_, model},
              seconds(stats.load.swap_time));
  sink_.gauge("penstock_swap_model_serve_seconds", "what a request of a model takes", {runner_, model},
              seconds(stats.load.serve_time));
  sink_.counter("penstock_swap_model_granted_total", "requests for a model that were let through", {runner_, model},
                stats.granted);
  sink_.counter("penstock_swap_model_refused_total", "requests for a model that were refused", {runner_, model},
                stats.refused);
  sink_.counter("penstock_swap_total", "swaps to a model that have ended, by result",
                {runner_, model, {"result", "ok"}}, stats.swaps_succeeded);
  sink_.counter("penstock_swap_total", "swaps to a model that have ended, by result",
                {runner_, model, {"result", "failed"}}, stats.swaps_failed);
  sink_.histogram("penstock_swap_wait_seconds", "from a request to its grant", {runner_, model}, stats.wait);
}

}  // namespace

void SwapRunnerCore::collect(MetricSink& sink) const {
  if (is_forked()) return;
  Samples samples(sink, name());
  const SwapRunnerStats all = stats();
  samples.scheduler(all.scheduler);
  samples.runner(all);
  for (std::size_t at = 0; at != models_.size(); ++at) {
    const auto model = static_cast<ModelId>(at);
    const SwapModelStats stats = model_stats(model);
    const bool is_known = stats.granted + stats.refused + stats.swaps_succeeded + stats.swaps_failed != 0 ||
                          stats.load.queued + stats.load.joined != 0 || is_running(stats.state);
    if (is_known) samples.model(models_[model].name, stats);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
