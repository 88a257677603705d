// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/resource_acquire.hpp"

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

CoroutineAcquire::CoroutineAcquire(ResourceCore& core, const ResourceFilter* filter, std::string_view sticky_key,
                                   Context ctx)
    : Work([](Work& work) noexcept { static_cast<CoroutineAcquire&>(work).run_on(); }),
      core_(core),
      ctx_(std::move(ctx)),
      wait_(core, filter, sticky_key) {}

CoroutineAcquire::~CoroutineAcquire() {
  if (!is_suspended_) return;
  // The coroutine is being destroyed where it is suspended. As in BasicCoroutineWait: either this ends the wait, or it
  // takes back the work that was posted for its end.
  const bool called_off = waiter_->try_claim(Waiter::kAbandoned);
  const Waiter::Outcome outcome = waiter_->resume();
  if (!called_off) {
    PENSTOCK_CHECK(executor_->revoke(*this), "a coroutine was destroyed while its executor was resuming it");
  }
  // Takes it out of the line before its waiter goes. What it was lent goes back with `wait_`.
  static_cast<void>(core_.settle(wait_, called_off ? Waiter::kAbandoned : outcome));
}

bool CoroutineAcquire::park() {
  Work& work = *this;
  for (;;) {
    waiter_.emplace(ctx_, *executor_, work);
    node_.emplace(*waiter_, nullptr);
    const bool is_endless = waiter_->is_endless();  // looked at before, since nothing can be after
    const Duration patience = ResourceCore::patience(ctx_);
    is_suspended_ = true;
    try {
      if (core_.look_or_park(wait_, *node_, patience) != ResourceCore::Look::kParked) {
        is_suspended_ = false;
        return false;
      }
    } catch (...) {
      is_suspended_ = false;
      throw;
    }
    if (is_endless || waiter_->suspend()) return true;
    if (settle()) return false;
  }
}

bool CoroutineAcquire::settle() noexcept {
  is_suspended_ = false;
  return core_.settle(wait_, waiter_->resume());
}

void CoroutineAcquire::run_on() noexcept {
  try {
    if (!settle() && park()) return;
  } catch (...) {
    error_ = std::current_exception();
  }
  coroutine_.resume();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
