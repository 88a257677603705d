// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/detail/thread_name.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/pool_locks.hpp"
#include "penstock/exec/detail/pool_text.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

// After a worker could not be started on the way, until the next attempt.
constexpr Duration kAfterFailure = std::chrono::seconds(1);

}  // namespace

// --- start and end ---

absl::Status PoolCore::start(StartupReport* report) {
  StartupReport unread;
  if (report == nullptr) report = &unread;
  report->steps.push_back({StartupReport::Phase::kOptions, Duration::zero(), absl::OkStatus()});
  absl::Status status;
  try {
    if (!clock_.is_machine_time()) clock_.start_timers();
    watch_ = world::Thread([this] { watch(); });
  } catch (const std::exception& caught) {
    status = absl::ResourceExhaustedError(fmt::format("worker pool '{}': cannot start thread 1 of {}: {}",
                                                      options_.name, options_.workers + 1, caught.what()));
    report->steps.push_back({StartupReport::Phase::kThreads, Duration::zero(), status});
  }
  if (status.ok()) status = hire(options_.workers, report);
  if (!status.ok()) {
    stop();
  } else {
    tell_state(PoolState::kRunning);
  }
  return status;
}

void PoolCore::stop() noexcept {
  WakeList wake;
  {
    Both lock(*this);
    set_detour(kClosed, true);
    set_detour(kStopping, true);
    while (WaitNode* const node = idle_.claim_first()) {
      ++seekers_;
      wake.push(*node);
    }
    watching_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
  if (watch_.joinable()) watch_.join();
  WorkerList crew;
  {
    MutexLock lock(crew_mutex_);
    crew.swap(crew_);
  }
  for (const std::unique_ptr<Worker>& worker : crew) worker->thread.join();
  run_deserted();  // nothing posted is ever lost
  tell_state(PoolState::kStopped);
}

absl::Status PoolCore::check_health() const noexcept {
  try {
    if (!options_.health_check) return absl::OkStatus();
    std::exception_ptr escaped;
    absl::Status status;
    try {
      status = options_.health_check(Context(clock_).with_timeout(options_.health_check_timeout));
    } catch (...) {
      escaped = std::current_exception();
    }
    if (escaped) {
      return absl::InternalError(
          fmt::format("worker pool '{}': health_check threw {}", options_.name, exception_text(escaped)));
    }
    if (status.ok()) return status;
    return absl::Status(status.code(),
                        fmt::format("worker pool '{}': health check failed: {}", options_.name, text_of(status)));
  } catch (...) {
    return absl::ResourceExhaustedError({});  // no memory for the text
  }
}

// --- hiring ---

absl::Status PoolCore::hire(std::size_t count, StartupReport* report) {
  TimePoint begun = clock_.now();
  const auto note = [&](StartupReport::Phase phase, const absl::Status& status) {
    const TimePoint now = clock_.now();
    if (report != nullptr) report->steps.push_back({phase, now - std::exchange(begun, now), status});
  };
  Hiring hiring;
  std::string failure;
  Worker* leavers = nullptr;
  const std::size_t started = start_threads(count, &hiring, failure, leavers);
  absl::Status status;
  try {
    if (started != count) {
      const std::size_t own = report == nullptr ? 1 : 2;  // counted from 1, behind the watching thread
      status = absl::ResourceExhaustedError(fmt::format("worker pool '{}': cannot start thread {} of {}: {}",
                                                        options_.name, started + own, count + own - 1, failure));
    }
    note(StartupReport::Phase::kThreads, status);
    {
      MutexLock lock(hiring.mutex);
      while (hiring.reported < started) static_cast<void>(hiring.changed.wait(hiring.mutex));
      if (status.ok()) status = hiring.failure;
    }
    if (started == count) note(StartupReport::Phase::kWorkers, status);
    if (status.ok() && report != nullptr) {
      status = check_health();
      note(StartupReport::Phase::kHealthCheck, status);
    }
    if (status.ok()) note(StartupReport::Phase::kReady, status);
  } catch (...) {
    conclude(hiring, started, false);
    throw;
  }
  conclude(hiring, started, status.ok());
  return status;
}

/// Tells the workers whether they are to stay, and waits until they know.
void PoolCore::conclude(Hiring& hiring, std::size_t started, bool stay) noexcept {
  {
    Both lock(*this);
    hiring_ = 0;
    if (stay) {
      joining_ += started;
      configured_ += started;
    }
  }
  {
    MutexLock lock(hiring.mutex);
    hiring.decided = true;
    hiring.stay = stay;
  }
  hiring.changed.notify_all();
  MutexLock lock(hiring.mutex);
  while (hiring.settled < started) static_cast<void>(hiring.changed.wait(hiring.mutex));
}

std::size_t PoolCore::start_threads(std::size_t count, Hiring* hiring, std::string& failure,
                                    Worker*& leavers) noexcept {
  MutexLock lock(crew_mutex_);  // whoever joins a thread finds it in its place
  std::vector<bool> taken;
  WorkerList predecessor;
  std::size_t started = 0;
  try {
    for (; started < count; ++started) {
      predecessor = take_leaver(leavers);
      taken.assign(crew_.size() + 1, false);
      for (const std::unique_ptr<Worker>& worker : crew_) {
        if (worker->runner.worker_id < taken.size()) taken[worker->runner.worker_id] = true;
      }
      const auto free = std::find(taken.begin(), taken.end(), false);
      auto worker = std::make_unique<Worker>(static_cast<std::size_t>(free - taken.begin()));
      worker->hiring = hiring;
      if (times_) worker->runner.times = &times_->row(worker->runner.worker_id);
      crew_.push_back(std::move(worker));
      Worker& hired = *crew_.back();
      hired.predecessor.swap(predecessor);
      try {
        hired.thread = world::Thread([this, &hired] { work(hired); });
      } catch (...) {
        hired.predecessor.swap(predecessor);
        crew_.pop_back();
        throw;
      }
    }
  } catch (const std::exception& caught) {
    if (!predecessor.empty()) {
      predecessor.front()->next_leaver = std::exchange(leavers, predecessor.front().get());
      crew_.splice(crew_.end(), predecessor);
    }
    try {
      failure = caught.what();
    } catch (...) {  // no memory for the reason: it goes without
    }
  }
  return started;
}

/// The first thing that a worker does. Returns whether it stays.
bool PoolCore::join_crew(Worker& me) noexcept {
  for (const std::unique_ptr<Worker>& predecessor : me.predecessor) predecessor->thread.join();
  me.predecessor.clear();
  me.runner.since = clock_.now();
  {
    Both lock(*this);
    list_runner(me.runner);
  }
  absl::Status status = run_start_hook(me.runner.worker_id);
  const bool has_started = status.ok();
  bool stays = has_started;
  if (me.hiring != nullptr) {
    MutexLock lock(me.hiring->mutex);
    if (me.hiring->failure.ok()) std::swap(me.hiring->failure, status);
    ++me.hiring->reported;
    me.hiring->changed.notify_all();
    while (!me.hiring->decided) static_cast<void>(me.hiring->changed.wait(me.hiring->mutex));
    stays = me.hiring->stay;
  }
  if (has_started && !stays) run_stop_hook(me.runner.worker_id);  // another one failed
  const TimePoint now = clock_.now();
  WakeList wake;
  {
    Both lock(*this);
    if (stays || me.hiring == nullptr) --joining_;
    if (stays) {
      ++live_;
      me.runner.joined = true;
      me.runner.since = now;
      me.seeking = true;
      ++seekers_;
    } else {
      unlist_runner(me.runner);
      if (!has_started) ++counts_.worker_failures;
      if (me.hiring == nullptr) {
        grow_not_before_ = saturated_add(now, kAfterFailure);
        give_up_growth();
      }
    }
    note_crew();
    grant_places(now, wake);  // a free worker is one
    if (joining_ == 0) arrivals_.claim_all(Waiter::kServed, wake);
    claim_closers(wake);  // there may be nobody any more to wait for
  }
  if (me.hiring != nullptr) {
    MutexLock lock(me.hiring->mutex);
    ++me.hiring->settled;
    me.hiring->changed.notify_all();  // under the lock: without it, whoever waits for the last one could end it all
  }
  wake.wake_all();
  return stays;
}

absl::Status PoolCore::run_start_hook(std::size_t id) noexcept {
  absl::Status status;
  try {
    name_thread(options_.name, '/', id);
    if (!options_.on_worker_start) return status;
    std::exception_ptr escaped;
    try {
      status = options_.on_worker_start(id);
    } catch (...) {
      escaped = std::current_exception();
    }
    if (escaped) {
      return absl::InternalError(
          fmt::format("worker pool '{}': on_worker_start({}) threw {}", options_.name, id, exception_text(escaped)));
    }
    if (status.ok()) return status;
    return absl::Status(status.code(), fmt::format("worker pool '{}': worker {} did not start: {}", options_.name, id,
                                                   text_of(status)));
  } catch (...) {
    return absl::ResourceExhaustedError({});  // no memory for the text
  }
}

void PoolCore::run_stop_hook(std::size_t id) noexcept {
  if (!options_.on_worker_stop) return;
  try {
    options_.on_worker_stop(id);
  } catch (...) {
    report(std::current_exception(), nullptr);
  }
}

void PoolCore::leave_crew(Worker& me) noexcept {
  --live_;
  unlist_runner(me.runner);
  gone_.add(me.tally);
  note_crew();
}

void PoolCore::list_runner(Runner& runner) noexcept {
  runner.previous = nullptr;
  runner.next = runners_;
  if (runners_ != nullptr) runners_->previous = &runner;
  runners_ = &runner;
}

void PoolCore::unlist_runner(Runner& runner) noexcept {
  (runner.previous == nullptr ? runners_ : runner.previous->next) = runner.next;
  if (runner.next != nullptr) runner.next->previous = runner.previous;
}

/// Draws the conclusions from a change of the crew or of how large it is to be.
void PoolCore::note_crew() noexcept {
  set_detour(kCrowded, live_ > wanted());
  set_detour(kGrowing, options_.grow_when_busy && configured_ < options_.largest());
}

void PoolCore::set_stuck(std::size_t workers) noexcept {
  stuck_ = workers;
  const std::size_t due = std::min(stuck_, options_.max_replacements);
  if (due > replacements_) ++counts_.workers_replaced;
  replacements_ = due;
  note_crew();
}

/// Starts workers that are counted as joining, without waiting for them. As many of the `leavers` are joined by them.
void PoolCore::grow(std::size_t count, TimePoint now, Worker*& leavers) noexcept {
  std::string failure;
  const std::size_t started = start_threads(count, nullptr, failure, leavers);
  if (started == count) return;
  WakeList wake;
  {
    Both lock(*this);
    joining_ -= count - started;
    counts_.worker_failures += count - started;
    grow_not_before_ = saturated_add(now, kAfterFailure);
    give_up_growth();
    note_crew();
    if (missing() != 0) watch_from(grow_not_before_, wake);
    if (joining_ == 0) arrivals_.claim_all(Waiter::kServed, wake);
    claim_closers(wake);
  }
  wake.wake_all();
}

/// Workers that could not be started are missed no more, unless a job waits for one: then it is tried again later.
void PoolCore::give_up_growth() noexcept {
  while (configured_ > options_.smallest() && live_ + joining_ < configured_ && depth() == 0) {
    --configured_;
  }
}

/// Takes the first one out of the crew, if there is one.
WorkerList PoolCore::take_leaver(Worker*& leavers) noexcept {
  WorkerList left;
  if (leavers == nullptr) return left;
  Worker* const worker = std::exchange(leavers, leavers->next_leaver);
  const auto place = std::find_if(crew_.begin(), crew_.end(), [&](const auto& one) { return one.get() == worker; });
  left.splice(left.begin(), crew_, place);
  return left;
}

void PoolCore::join_leavers(Worker* leavers) noexcept {
  while (leavers != nullptr) {
    WorkerList left;
    {
      MutexLock lock(crew_mutex_);
      left = take_leaver(leavers);
    }
    left.front()->thread.join();
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
