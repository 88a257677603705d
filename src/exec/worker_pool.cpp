// SPDX-License-Identifier: MIT
#include "penstock/exec/worker_pool.hpp"

#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = detail::kMaxPoolNameBytes;
constexpr std::size_t kMaxWorkers = 4096;
constexpr std::size_t kMaxCapacity = 1'000'000;
constexpr std::uint64_t kMaxFirstId = std::uint64_t{1} << 62;
constexpr Duration kSlow = std::chrono::seconds(1);

}  // namespace

absl::Status WorkerPoolOptions::validate() const {
  detail::OptionViolations violations;
  const auto require = [&violations](bool holds, std::string_view field, std::string_view law, const auto& got) {
    violations.require(holds, field, law, got);
  };
  require(!name.empty() && name.size() <= kMaxNameBytes, "name", fmt::format("1 to {} bytes", kMaxNameBytes),
          name.size());
  require(workers >= 1 && workers <= kMaxWorkers, "workers", fmt::format("in [1, {}]", kMaxWorkers), workers);
  require(queue_capacity <= kMaxCapacity, "queue_capacity", fmt::format("in [0, {}]", kMaxCapacity), queue_capacity);
  require(parse_overflow_policy(to_string(overflow)).has_value(), "overflow", "one of the named policies",
          static_cast<int>(overflow));
  require(enqueue_timeout >= Duration::zero(), "enqueue_timeout", "at least 0 s",
          detail::duration_text(enqueue_timeout));
  require(queue_wait_limit > Duration::zero(), "queue_wait_limit", "positive", detail::duration_text(queue_wait_limit));
  require(processing_timeout > Duration::zero(), "processing_timeout", "positive",
          detail::duration_text(processing_timeout));
  require(shutdown_timeout >= Duration::zero(), "shutdown_timeout", "at least 0 s",
          detail::duration_text(shutdown_timeout));
  require(min_workers <= workers, "min_workers", fmt::format("in [0, workers = {}]", workers), min_workers);
  require(max_workers == 0 || (max_workers >= workers && max_workers <= kMaxWorkers), "max_workers",
          fmt::format("0 or in [workers = {}, {}]", workers, kMaxWorkers), max_workers);
  require(idle_timeout > Duration::zero(), "idle_timeout", "positive", detail::duration_text(idle_timeout));
  require(idle_spin >= Duration::zero(), "idle_spin", "at least 0 s", detail::duration_text(idle_spin));
  require(max_replacements <= kMaxWorkers, "max_replacements", fmt::format("in [0, {}]", kMaxWorkers),
          max_replacements);
  require(discipline <= QueueDiscipline::kPriority, "discipline", "one of the named ones",
          static_cast<int>(discipline));
  require(dispatch <= DispatchMode::kRoundRobin, "dispatch", "one of the named ones", static_cast<int>(dispatch));
  require(inside_wait <= InsideWait::kHelp, "inside_wait", "one of the named ones", static_cast<int>(inside_wait));
  if (codel) {
    require(codel->target > Duration::zero(), "codel.target", "positive", detail::duration_text(codel->target));
    require(codel->interval > Duration::zero(), "codel.interval", "positive", detail::duration_text(codel->interval));
  }
  require(health_check_timeout > Duration::zero(), "health_check_timeout", "positive",
          detail::duration_text(health_check_timeout));
  require(first_job_id >= 1 && first_job_id <= kMaxFirstId, "first_job_id", "in [1, 2^62]", first_job_id);
  require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("worker pool '{}'", std::string_view(name).substr(0, kMaxNameBytes)));
}

std::vector<std::string> WorkerPoolOptions::warnings() const {
  std::vector<std::string> warnings;
  const auto expect = [&](bool holds, std::string_view field, std::string_view usual, const auto& got) {
    if (holds) return;
    warnings.push_back(fmt::format("worker pool '{}': {} is usually {}, got {}",
                                   std::string_view(name).substr(0, kMaxNameBytes), field, usual, got));
  };
  const auto expect_time = [&](std::string_view field, std::chrono::seconds least, std::chrono::seconds most,
                               Duration got) {
    expect(got >= least && got <= most, field, fmt::format("{} to {} s", least.count(), most.count()),
           detail::duration_text(got));
  };
  expect(workers >= 10 && workers <= 100, "workers", "10 to 100", workers);
  expect(queue_capacity >= 100 && queue_capacity <= 1000, "queue_capacity", "100 to 1000", queue_capacity);
  expect(queue_capacity >= largest(), "queue_capacity", fmt::format("at least one for each worker ({})", largest()),
         queue_capacity);
  expect_time("queue_wait_limit", std::chrono::seconds(1), std::chrono::seconds(10), queue_wait_limit);
  expect_time("processing_timeout", std::chrono::seconds(30), std::chrono::seconds(300), processing_timeout);
  expect_time("shutdown_timeout", std::chrono::seconds(5), std::chrono::seconds(30), shutdown_timeout);
  return warnings;
}

absl::StatusOr<std::unique_ptr<WorkerPool>> WorkerPool::create(WorkerPoolOptions options, StartupReport* report) {
  if (report != nullptr) report->steps.clear();
  if (absl::Status status = options.validate(); !status.ok()) {
    if (report != nullptr) report->steps.push_back({StartupReport::Phase::kOptions, Duration::zero(), status});
    return status;
  }
  std::unique_ptr<WorkerPool> pool(new WorkerPool(std::move(options)));
  if (absl::Status status = pool->core_->start(report); !status.ok()) return status;
  return pool;
}

WorkerPool::WorkerPool(WorkerPoolOptions options)
    : is_observed_(options.observer != nullptr), core_(std::make_unique<detail::PoolCore>(std::move(options))) {}

WorkerPool::~WorkerPool() {
  if (core_->is_forked()) {
    static_cast<void>(core_.release());  // what its threads held is held for ever
    return;
  }
  PENSTOCK_CHECK(!core_->is_inside(), "a worker pool is not destroyed by one of its jobs or workers");
  const WorkerPoolOptions& options = core_->options();
  shutdown(Context(*options.clock).with_timeout(options.shutdown_timeout));
  // Whoever still runs or answers a job uses the pool once more. One that needs a worker for that needs this thread
  // where the last worker has retired and no other one could start.
  const bool may_be_deserted = options.retire_worker_after_panic;
  for (bool is_over = false; !is_over;) {
    const Context forever(*options.clock);
    if (may_be_deserted) core_->run_deserted();
    const ShutdownReport left =
        shutdown(options.on_slow_shutdown || may_be_deserted ? forever.with_timeout(kSlow) : forever);
    is_over = left.in_time;
    try {
      if (!is_over && options.on_slow_shutdown) options.on_slow_shutdown(left);
    } catch (...) {
      core_->report(std::current_exception(), nullptr);
    }
  }
  core_->stop();
}

ShutdownReport WorkerPool::shutdown(const Context& ctx) {
  return core_->is_forked() ? ShutdownReport{} : core_->shutdown(ctx);
}

void WorkerPool::post(Work& work) noexcept {
  if (!core_->is_forked()) core_->post(work);
}

bool WorkerPool::revoke(Work& work) noexcept {
  return core_->is_forked() || core_->revoke(work);  // in a child nothing runs that was ever posted
}

void WorkerPool::on_exception(std::exception_ptr exception) noexcept {
  if (!core_->is_forked()) core_->report(exception, nullptr);
}

absl::Status WorkerPool::set_overflow(OverflowPolicy policy) {
  if (!parse_overflow_policy(to_string(policy))) {
    return absl::InvalidArgumentError(fmt::format(
        "worker pool '{}': overflow must be one of the named policies, got {}", name(), static_cast<int>(policy)));
  }
  if (core_->is_forked()) return core_->forked();
  core_->set_overflow(policy);
  return absl::OkStatus();
}

absl::Status WorkerPool::set_queue_capacity(std::size_t capacity) {
  if (capacity > kMaxCapacity) {
    return absl::InvalidArgumentError(
        fmt::format("worker pool '{}': queue_capacity must be in [0, {}], got {}", name(), kMaxCapacity, capacity));
  }
  if (core_->is_forked()) return core_->forked();
  core_->set_capacity(capacity);
  return absl::OkStatus();
}

void WorkerPool::pause() noexcept {
  if (!core_->is_forked()) core_->pause();
}

void WorkerPool::resume() noexcept {
  if (!core_->is_forked()) core_->resume();
}

absl::Status WorkerPool::resize(std::size_t workers) {
  return core_->is_forked() ? core_->forked() : core_->resize(workers);
}

absl::Status WorkerPool::add_workers(std::size_t count) {
  return core_->is_forked() ? core_->forked() : core_->add_workers(count);
}

absl::Status WorkerPool::remove_workers(std::size_t count) {
  return core_->is_forked() ? core_->forked() : core_->remove_workers(count);
}

std::vector<WorkerInfo> WorkerPool::workers() const {
  return core_->is_forked() ? std::vector<WorkerInfo>() : core_->workers();
}

const std::string& WorkerPool::name() const noexcept { return core_->options().name; }

Clock& WorkerPool::clock() const noexcept { return *core_->options().clock; }

std::size_t WorkerPool::min_workers() const noexcept { return core_->options().smallest(); }

std::size_t WorkerPool::max_workers() const noexcept { return core_->options().largest(); }

bool WorkerPool::on_worker_thread() const noexcept {
  return !core_->is_forked() && core_->own_worker_id() != kCallerThread;
}

absl::Status WorkerPool::check(bool empty_function, const SubmitOptions& options) const {
  if (empty_function) {
    return absl::InvalidArgumentError(fmt::format("worker pool '{}': there is no function to call", name()));
  }
  if (options.overflow && !parse_overflow_policy(to_string(*options.overflow))) {
    return absl::InvalidArgumentError(
        fmt::format("worker pool '{}': options.overflow must be one of the named policies, got {}", name(),
                    static_cast<int>(*options.overflow)));
  }
  if (options.priority < kLowestPriority || options.priority > kHighestPriority) {
    return absl::InvalidArgumentError(fmt::format("worker pool '{}': options.priority must be in [{}, {}], got {}",
                                                  name(), kLowestPriority, kHighestPriority, options.priority));
  }
  if (options.processing_timeout && *options.processing_timeout <= Duration::zero()) {
    return absl::InvalidArgumentError(
        fmt::format("worker pool '{}': options.processing_timeout must be positive, got {}", name(),
                    detail::duration_text(*options.processing_timeout)));
  }
  if (options.queue_wait_limit && *options.queue_wait_limit <= Duration::zero()) {
    return absl::InvalidArgumentError(fmt::format("worker pool '{}': options.queue_wait_limit must be positive, got {}",
                                                  name(), detail::duration_text(*options.queue_wait_limit)));
  }
  if (options.enqueue_timeout && *options.enqueue_timeout < Duration::zero()) {
    return absl::InvalidArgumentError(
        fmt::format("worker pool '{}': options.enqueue_timeout must be at least 0 s, got {}", name(),
                    detail::duration_text(*options.enqueue_timeout)));
  }
  return absl::OkStatus();
}

}  // namespace penstock::inline PENSTOCK_ABI
