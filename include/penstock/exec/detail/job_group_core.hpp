// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How a group learns of the answers of its jobs, in the order in which they come.
///
/// A member lists a node with its job, as a waiting coroutine does; but the work that would resume the coroutine runs
/// at once, in the thread that answers the job: it counts the answer and wakes who waits for the group. A member
/// belongs to two, the group and that work, and the later of them frees it. A group that goes earlier calls the node
/// off, if it still can:
///
///   listed --answered--> claimed by who answers --> counted: the work lets go
///      |
///      +--the group goes--> claimed by the group, taken off the list: the group lets go for both

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/coroutine_wait.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/op_status.hpp"
#include "penstock/exec/detail/answered_job.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class GroupMember;

/// What a group and its members share.
class JobGroupCore {
 public:
  enum class Event : std::uint8_t { kAll, kErrorOrAll };

  JobGroupCore() = default;
  JobGroupCore(const JobGroupCore&) = delete;
  JobGroupCore& operator=(const JobGroupCore&) = delete;

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // G1
  }

  /// One more answer is to come.
  void expect() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// It is not.
  void expect_no_more() noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// It has come, from the member with this number.
  void count(std::size_t member, bool failed) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// Forgets the first error. While nothing is pending.
  void start_anew() noexcept ABSL_LOCKS_EXCLUDED(lock_);

  [[nodiscard]] std::size_t pending() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  /// The number of the member that failed first.
  [[nodiscard]] std::optional<std::size_t> first_failed() const noexcept ABSL_LOCKS_EXCLUDED(lock_);
  [[nodiscard]] bool has_come(Event event) const noexcept ABSL_LOCKS_EXCLUDED(lock_);

  OpStatus wait(Event event, const Context& ctx) ABSL_LOCKS_EXCLUDED(lock_);

  /// Lists `node` to be served with the event; false if that has come already.
  bool enlist(WaitNode& node, Event event) noexcept ABSL_LOCKS_EXCLUDED(lock_);
  void delist(WaitNode& node, Event event) noexcept ABSL_LOCKS_EXCLUDED(lock_);

 private:
  [[nodiscard]] bool is_due(Event event) const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return pending_ == 0 || (event == Event::kErrorOrAll && first_failed_.has_value());
  }
  WaitList& list(Event event) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_) {
    return event == Event::kAll ? all_ : error_;
  }
  void claim_due(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  // G1  release by each owner that goes -> acquire by the last, who frees it.
  world::Atomic<std::uint32_t> references_{1};
  mutable SpinLock lock_;  // leaf
  std::size_t pending_ ABSL_GUARDED_BY(lock_) = 0;
  std::optional<std::size_t> first_failed_ ABSL_GUARDED_BY(lock_);
  WaitList all_ ABSL_GUARDED_BY(lock_);
  WaitList error_ ABSL_GUARDED_BY(lock_);
};

/// A group's ear at one job.
class GroupMember : private Work {
 public:
  GroupMember(JobGroupCore& core, std::size_t number) noexcept;
  GroupMember(const GroupMember&) = delete;
  GroupMember& operator=(const GroupMember&) = delete;

  /// Listens to `job`, which is not answered before this object has been let go by the group.
  void listen(AnsweredJob& job) noexcept;
  /// There is no job: the answer was a refusal.
  void refuse() noexcept;
  /// There will be no answer, and is no group's share any more.
  void discard() noexcept;
  /// The group's share: calls the listening off if the answer has not come. The job is still held.
  void let_go() noexcept;

 private:
  ~GroupMember();
  void answered() noexcept;
  void release() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // G2
  }

  JobGroupCore& core_;
  const std::size_t number_;
  AnsweredJob* job_ = nullptr;
  // G2  release by the first owner that goes -> acquire by the second, who frees it.
  world::Atomic<std::uint32_t> references_{1};
  EndlessWaiter waiter_;
  WaitNode node_;
};

/// One coroutine's wait for a group.
class GroupWait {
 public:
  GroupWait(JobGroupCore& core, JobGroupCore::Event event, const Context& ctx) noexcept
      : core_(core), event_(event), ctx_(ctx) {}
  GroupWait(const GroupWait&) = delete;
  GroupWait& operator=(const GroupWait&) = delete;
  ~GroupWait() {
    if (!suspended_) return;
    // The coroutine is being destroyed where it is suspended.
    if (wait_->call_off() < Waiter::kServed) core_.delist(wait_->node(), event_);
  }

  [[nodiscard]] bool await_ready() const noexcept { return core_.has_come(event_); }

  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    wait_.emplace(ctx_, coroutine, nullptr);
    suspended_ = true;  // before it is listed: from then on the frame may be gone
    return wait_->suspend([this] {
      if (core_.enlist(wait_->node(), event_)) return true;
      suspended_ = false;
      return false;
    });
  }

  OpStatus await_resume() noexcept {
    if (!std::exchange(suspended_, false)) return OpStatus::kOk;
    const Waiter::Outcome outcome = wait_->resume();
    if (outcome < Waiter::kServed) core_.delist(wait_->node(), event_);
    return to_op_status(outcome);
  }

 private:
  JobGroupCore& core_;
  const JobGroupCore::Event event_;
  const Context ctx_;
  std::optional<CoroutineWait> wait_;
  bool suspended_ = false;
};

/// What a wait for a group returns that `status` has ended early.
absl::Status unfinished_group(OpStatus status, std::size_t pending, std::size_t size);

}  // namespace penstock::inline PENSTOCK_ABI::detail
