// SPDX-License-Identifier: MIT
#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/detail/thread_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxNameBytes = 256;

}  // namespace

// --- ThreadAdmission ---

ThreadAdmission::ThreadAdmission(ThreadCore& core, std::string_view name, bool nothing_to_call, absl::Status& refusal)
    : core_(core), thread_(core.admit(name, nothing_to_call, refusal)) {
  if (thread_ == nullptr) return;
  try {
    record_ = std::make_unique<ThreadRecord>(name, core.options().clock->now());
  } catch (...) {
    core_.give_back(*thread_);
    throw;
  }
}

ThreadAdmission::~ThreadAdmission() {
  if (record_ != nullptr) core_.give_back(*thread_);
}

std::uint64_t ThreadAdmission::enter(ThreadCall call) noexcept {
  record_->call = std::move(call);
  return core_.enter(*thread_, std::move(record_));
}

// --- reserving ---

CrewThread* ThreadCore::admit(std::string_view name, bool nothing_to_call, absl::Status& refusal) {
  if (is_forked()) {
    refusal = absl::FailedPreconditionError(fmt::format("thread manager '{}': cannot spawn '{}' in a forked child",
                                                        options_.name, name.substr(0, kMaxNameBytes)));
  } else if (nothing_to_call) {
    refusal =
        absl::InvalidArgumentError(fmt::format("thread manager '{}': there is no function to call", options_.name));
  } else if (name.empty() || name.size() > kMaxNameBytes) {
    refusal = absl::InvalidArgumentError(
        fmt::format("thread manager '{}': the name of a thread must be 1 to {} bytes, got {}", options_.name,
                    kMaxNameBytes, name.size()));
  }
  if (!refusal.ok()) return nullptr;

  CrewThread* thread = nullptr;
  CrewThread* in_the_way = nullptr;
  ThreadManagerStats numbers;
  Admitted admitted = Admitted::kClosed;
  {
    MutexLock lock(mutex_);
    admitted = reserve(thread, in_the_way);
    numbers = counts_;
  }
  switch (admitted) {
    case Admitted::kIdle:
      return thread;
    case Admitted::kRoom:
      if (in_the_way != nullptr) bury(in_the_way, true);
      return make(name, refusal);
    case Admitted::kLimit:
      refusal = absl::ResourceExhaustedError(
          fmt::format("thread manager '{}': cannot spawn '{}': limit of {} threads reached ({} live, {} ending)",
                      options_.name, name, options_.max_threads, numbers.live, numbers.ending));
      return nullptr;
    case Admitted::kClosed:
      break;
  }
  refusal =
      absl::UnavailableError(fmt::format("thread manager '{}': cannot spawn '{}': shut down", options_.name, name));
  return nullptr;
}

ThreadCore::Admitted ThreadCore::reserve(CrewThread*& thread, CrewThread*& in_the_way) noexcept {
  const ManagedThread& caller = ManagedThread::current();
  const bool is_leaving = caller.core == this && caller.is_leaving;  // it would wait for itself
  for (;;) {
    if (closed_) {
      ++counts_.refused_closed;
      return Admitted::kClosed;
    }
    thread = idle_top_;
    const bool has_room = counts_.live + counts_.ending < options_.max_threads;
    if (thread != nullptr) {
      unlist_idle(*thread);
      thread->reserved = true;
    } else if (has_room) {
      ++counts_.live;
    } else if (retired_ != nullptr && !is_leaving) {
      in_the_way = std::exchange(retired_, nullptr);
      --leaving_;
      --counts_.ending;  // it gives its place to the new one, which is made when it has gone
      ++counts_.live;
    } else if (leaving_ != 0 && !is_leaving) {
      static_cast<void>(room_.wait(mutex_));
      continue;
    } else {
      ++counts_.rejected;
      return Admitted::kLimit;
    }
    ++counts_.starting;
    ++active_;
    counts_.high_water = std::max(counts_.high_water, counts_.live + counts_.ending);
    return thread != nullptr ? Admitted::kIdle : Admitted::kRoom;
  }
}

world::Thread ThreadCore::make_thread(ThreadCore& core, CrewThread& me) {
  return world::Thread([&core, &me] { core.work(me); });
}

CrewThread* ThreadCore::make(std::string_view name, absl::Status& refusal) {
  try {
    auto made = std::make_unique<CrewThread>();
    made->reserved = made->is_new = true;
    made->thread = make_(*this, *made);  // it waits until it is let go
    return made.release();
  } catch (const std::exception& caught) {
    ThreadManagerStats numbers;
    WakeList wake;
    {
      MutexLock lock(mutex_);
      --counts_.live;
      --counts_.starting;
      --active_;
      ++counts_.start_failures;
      numbers = counts_;
      claim_closers(wake);
    }
    wake.wake_all();
    refusal = absl::ResourceExhaustedError(
        fmt::format("thread manager '{}': cannot start a thread for '{}': {} ({} of {} threads live)", options_.name,
                    name, caught.what(), numbers.live, options_.max_threads));
  }
  return nullptr;
}

// --- handing over ---

std::uint64_t ThreadCore::enter(CrewThread& thread, std::unique_ptr<ThreadRecord> record) noexcept {
  bool is_new = false;
  std::uint64_t id = 0;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    is_new = std::exchange(thread.is_new, false);
    id = record->id = record->begun->id = record->ended->id = ++counts_.spawned;
    counts_.reused += is_new ? 0 : 1;
    --counts_.starting;
    record->previous = newest_;
    (newest_ == nullptr ? oldest_ : newest_->next) = record.get();
    newest_ = record.get();
    thread.record = std::move(record);
    thread.has_task = true;
    thread.reserved = false;
    claim(thread, wake);
    if (std::exchange(watch_sleeps_, false)) watching_.claim_all(Waiter::kServed, wake);
  }
  if (is_new) thread.begin.unpark();
  wake.wake_all();
  return id;
}

void ThreadCore::give_back(CrewThread& thread) noexcept {
  bool is_new = false;
  WakeList wake;
  {
    MutexLock lock(mutex_);
    is_new = std::exchange(thread.is_new, false);
    --counts_.starting;
    --active_;
    thread.reserved = false;
    push_idle(thread);
    claim(thread, wake);  // all its time begins anew, or it ends
    claim_closers(wake);
  }
  if (is_new) thread.begin.unpark();
  wake.wake_all();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
