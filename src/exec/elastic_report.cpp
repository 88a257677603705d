// SPDX-License-Identifier: MIT

// What an elastic pool says: of the options it is given, of a refusal, of an exception, and of itself.

#include <string_view>

#include <fmt/format.h>

#include "elastic_violations.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/exec/detail/elastic_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxMinWorkers = 4096;
constexpr std::size_t kMaxAtALook = 65536;
constexpr std::size_t kMaxBuffer = 1'000'000;

std::string limit_text(std::size_t limit) { return limit == kUnlimited ? "unlimited" : std::to_string(limit); }

}  // namespace

absl::Status ElasticPoolOptions::validate() const {
  detail::OptionViolations violations;
  const auto require = [&](bool holds, std::string_view option, std::string_view rule, const auto& got) {
    violations.require(holds, option, rule, got);
  };
  const auto require_positive = [&](std::string_view option, Duration value) {
    require(value > Duration::zero(), option, "positive", detail::duration_text(value));
  };
  require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long", name.size());
  require(max_workers >= 1, "max_workers", "at least 1", max_workers);
  require(min_workers <= kMaxMinWorkers && min_workers <= max_workers, "min_workers",
          fmt::format("in [0, {}], and at most max_workers = {}", kMaxMinWorkers, limit_text(max_workers)),
          min_workers);
  require(queue_capacity == kUnlimited || max_workers != kUnlimited, "queue_capacity", "unlimited, as max_workers is",
          queue_capacity);
  detail::add_violations(trim, "trim.", violations);
  require(growth.at_once <= kMaxMinWorkers, "growth.at_once", fmt::format("in [0, {}]", kMaxMinWorkers),
          growth.at_once);
  require_positive("growth.look_every", growth.look_every);
  require(growth.look_at_most >= growth.look_every, "growth.look_at_most",
          fmt::format("at least look_every = {}", detail::duration_text(growth.look_every)),
          detail::duration_text(growth.look_at_most));
  require(growth.most_at_a_look >= 1 && growth.most_at_a_look <= kMaxAtALook, "growth.most_at_a_look",
          fmt::format("in [1, {}]", kMaxAtALook), growth.most_at_a_look);
  detail::add_violations(size, "size.", violations);
  require_positive("size_interval", size_interval);
  require(size_buffer <= kMaxBuffer, "size_buffer", fmt::format("in [0, {}]", kMaxBuffer), size_buffer);
  if (size.index() != 0) {
    require(max_workers != kUnlimited, "max_workers", "limited, as there is a size policy", "unlimited");
    require(size_buffer != 0 || queue_capacity != kUnlimited, "size_buffer",
            "positive, as queue_capacity is unlimited and there is a size policy", size_buffer);
  }
  require(shutdown_timeout >= Duration::zero(), "shutdown_timeout", "at least 0 s",
          detail::duration_text(shutdown_timeout));
  require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("elastic pool '{}'", detail::shortened(name, kMaxNameBytes)));
}

namespace detail {

absl::Status ElasticCore::describe(Refusal why, const Context* ctx) const {
  const std::string pool = fmt::format("elastic pool '{}'", options_.name);
  const auto refusal = [&]() -> absl::Status {
    switch (why) {
      case Refusal::kClosed:
        return absl::UnavailableError(pool + ": closed");
      case Refusal::kForked:
        return absl::FailedPreconditionError(pool + ": used in a forked child, which has none of its threads");
      case Refusal::kEnded:
        return to_status(ctx->status(), pool + ": submit");
      case Refusal::kNoWorker:
        return absl::ResourceExhaustedError(pool + ": there is no worker, and none could be made");
      case Refusal::kFull:
        break;
    }
    MutexLock lock(mutex_);
    return absl::ResourceExhaustedError(fmt::format("{}: queue full ({} tasks wait, capacity {}, {} of {} workers)",
                                                    pool, queued_ + reserved_, options_.queue_capacity, live_, most_));
  };
  return with_failure_stage(refusal(), "enqueue");
}

absl::Status ElasticCore::describe_ending(const JobState& job) const noexcept {
  const bool is_abandoned = job.ending_ == Ending::kAbandoned;
  absl::StatusCode code = absl::StatusCode::kCancelled;
  try {
    const std::string subject = fmt::format("elastic pool '{}': job {}", options_.name, job.id_);
    if (is_abandoned) {
      return with_failure_stage(absl::CancelledError(subject + " dropped by shutdown before it started"), "shutdown");
    }
    const JobTerms* const terms = job.terms();
    const absl::Status cause = terms == nullptr ? absl::CancelledError() : terms->context.cause();
    if (absl::IsDeadlineExceeded(cause)) code = cause.code();
    return with_failure_stage(absl::Status(code, fmt::format("{} cancelled in the queue{}{}", subject,
                                                             cause.message().empty() ? "" : ": ", text_of(cause))),
                              "queue");
  } catch (...) {
    return absl::Status(code, {});  // no memory for the text
  }
}

void ElasticCore::report(const std::exception_ptr& exception, const JobState* job) noexcept {
  const auto count = [this] {
    MutexLock lock(mutex_);
    ++counts_.exceptions;
  };
  count();
  if (!options_.on_exception) return;
  try {
    const std::string text = exception_text(exception);
    options_.on_exception(
        CaughtException{options_.name, job == nullptr ? 0 : job->id_, {}, text, exception, Inside::worker_of(*this)});
  } catch (...) {
    count();  // the hook is the last one to tell: there is nobody left to hear about its own failure
  }
}

std::size_t ElasticCore::live() const noexcept {
  if (is_forked()) return 0;
  MutexLock lock(mutex_);
  return live_;
}

bool ElasticCore::is_closed() const noexcept {
  if (is_forked()) return true;
  MutexLock lock(mutex_);
  return closed_;
}

ElasticPoolStats ElasticCore::stats() const {
  if (is_forked()) return {};
  MutexLock lock(mutex_);
  ElasticPoolStats stats = counts_;
  stats.min_workers = least_;
  stats.max_workers = most_;
  stats.is_closed = closed_;
  stats.live = live_;
  stats.idle = idle_;
  stats.starting = starting_;
  stats.busy = live_ - idle_ - starting_;
  stats.idle_low_water = low_water_;
  stats.queued = queued_ + reserved_;
  stats.running = running_;
  stats.posted_waiting = posted_queued_;
  return stats;
}

void ElasticCore::collect(MetricSink& sink) const {
  const ElasticPoolStats stats = this->stats();
  const Label pool{"pool", options_.name};
  const auto gauge = [&](std::string_view name, std::string_view help, std::size_t value) {
    sink.gauge(fmt::format("penstock_elastic_pool_{}", name), help, {pool}, static_cast<double>(value));
  };
  const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    sink.counter(fmt::format("penstock_elastic_pool_{}_total", name), help, {pool}, value);
  };
  const auto labelled = [&](std::string_view name, std::string_view help, std::string_view label,
                            std::string_view value, std::uint64_t count) {
    sink.counter(fmt::format("penstock_elastic_pool_{}_total", name), help, {pool, {label, value}}, count);
  };
  gauge("workers", "workers, idle or not", stats.live);
  gauge("workers_idle", "workers that wait for a task", stats.idle);
  gauge("workers_busy", "workers that run something", stats.busy);
  gauge("workers_starting", "workers that were made and have not begun", stats.starting);
  gauge("workers_peak", "the most workers that ever were there", stats.peak);
  gauge("workers_idle_low_water", "the fewest idle workers since the trim policy was last asked", stats.idle_low_water);
  gauge("queue_depth", "tasks that wait", stats.queued);
  gauge("running", "tasks that run", stats.running);
  gauge("posted_waiting", "posted work that waits", stats.posted_waiting);
  counter("workers_created", "workers made", stats.created);
  counter("worker_failures", "workers that could not be made", stats.creation_failures);
  counter("workers_trimmed", "workers that were not needed any more", stats.trimmed);
  counter("pills", "workers that took a poison pill", stats.pills);
  counter("reused", "tasks and posted work done by a worker after another one", stats.reused);
  counter("accepted", "tasks accepted", stats.accepted);
  counter("posted", "posted work that has run", stats.posted);
  counter("exceptions", "exceptions caught", stats.exceptions);
  const auto ended = [&](std::string_view outcome, std::uint64_t count) {
    labelled("tasks", "accepted tasks that have ended, by outcome", "outcome", outcome, count);
  };
  ended("succeeded", stats.succeeded);
  ended("failed", stats.failed);
  ended("threw", stats.threw);
  ended("cancelled", stats.cancelled);
  ended("dropped", stats.dropped);
  ended("unmade", stats.unmade);
  const auto refused = [&](std::string_view reason, std::uint64_t count) {
    labelled("refused", "tasks that were not accepted, by reason", "reason", reason, count);
  };
  refused("closed", stats.refused_closed);
  refused("full", stats.refused_full);
  refused("no_worker", stats.refused_no_worker);
  refused("ended", stats.refused_ended);
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
