// SPDX-License-Identifier: MIT
#include "swap_mailbox.hpp"

#include <utility>

#include "penstock/core/detail/patience.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

bool SwapMailbox::list(SwapMail& mail, std::uint8_t bit, std::uint8_t value) noexcept {
  mail.said = static_cast<std::uint8_t>(mail.said | bit);
  mail.value = value;
  if (mail.listed) return false;
  mail.listed = true;
  mail.next = nullptr;
  (last_ == nullptr ? first_ : last_->next) = &mail;
  last_ = &mail;
  return true;
}

SwapMailbox::Taken SwapMailbox::take_first() noexcept {
  SwapMail* const mail = first_;
  if (mail == nullptr) return {};
  first_ = mail->next;
  if (first_ == nullptr) last_ = nullptr;
  mail->listed = false;
  return {.mail = mail, .said = std::exchange(mail->said, std::uint8_t{0}), .value = mail->value};
}

WaitNode* SwapMailbox::hand_to_thread() noexcept {
  thread_asks_ = false;
  turn_.store(Turn::kThread, std::memory_order_release);  // M1 release
  return sleeper_.claim_first();
}

bool SwapMailbox::has_turn() const noexcept { return turn_.load(std::memory_order_relaxed) == Turn::kThread; }

bool SwapMailbox::post(SwapMail& mail, std::uint8_t bit, std::uint8_t value) noexcept {
  WaitNode* sleeper = nullptr;
  {
    const SpinLockGuard lock(lock_);
    if (closed_) return false;
    if (!list(mail, bit, value) || turn_.load(std::memory_order_relaxed) != Turn::kNobody) return true;
    sleeper = hand_to_thread();
  }
  if (sleeper != nullptr) sleeper->waiter->wake();
  return true;
}

SwapMailbox::Posted SwapMailbox::post_or_take(SwapMail& mail, std::uint8_t bit) noexcept {
  const SpinLockGuard lock(lock_);
  if (closed_) return {};
  if (turn_.load(std::memory_order_relaxed) != Turn::kNobody) {
    list(mail, bit, 0);
    return {.is_posted = true, .first = {}};
  }
  turn_.store(Turn::kClient, std::memory_order_relaxed);
  return {.is_posted = true, .first = {.mail = &mail, .said = bit, .value = 0}};  // there is no other mail
}

SwapMailbox::Taken SwapMailbox::next_of_client(Wish wish) noexcept {
  WaitNode* sleeper = nullptr;
  {
    const SpinLockGuard lock(lock_);
    if (wish != Wish::kThread && !closed_ && !thread_asks_) {
      if (first_ == nullptr) {
        turn_.store(Turn::kNobody, std::memory_order_relaxed);
        return {};
      }
      if (wish == Wish::kMore && first_->about == SwapMail::About::kTicket) return take_first();
    }
    sleeper = hand_to_thread();
  }
  if (sleeper != nullptr) sleeper->waiter->wake();
  return {};
}

SwapMailbox::Taken SwapMailbox::take() noexcept {
  const SpinLockGuard lock(lock_);
  return take_first();
}

void SwapMailbox::wait(Clock& clock, TimePoint until) noexcept {
  {
    const SpinLockGuard lock(lock_);
    if (first_ != nullptr || closed_) return;
    turn_.store(Turn::kNobody, std::memory_order_relaxed);
  }
  for (Patience patience; patience.has_more();) {
    if (turn_.load(std::memory_order_acquire) == Turn::kThread) return patience.paid();  // M1 acquire
  }
  const Context ctx = Context(clock).with_deadline(until);
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  {
    const SpinLockGuard lock(lock_);
    if (has_turn()) return;
    sleeper_.push(node);
  }
  if (waiter.wait() >= Waiter::kServed) return;
  // It is time. A client that has the turn hands it over at once.
  EndlessWaiter turn;
  WaitNode next(turn, nullptr);
  {
    const SpinLockGuard lock(lock_);
    sleeper_.remove(node);
    if (turn_.load(std::memory_order_relaxed) == Turn::kNobody) turn_.store(Turn::kThread, std::memory_order_relaxed);
    if (has_turn()) return;
    thread_asks_ = true;
    sleeper_.push(next);
  }
  turn.wait();
}

void SwapMailbox::close() noexcept {
  WaitNode* sleeper = nullptr;
  {
    const SpinLockGuard lock(lock_);
    closed_ = true;
    if (turn_.load(std::memory_order_relaxed) == Turn::kNobody) sleeper = hand_to_thread();
  }
  if (sleeper != nullptr) sleeper->waiter->wake();
}

bool SwapMailbox::is_over() const noexcept {
  const SpinLockGuard lock(lock_);
  return closed_ && first_ == nullptr;
}

bool SwapMailbox::is_at_rest() const noexcept {
  const SpinLockGuard lock(lock_);
  return first_ == nullptr && turn_.load(std::memory_order_relaxed) == Turn::kNobody;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
