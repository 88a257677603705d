// SPDX-License-Identifier: MIT
#include "swap_mailbox.hpp"

#include <utility>

#include "penstock/core/detail/patience.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool SwapMailbox::post(SwapMail& mail, std::uint8_t bit, std::uint8_t value) noexcept {
  WaitNode* sleeper = nullptr;
  {
    const SpinLockGuard lock(lock_);
    if (closed_) return false;
    mail.said = static_cast<std::uint8_t>(mail.said | bit);
    mail.value = value;
    if (mail.listed) return true;
    mail.listed = true;
    mail.next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = &mail;
    last_ = &mail;
    has_news_.store(true, std::memory_order_relaxed);
    sleeper = sleeper_.claim_first();
  }
  if (sleeper != nullptr) sleeper->waiter->wake();
  return true;
}

SwapMailbox::Taken SwapMailbox::take() noexcept {
  const SpinLockGuard lock(lock_);
  SwapMail* const mail = first_;
  if (mail == nullptr) return {};
  first_ = mail->next;
  if (first_ == nullptr) {
    last_ = nullptr;
    if (!closed_) has_news_.store(false, std::memory_order_relaxed);
  }
  mail->listed = false;
  return {.mail = mail, .said = std::exchange(mail->said, std::uint8_t{0}), .value = mail->value};
}

void SwapMailbox::wait(Clock& clock, TimePoint until) noexcept {
  for (Patience patience; patience.has_more();) {
    if (has_news_.load(std::memory_order_relaxed)) return patience.paid();
  }
  const Context ctx = Context(clock).with_deadline(until);
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  {
    const SpinLockGuard lock(lock_);
    if (first_ != nullptr || closed_) return;
    sleeper_.push(node);
  }
  if (waiter.wait() >= Waiter::kServed) return;
  const SpinLockGuard lock(lock_);
  sleeper_.remove(node);
}

void SwapMailbox::close() noexcept {
  WakeList wake;
  {
    const SpinLockGuard lock(lock_);
    closed_ = true;
    has_news_.store(true, std::memory_order_relaxed);
    sleeper_.claim_all(Waiter::kServed, wake);
  }
  wake.wake_all();
}

bool SwapMailbox::is_closed() const noexcept {
  const SpinLockGuard lock(lock_);
  return closed_;
}

bool SwapMailbox::is_empty() const noexcept {
  const SpinLockGuard lock(lock_);
  return first_ == nullptr;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
