// SPDX-License-Identifier: MIT
#include "penstock/exec/thread_manager.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/pool_text.hpp"
#include "penstock/exec/detail/thread_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxThreads = 4096;
constexpr std::size_t kMaxRemembered = 1'000'000;

}  // namespace

std::string_view to_string(ThreadState state) noexcept {
  switch (state) {
    case ThreadState::kCreated:
      return "created";
    case ThreadState::kRunning:
      return "running";
    case ThreadState::kWaiting:
      return "waiting";
    case ThreadState::kBlocking:
      return "blocking";
    case ThreadState::kMaintenance:
      return "maintenance";
    case ThreadState::kTerminated:
      return "terminated";
  }
  return "unknown";
}

std::string_view to_string(ThreadOutcome outcome) noexcept {
  switch (outcome) {
    case ThreadOutcome::kReturned:
      return "returned";
    case ThreadOutcome::kThrew:
      return "threw";
    case ThreadOutcome::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

Duration StuckLimits::of(ThreadState state) const noexcept {
  switch (state) {
    case ThreadState::kRunning:
      return running;
    case ThreadState::kWaiting:
      return waiting;
    case ThreadState::kBlocking:
      return blocking;
    default:
      return Duration::max();
  }
}

std::vector<ThreadInfo> stuck_threads(const std::vector<ThreadInfo>& threads, const StuckLimits& limits) {
  std::vector<ThreadInfo> stuck;
  for (const ThreadInfo& thread : threads) {
    const Duration limit = limits.of(thread.state);
    if (limit != Duration::max() && thread.in_state >= limit) stuck.push_back(thread);
  }
  return stuck;
}

absl::Status ThreadManagerOptions::validate() const {
  detail::OptionViolations violations;
  const auto require = [&violations](bool holds, std::string_view field, std::string_view law, const auto& got) {
    violations.require(holds, field, law, got);
  };
  const auto require_positive = [&require](std::string_view field, Duration got) {
    require(got > Duration::zero(), field, "positive", detail::duration_text(got));
  };
  require(!name.empty() && name.size() <= kMaxNameBytes, "name", fmt::format("1 to {} bytes", kMaxNameBytes),
          name.size());
  require(max_threads >= 1 && max_threads <= kMaxThreads, "max_threads", fmt::format("in [1, {}]", kMaxThreads),
          max_threads);
  require(min_threads <= max_threads, "min_threads", fmt::format("at most max_threads, {}", max_threads), min_threads);
  require(idle_timeout >= Duration::zero(), "idle_timeout", "at least 0 s", detail::duration_text(idle_timeout));
  require(shutdown_timeout >= Duration::zero(), "shutdown_timeout", "at least 0 s",
          detail::duration_text(shutdown_timeout));
  require_positive("stuck_after.running", stuck_after.running);
  require_positive("stuck_after.waiting", stuck_after.waiting);
  require_positive("stuck_after.blocking", stuck_after.blocking);
  require_positive("health_interval", health_interval);
  require(history_size <= kMaxRemembered, "history_size", fmt::format("in [0, {}]", kMaxRemembered), history_size);
  require(event_capacity >= 1 && event_capacity <= kMaxRemembered, "event_capacity",
          fmt::format("in [1, {}]", kMaxRemembered), event_capacity);
  require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("thread manager '{}'", std::string_view(name).substr(0, kMaxNameBytes)));
}

absl::StatusOr<std::unique_ptr<ThreadManager>> detail::ThreadManagerAccess::create(ThreadManagerOptions options,
                                                                                   ThreadCore::MakeThread make) {
  if (absl::Status status = options.validate(); !status.ok()) return status;
  std::unique_ptr<ThreadManager> manager(
      new ThreadManager(std::make_unique<detail::ThreadCore>(std::move(options), make)));
  if (absl::Status status = manager->core_->start(); !status.ok()) return status;
  return manager;
}

absl::StatusOr<std::unique_ptr<ThreadManager>> ThreadManager::create(ThreadManagerOptions options) {
  return detail::ThreadManagerAccess::create(std::move(options), detail::ThreadCore::make_thread);
}

ThreadManager::ThreadManager(std::unique_ptr<detail::ThreadCore> core) noexcept : core_(std::move(core)) {}

ThreadManager::~ThreadManager() {
  if (core_->is_forked()) {
    static_cast<void>(core_.release());  // its threads, locks and waits are the parent's
    return;
  }
  PENSTOCK_CHECK(!core_->is_own_thread(), "a thread manager is not destroyed by one of its threads");
  const ThreadManagerOptions& options = core_->options();
  core_->shutdown(Context(*options.clock).with_timeout(options.shutdown_timeout));
  core_->stop();
}

ThreadShutdownReport ThreadManager::shutdown(const Context& ctx) {
  return core_->is_forked() ? ThreadShutdownReport{} : core_->shutdown(ctx);
}

Subscription<ThreadEvent> ThreadManager::subscribe() {
  if (!core_->is_forked()) return core_->subscribe();
  Broadcaster<ThreadEvent> closed(1);
  return closed.subscribe();
}

std::vector<ThreadEvent> ThreadManager::history() const {
  return core_->is_forked() ? std::vector<ThreadEvent>{} : core_->history();
}

std::vector<ThreadInfo> ThreadManager::snapshot() const {
  return core_->is_forked() ? std::vector<ThreadInfo>{} : core_->snapshot();
}

std::vector<ThreadInfo> ThreadManager::check() const { return stuck_threads(snapshot(), core_->options().stuck_after); }

ThreadManagerStats ThreadManager::stats() const { return core_->is_forked() ? ThreadManagerStats{} : core_->stats(); }

std::uint64_t ThreadManager::current_id() noexcept {
  const detail::ThreadRecord* const record = detail::ManagedThread::current().record;
  return record == nullptr ? 0 : record->id;
}

const std::string& ThreadManager::name() const noexcept { return core_->options().name; }

}  // namespace penstock::inline PENSTOCK_ABI
