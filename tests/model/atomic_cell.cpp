// SPDX-License-Identifier: MIT

// Atomics: one step for each operation, ordered by the memory order that the caller declared.
//
// Interleavings are sequentially consistent; what the orders decide is who happens before whom, and with that which
// accesses to plain memory race. A release store begins a release sequence, read-modify-writes of anybody continue it,
// any other store ends it (C++20, [intro.races]).

#include "model/execution.hpp"
#include "model/trace.hpp"

namespace penstock::checker {
namespace {

constexpr bool acquires(std::memory_order order) {
  return order != std::memory_order_relaxed && order != std::memory_order_release;
}
constexpr bool releases(std::memory_order order) {
  return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

const char* name_of(std::memory_order order) {
  switch (order) {
    case std::memory_order_relaxed:
      return "relaxed";
    case std::memory_order_consume:
      return "consume";
    case std::memory_order_acquire:
      return "acquire";
    case std::memory_order_release:
      return "release";
    case std::memory_order_acq_rel:
      return "acq_rel";
    default:
      return "seq_cst";
  }
}

void note(std::string_view what, const Object& object, std::string values, std::memory_order order) {
  const auto index = static_cast<std::uint32_t>(&object - &execution.object_at(0));
  execution.step(std::string(what) + ' ' + execution.describe_object(index) + ' ' + std::move(values) + " (" +
                 name_of(order) + ')');
}

enum What : std::uint32_t { kLoad = 32, kStore, kModify, kFail };

}  // namespace

void AtomicCell::begin_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.begin_life(handle_, this, 'A');
}

void AtomicCell::end_life() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  if (Fiber& me = execution.me(); me.holds_store && me.held_cell == this) execution.flush(me);
  execution.end_life(handle_, this, 'A');
}

std::uint64_t AtomicCell::load(std::memory_order order) const noexcept {
  if (!execution.controls()) return bits_;
  const Entry entry;
  execution.schedule(true);
  const Object& object = execution.object(handle_, this, 'A');
  execution.touch(this, false);
  const Fiber& me = execution.me();
  const bool own = me.holds_store && me.held_cell == this;
  const std::uint64_t bits = own ? me.held_bits : bits_;
  if (acquires(order) && !own) execution.acquire(object.released);
  execution.saw(object, kLoad);
  if (trace.recording()) note("load", object, "= " + std::to_string(bits), order);
  return bits;
}

void AtomicCell::store(std::uint64_t bits, std::memory_order order) noexcept {
  if (!execution.controls()) {
    bits_ = bits;
    return;
  }
  const Entry entry;
  execution.schedule();
  Object& object = execution.object(handle_, this, 'A');
  execution.touch(this, false);
  execution.flush_mine();
  execution.saw(object, kStore);
  if (execution.options().store_delay && order != std::memory_order_seq_cst && execution.choose_delay()) {
    execution.hold_store(*this, bits, releases(order));
    if (releases(order)) execution.advance_epoch();
    if (trace.recording()) note("delayed store", object, ":= " + std::to_string(bits), order);
    return;
  }
  if (trace.recording()) note("store", object, ":= " + std::to_string(bits) + ", was " + std::to_string(bits_), order);
  if (bits_ != bits) execution.note_write();
  bits_ = bits;
  object.released = releases(order) ? execution.me().clock : VectorClock{};
  if (releases(order)) execution.advance_epoch();
  execution.changed(object);
}

std::uint64_t AtomicCell::modify(std::string_view what, Update update, std::uint64_t operand,
                                 std::memory_order order) noexcept {
  if (!execution.controls()) {
    const std::uint64_t old = bits_;
    bits_ = update(old, operand);
    return old;
  }
  const Entry entry;
  execution.schedule();
  Object& object = execution.object(handle_, this, 'A');
  execution.touch(this, false);
  execution.flush_mine();
  const std::uint64_t old = bits_;
  bits_ = update(old, operand);
  if (bits_ != old) execution.note_write();
  if (acquires(order)) execution.acquire(object.released);
  if (releases(order)) {
    object.released.join(execution.me().clock);
    execution.advance_epoch();
  }
  execution.saw(object, kModify);
  execution.changed(object);
  if (trace.recording()) note(what, object, ":= " + std::to_string(bits_) + ", was " + std::to_string(old), order);
  return old;
}

bool AtomicCell::compare_exchange(std::uint64_t& expected, std::uint64_t desired, bool may_fail_spuriously,
                                  std::memory_order success, std::memory_order failure) noexcept {
  if (!execution.controls()) {
    const bool equal = bits_ == expected;
    (equal ? bits_ : expected) = equal ? desired : bits_;
    return equal;
  }
  const Entry entry;
  execution.schedule();
  Object& object = execution.object(handle_, this, 'A');
  execution.touch(this, false);
  execution.flush_mine();
  if (bits_ != expected || (may_fail_spuriously && execution.choose_spurious_failure())) {
    if (acquires(failure)) execution.acquire(object.released);
    execution.saw(object, kFail);
    if (trace.recording()) {
      note("compare_exchange", object, "from " + std::to_string(expected) + " fails, is " + std::to_string(bits_),
           failure);
    }
    expected = bits_;
    return false;
  }
  bits_ = desired;
  if (desired != expected) execution.note_write();
  if (acquires(success)) execution.acquire(object.released);
  if (releases(success)) {
    object.released.join(execution.me().clock);
    execution.advance_epoch();
  }
  execution.saw(object, kModify);
  execution.changed(object);
  if (trace.recording()) {
    note("compare_exchange", object, "from " + std::to_string(expected) + " to " + std::to_string(desired), success);
  }
  return true;
}

}  // namespace penstock::checker
