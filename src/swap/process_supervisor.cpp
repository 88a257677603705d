// SPDX-License-Identifier: MIT
#include "penstock/swap/process_supervisor.hpp"

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/detail/thread_name.hpp"
#include "process_core.hpp"
#include "supervisor_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

ProcessSupervisorOptions checked(ProcessSupervisorOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  return options;
}

}  // namespace

absl::Status ProcessSupervisorOptions::validate() const {
  detail::OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "of 1 to 256 bytes", name.size());
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("process supervisor '{}'", detail::shortened(name, kMaxNameBytes)));
}

namespace detail {

SupervisorCore::SupervisorCore(ProcessSupervisorOptions options)
    : options_(std::move(options)),
      process_(fork_generation()),
      bell_(make_bell()),
      callers_(std::in_place, PeriodicRunnerOptions{.name = options_.name, .clock = options_.clock}),
      alarm_([](Timer& timer) noexcept { static_cast<Alarm&>(timer).self.wake(); }, *this) {
  clock().start_timers();
  if (options_.adopts_orphans && !adopt_orphans()) {
    throw std::system_error(std::make_error_code(std::errc::function_not_supported),
                            fmt::format("process supervisor '{}': cannot adopt orphans", options_.name));
  }
  thread_ = world::Thread([this] { run(); });
}

void SupervisorCore::stop() noexcept {
  {
    const MutexLock lock(mutex_);
    PENSTOCK_CHECK(processes_.empty(), "a process supervisor outlives its processes");
    stopping_ = true;
  }
  wake();
  thread_.join();
  callers_.reset();
  clock().disarm(alarm_);
}

bool SupervisorCore::is_forked() const noexcept { return process_ != fork_generation(); }

void SupervisorCore::add(std::shared_ptr<ProcessCore> process) {
  const MutexLock lock(mutex_);
  processes_.push_back(std::move(process));
  ++version_;
}

void SupervisorCore::remove(const ProcessCore& process) noexcept {
  ProcessPtr removed;
  const MutexLock lock(mutex_);
  const auto at =
      std::find_if(processes_.begin(), processes_.end(), [&](const ProcessPtr& p) { return p.get() == &process; });
  if (at == processes_.end()) return;
  removed = std::move(*at);
  processes_.erase(at);
  ++version_;
}

std::size_t SupervisorCore::size() const {
  const MutexLock lock(mutex_);
  return processes_.size();
}

void SupervisorCore::run() noexcept {
  name_thread(options_.name, "/watch");
  constexpr Duration kPause = std::chrono::milliseconds(50);
  std::vector<Interest> nothing_but_time;
  for (bool goes_on = true; goes_on;) {
    try {
      goes_on = turn();
    } catch (...) {
      // Out of memory: what was begun is found, and done, at the next look.
      poll_all(nothing_but_time, kPause);
    }
  }
  seen_.clear();
  reap_left();
}

void SupervisorCore::leave(RunningChild&& child) {
  left_.push_back(std::move(child));
  left_.back().output.reset();
  left_.back().errors.reset();
}

void SupervisorCore::reap_left() noexcept {
  constexpr Duration kLookInterval = std::chrono::seconds(1);
  std::erase_if(left_, [](RunningChild& child) {
    if (end_of(child).end == ChildEnd::kNotYet) return false;
    reap_child(child);
    return true;
  });
  if (!left_.empty()) sleep_.at_most(kLookInterval);
}

bool SupervisorCore::turn() {
  silence(bell_);  // before the look: who rings during it has us look once more
  {
    const MutexLock lock(mutex_);
    if (stopping_) return false;
  }
  std::vector<ProcessPtr> gone;  // destroyed without the lock
  {
    const MutexLock lock(mutex_);
    if (seen_version_ != version_) {
      gone = processes_;
      seen_version_ = version_;
      seen_.swap(gone);
    }
  }
  gone.clear();
  sleep_.clear();
  sleep_.until(Interest{bell_.number(), false, false});
  for (const ProcessPtr& process : seen_) process->turn(sleep_);
  reap_left();
  set_alarm(sleep_.due_);
  poll_all(sleep_.interests_, sleep_.limit_);
  for (const ProcessPtr& process : seen_) process->look(sleep_);
  return true;
}

void SupervisorCore::set_alarm(TimePoint when) noexcept {
  if (when != alarm_at_ || when <= clock().now()) {
    clock().disarm(alarm_);
    alarm_at_ = when;
    if (!clock().arm(alarm_, when)) sleep_.at_most(Duration::zero());
  }
}

}  // namespace detail

ProcessSupervisor::ProcessSupervisor(ProcessSupervisorOptions options)
    : core_(std::make_shared<detail::SupervisorCore>(checked(std::move(options)))) {}

ProcessSupervisor::~ProcessSupervisor() {
  if (core_->is_forked()) {
    // Its thread and its locks are the parent's.
    static_cast<void>(new std::shared_ptr<detail::SupervisorCore>(std::move(core_)));
    return;
  }
  core_->stop();
}

const std::string& ProcessSupervisor::name() const noexcept { return core_->options().name; }
Clock& ProcessSupervisor::clock() const noexcept { return core_->clock(); }
std::size_t ProcessSupervisor::size() const { return core_->is_forked() ? 0 : core_->size(); }

}  // namespace penstock::inline PENSTOCK_ABI
