// SPDX-License-Identifier: MIT
#include "penstock/core/context.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "absl/status/status.h"

#include "penstock/core/detail/context_state.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace detail {

ContextState::ContextState(ContextStatePtr parent, Clock& clock)
    : clock_(clock),
      parent_(std::move(parent)),
      parent_hook_(
          [](CancelHook& hook) noexcept {
            ContextState& self = static_cast<ParentHook&>(hook).state;
            // Our last reference may go while our callbacks run, or may have gone already: then the destructor is
            // waiting in remove() for this hook to end, and there is nobody left to tell.
            if (!self.try_retain()) return;
            self.cancel(self.parent_->cause(), self.parent_->cancelled_at());
            self.release();
          },
          *this) {
  if (parent_ && !parent_->add(parent_hook_)) cancel(parent_->cause(), parent_->cancelled_at());
}

ContextState::~ContextState() {
  stop_callback_.reset();
  if (parent_) parent_->remove(parent_hook_);
}

void ContextState::follow(std::stop_token token) {
  stop_callback_.emplace(std::move(token), StopRequested{this, absl::CancelledError("stop requested")});
}

void ContextState::StopRequested::operator()() const noexcept {
  ContextState& self = *state;     // whose last reference, with this callback, may go in the last line
  if (!self.try_retain()) return;  // as for the parent's hook
  self.cancel(cause, self.clock_.now());
  self.release();
}

bool ContextState::cancel(absl::Status cause, TimePoint when) noexcept {
  if (cause.ok()) cause = absl::CancelledError();
  when = std::min(when, TimePoint::max() - Duration(1));  // the end of time says that it was not cancelled
  std::unique_lock lock(mutex_);
  if (!cause_.ok()) return false;
  std::swap(cause_, cause);  // the OK status that comes out is destroyed by the caller, without the lock
  cancelled_at_.store(when.time_since_epoch().count(), std::memory_order_release);  // C1 release
  while (CancelHook* const hook = first_) {
    first_ = hook->next_;
    (first_ == nullptr ? last_ : first_->previous_) = nullptr;
    hook->listed_ = false;
    CallbackGate::Running running(gate_, hook);
    lock.unlock();
    hook->fire_(*hook);  // may destroy the hook
    lock.lock();
    running.leave(lock);
  }
  return true;
}

absl::Status ContextState::cause() const {
  std::lock_guard lock(mutex_);
  return cause_;
}

bool ContextState::add(CancelHook& hook) noexcept {
  std::lock_guard lock(mutex_);
  if (!cause_.ok()) return false;
  hook.next_ = nullptr;
  hook.previous_ = last_;
  hook.listed_ = true;
  (last_ == nullptr ? first_ : last_->next_) = &hook;
  last_ = &hook;
  return true;
}

void ContextState::remove(CancelHook& hook) noexcept {
  std::unique_lock lock(mutex_);
  if (!hook.listed_) {
    gate_.await(lock, &hook);
    return;
  }
  (hook.previous_ == nullptr ? first_ : hook.previous_->next_) = hook.next_;
  (hook.next_ == nullptr ? last_ : hook.next_->previous_) = hook.previous_;
  hook.listed_ = false;
}

void ContextState::retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

bool ContextState::try_retain() noexcept {
  std::uint32_t count = references_.load(std::memory_order_relaxed);
  while (count != 0) {
    if (references_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void ContextState::release() noexcept {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;  // R1
}

ContextStatePtr::ContextStatePtr(const ContextStatePtr& other) noexcept : state_(other.state_) {
  if (state_ != nullptr) state_->retain();
}

ContextStatePtr::~ContextStatePtr() {
  if (state_ != nullptr) state_->release();
}

ContextState* ContextAccess::state(const Context& ctx) noexcept {
  return ctx.state_ ? ctx.state_.operator->() : nullptr;
}

bool ContextAccess::add(ContextState& state, CancelHook& hook) noexcept { return state.add(hook); }
void ContextAccess::remove(ContextState& state, CancelHook& hook) noexcept { state.remove(hook); }

}  // namespace detail

const Context& Context::background() noexcept {
  // Never destroyed: it is the default argument of waits that static destructors may still make.
  static const Context* const context = new Context(Clock::steady());
  return *context;
}

Context Context::with_deadline(TimePoint deadline) const {
  Context child = *this;
  if (deadline < child.deadline_) child.deadline_ = deadline;
  return child;
}

Context::Cancellable Context::with_cancel() const {
  Context child = *this;
  child.state_ = detail::ContextStatePtr(new detail::ContextState(state_, *clock_));
  CancelSource source(child.state_);
  return {std::move(child), std::move(source)};
}

Context Context::with_stop_token(std::stop_token token) const {
  Context child = *this;
  child.state_ = detail::ContextStatePtr(new detail::ContextState(state_, *clock_));
  child.state_->follow(std::move(token));
  return child;
}

OpStatus Context::status() const noexcept {
  if (state_) {
    const TimePoint cancelled_at = state_->cancelled_at();
    if (cancelled_at != TimePoint::max()) {
      return cancelled_at < deadline_ ? OpStatus::kCancelled : OpStatus::kTimedOut;
    }
  }
  return deadline_ != TimePoint::max() && clock_->now() >= deadline_ ? OpStatus::kTimedOut : OpStatus::kOk;
}

absl::Status Context::cause() const {
  switch (status()) {
    case OpStatus::kCancelled:
      return state_->cause();
    case OpStatus::kTimedOut:
      return absl::DeadlineExceededError("context: deadline passed");
    default:
      return absl::OkStatus();
  }
}

bool CancelSource::cancel() const noexcept { return cancel(absl::CancelledError()); }

bool CancelSource::cancel(absl::Status cause) const noexcept {
  const detail::ContextStatePtr state = state_;  // a callback may destroy this source
  return state->cancel(std::move(cause), state->clock().now());
}

struct DoneCallback::Registration : detail::CancelHook, Timer {
  Registration(const Context& ctx, absl::AnyInvocable<void() && noexcept> callback)
      : CancelHook([](CancelHook& hook) noexcept { static_cast<Registration&>(hook).run(); }),
        Timer([](Timer& timer) noexcept { static_cast<Registration&>(timer).run(); }),
        context(ctx),
        function(std::move(callback)) {}

  ~Registration() {
    if (detail::ContextState* const state = detail::ContextAccess::state(context)) state->remove(*this);
    if (context.deadline() != TimePoint::max()) context.clock().disarm(*this);
  }

  void enlist() {
    if (detail::ContextState* const state = detail::ContextAccess::state(context); state && !state->add(*this)) {
      return run();
    }
    if (context.deadline() != TimePoint::max() && !context.clock().arm(*this, context.deadline())) run();
  }

  void run() noexcept {
    if (called.exchange(true, std::memory_order_relaxed)) return;
    auto callback = std::move(function);  // the callback may destroy its registration
    std::move(callback)();
  }

  const Context context;
  absl::AnyInvocable<void()&& noexcept> function;
  // Cancellation and deadline may both come; the first one calls. What the callback needs was handed over with the hook
  // and the timer, under their mutexes, so the flag orders nothing.
  detail::world::Atomic<bool> called{false};
};

DoneCallback Context::on_done(absl::AnyInvocable<void() && noexcept> function) const {
  if (function == nullptr) throw std::invalid_argument("context: on_done was given an empty function");
  if (deadline_ != TimePoint::max()) clock_->start_timers();
  DoneCallback callback(std::make_unique<DoneCallback::Registration>(*this, std::move(function)));
  callback.registration_->enlist();
  return callback;
}

DoneCallback::DoneCallback(std::unique_ptr<Registration> registration) noexcept
    : registration_(std::move(registration)) {}
DoneCallback::DoneCallback(DoneCallback&&) noexcept = default;
DoneCallback& DoneCallback::operator=(DoneCallback&&) noexcept = default;
DoneCallback::~DoneCallback() = default;

StopBridge::StopBridge(const Context& ctx)
    : on_done_(ctx.on_done([source = source_]() mutable noexcept { source.request_stop(); })) {}

}  // namespace penstock::inline PENSTOCK_ABI
