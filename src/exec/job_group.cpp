// SPDX-License-Identifier: MIT
#include "penstock/exec/job_group.hpp"

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// Runs what is posted to it inside of the call. The inline executor would let it wait for work that the thread is
/// running already, and that one may wait for the group.
class AtOnce final : public Executor {
 public:
  void post(Work& work) noexcept override { work.run(work); }
  bool revoke(Work& /*work*/) noexcept override { return false; }
};

Executor& at_once() noexcept {
  static AtOnce executor;
  return executor;
}

}  // namespace

void JobGroupCore::expect() noexcept {
  SpinLockGuard lock(lock_);
  ++pending_;
}

void JobGroupCore::expect_no_more() noexcept {
  SpinLockGuard lock(lock_);
  --pending_;
}

void JobGroupCore::count(std::size_t member, bool failed) noexcept {
  WakeList wake;
  {
    SpinLockGuard lock(lock_);
    --pending_;
    if (failed && !first_failed_) first_failed_ = member;
    claim_due(wake);
  }
  wake.wake_all();
}

void JobGroupCore::claim_due(WakeList& wake) noexcept {
  if (is_due(Event::kErrorOrAll)) error_.claim_all(Waiter::kServed, wake);
  if (is_due(Event::kAll)) all_.claim_all(Waiter::kServed, wake);
}

void JobGroupCore::start_anew() noexcept {
  SpinLockGuard lock(lock_);
  first_failed_.reset();
}

std::size_t JobGroupCore::pending() const noexcept {
  SpinLockGuard lock(lock_);
  return pending_;
}

std::optional<std::size_t> JobGroupCore::first_failed() const noexcept {
  SpinLockGuard lock(lock_);
  return first_failed_;
}

bool JobGroupCore::has_come(Event event) const noexcept {
  SpinLockGuard lock(lock_);
  return is_due(event);
}

bool JobGroupCore::enlist(WaitNode& node, Event event) noexcept {
  SpinLockGuard lock(lock_);
  if (is_due(event)) return false;
  list(event).push(node);
  return true;
}

void JobGroupCore::delist(WaitNode& node, Event event) noexcept {
  SpinLockGuard lock(lock_);
  list(event).remove(node);
}

OpStatus JobGroupCore::wait(Event event, const Context& ctx) {
  if (has_come(event)) return OpStatus::kOk;
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  if (!enlist(node, event)) return OpStatus::kOk;
  const Waiter::Outcome outcome = waiter.wait();
  if (outcome < Waiter::kServed) delist(node, event);
  return to_op_status(outcome);
}

GroupMember::GroupMember(JobGroupCore& core, std::size_t number) noexcept
    : Work([](Work& work) noexcept { static_cast<GroupMember&>(work).answered(); }),
      core_(core),
      number_(number),
      waiter_(at_once(), *this),
      node_(waiter_, nullptr) {
  core_.retain();
  core_.expect();
}

GroupMember::~GroupMember() { core_.release(); }

void GroupMember::listen(AnsweredJob& job) noexcept {
  job_ = &job;
  references_.fetch_add(1, std::memory_order_relaxed);
  if (!job.enlist(node_)) answered();
}

void GroupMember::refuse() noexcept { core_.count(number_, true); }

void GroupMember::discard() noexcept {
  core_.expect_no_more();
  release();
}

void GroupMember::answered() noexcept {
  core_.count(number_, !job_->answer().ok());
  release();
}

void GroupMember::let_go() noexcept {
  if (job_ == nullptr) {
    release();
    return;
  }
  if (!job_->is_done() && waiter_.try_claim(Waiter::kAbandoned)) {
    job_->delist(node_);
    release();  // for the work, which never runs
  }
  release();
}

absl::Status unfinished_group(OpStatus status, std::size_t pending, std::size_t size) {
  if (status == OpStatus::kFull) {
    return absl::FailedPreconditionError(fmt::format(
        "job group: a worker must not wait for jobs of its own pool ({} of {} not answered)", pending, size));
  }
  return to_status(status, fmt::format("job group: waiting for {} of {} jobs", pending, size));
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
