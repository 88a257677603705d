// SPDX-License-Identifier: MIT
#include "penstock/channel/broadcaster.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

std::size_t checked_capacity(std::size_t capacity) {
  constexpr std::size_t kMost = std::size_t{1} << 31;
  if (capacity == 0 || capacity > kMost) {
    throw std::invalid_argument(fmt::format("broadcaster: capacity must be in [1, {}], got {}", kMost, capacity));
  }
  return capacity;
}

}  // namespace

BroadcastCore::BroadcastCore(std::size_t slots) : capacity(checked_capacity(slots)), slots_(slots) {}

std::uint64_t BroadcastCore::oldest() const noexcept { return stored_ - std::min<std::uint64_t>(stored_, capacity); }

BroadcastCore::Slot& BroadcastCore::slot(std::uint64_t number) noexcept {
  return slots_[static_cast<std::size_t>(number % capacity)];
}

void BroadcastCore::push(BroadcastValue& value, WakeList& wake) noexcept {
  ++published;
  if (subscribers == 0) return;
  Slot& next = slot(stored_++);
  lost += next.outstanding;
  next.outstanding = subscribers;
  next.value.swap(value);
  waiting_.claim_all(Waiter::kServed, wake);
}

OpStatus BroadcastCore::publish(BroadcastValue value) {
  if (value == nullptr) throw std::invalid_argument("broadcaster: cannot publish a null pointer");
  WakeList wake;
  {
    MutexLock lock(mutex);
    if (closed) return OpStatus::kClosed;
    push(value, wake);
  }
  wake.wake_all();
  return OpStatus::kOk;
}

bool BroadcastCore::close() noexcept {
  WakeList wake;
  {
    MutexLock lock(mutex);
    ++closes;
    if (closed) return false;
    closed = true;
    waiting_.claim_all(Waiter::kClosed, wake);
  }
  wake.wake_all();
  return true;
}

BroadcastCursor BroadcastCore::enter() noexcept {
  MutexLock lock(mutex);
  ++subscribers;
  return {.next = stored_};
}

void BroadcastCore::leave(BroadcastCursor cursor) noexcept {
  std::uint64_t end = 0;
  {
    MutexLock lock(mutex);
    --subscribers;  // values that come from here on do not count on it
    end = stored_;
  }
  // What it was the last one to get is let go without the mutex, some at a time.
  for (bool is_done = false; !is_done;) {
    std::array<BroadcastValue, 32> freed;
    MutexLock lock(mutex);
    cursor.next = std::max(cursor.next, oldest());
    for (BroadcastValue& each : freed) {
      if (cursor.next >= end) break;
      Slot& left = slot(cursor.next++);
      if (--left.outstanding == 0) each = std::move(left.value);
    }
    is_done = cursor.next >= end;
  }
}

OpStatus BroadcastCore::take(BroadcastCursor& cursor, BroadcastParcel& parcel) noexcept {
  if (cursor.next == stored_) return closed ? OpStatus::kClosed : OpStatus::kEmpty;
  const std::uint64_t first = std::max(cursor.next, oldest());
  parcel.missed = first - cursor.next;
  cursor.missed += parcel.missed;
  cursor.next = first + 1;
  Slot& from = slot(first);
  if (--from.outstanding == 0) {
    parcel.value = std::move(from.value);
  } else {
    parcel.value = from.value;
  }
  return OpStatus::kOk;
}

OpStatus BroadcastCore::try_receive(BroadcastCursor& cursor, BroadcastParcel& parcel) noexcept {
  MutexLock lock(mutex);
  return take(cursor, parcel);
}

OpStatus BroadcastCore::receive(BroadcastCursor& cursor, BroadcastParcel& parcel, const Context& ctx) {
  OpStatus status = try_receive(cursor, parcel);
  if (status != OpStatus::kEmpty) return status;
  if (const OpStatus ended = ctx.status(); ended != OpStatus::kOk) return ended;
  Waiter waiter(ctx);
  WaitNode node(waiter, nullptr);
  if (!list(node, cursor, parcel, status)) return status;
  const Waiter::Outcome outcome = waiter.wait();
  if (ended_by_list(outcome)) return try_receive(cursor, parcel);
  unlist(node);
  return to_op_status(outcome);
}

bool BroadcastCore::list(WaitNode& node, BroadcastCursor& cursor, BroadcastParcel& parcel, OpStatus& status) noexcept {
  MutexLock lock(mutex);
  status = take(cursor, parcel);
  if (status != OpStatus::kEmpty) return false;
  waiting_.push(node);
  return true;
}

void BroadcastCore::unlist(WaitNode& node) noexcept {
  MutexLock lock(mutex);
  waiting_.remove(node);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
