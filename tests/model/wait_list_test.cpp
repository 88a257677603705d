// SPDX-License-Identifier: MIT

// The wait list: one winner for each wait, nothing lost and nothing handed over twice, whoever comes in between. The
// subject is the smallest thing that waits: a mailbox without capacity.

#include "penstock/core/detail/wait_list.hpp"

#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "penstock/core/context.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/core/mutex.hpp"

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using namespace std::chrono_literals;
using checker::must_pass;
using detail::Waiter;
using detail::WaitNode;
namespace world = penstock::detail::world;

namespace {

class Mailbox {
 public:
  OpStatus receive(int& value, const Context& ctx = Context::background()) {
    Waiter waiter(ctx);
    WaitNode node(waiter, &value);
    {
      MutexLock lock(mutex_);
      if (take(value)) return OpStatus::kOk;
      if (closed_) return OpStatus::kClosed;
      waiting_.push(node);
    }
    const Waiter::Outcome outcome = waiter.wait();
    if (outcome < Waiter::kServed) forget(node);
    return detail::to_op_status(outcome);
  }

  void send(int value) {
    WaitNode* node = nullptr;
    {
      MutexLock lock(mutex_);
      node = waiting_.claim_first();
      if (node == nullptr) return values_.push_back(value);
      *static_cast<int*>(node->slot) = value;
    }
    node->waiter->wake();
  }

  void close() {
    detail::WakeList wake;
    {
      MutexLock lock(mutex_);
      closed_ = true;
      waiting_.claim_all(Waiter::kClosed, wake);
    }
    wake.wake_all();
  }

  bool try_receive(int& value) {
    MutexLock lock(mutex_);
    return take(value);
  }

  /// Lists a wait, unless a value is there.
  bool list(WaitNode& node, int& value) {
    MutexLock lock(mutex_);
    if (take(value)) return false;
    waiting_.push(node);
    return true;
  }
  void forget(WaitNode& node) {
    MutexLock lock(mutex_);
    waiting_.remove(node);
  }

 private:
  bool take(int& value) {
    if (values_.empty()) return false;
    value = values_.front();
    values_.pop_front();
    return true;
  }

  Mutex mutex_;
  detail::WaitList waiting_;
  std::deque<int> values_;
  bool closed_ = false;
};

/// What a coroutine that receives does, by hand: suspended in its frame on the heap, resumed through an executor.
class SuspendedReceive : private Work {
 public:
  SuspendedReceive(Mailbox& mailbox, const Context& ctx, detail::Parker& resumed)
      : Work([](Work& work) noexcept { static_cast<SuspendedReceive&>(work).resume(); }),
        mailbox_(mailbox),
        resumed_(resumed),
        waiter_(ctx, Executor::inline_executor(), *this),
        node_(waiter_, &value) {}

  /// Receives, now or later; `resumed` gets a token once `value` and `outcome` are final.
  void start() {
    if (!mailbox_.list(node_, value)) {
      outcome = Waiter::kServed;
      resumed_.unpark();
    } else if (!waiter_.suspend()) {
      resume();  // claimed before it was suspended: goes on at once
    }
  }

  int value = 0;
  Waiter::Outcome outcome = Waiter::kPending;

 private:
  void resume() {
    outcome = waiter_.resume();
    if (outcome < Waiter::kServed) mailbox_.forget(node_);
    resumed_.unpark();
  }

  Mailbox& mailbox_;
  detail::Parker& resumed_;
  Waiter waiter_;
  WaitNode node_;
};

/// Every value was received by somebody or is still there.
void check_conserved(Mailbox& mailbox, int sent, int received) {
  for (int rest = 0; mailbox.try_receive(rest);) received += rest;
  MODEL_ASSERT(received == sent);
}

}  // namespace

TEST_CASE("WaitList: two waiters and two values", "[model][wait_list]") {
  must_pass({.name = "wait list, two waiters and a sender", .preemptions = 3}, [] {
    Mailbox mailbox;
    int first_value = 0;
    int second_value = 0;
    world::Thread first([&] { MODEL_ASSERT(mailbox.receive(first_value) == OpStatus::kOk); });
    world::Thread second([&] { MODEL_ASSERT(mailbox.receive(second_value) == OpStatus::kOk); });
    mailbox.send(1);
    mailbox.send(2);
    first.join();
    second.join();
    MODEL_ASSERT(first_value + second_value == 3 && first_value != second_value && first_value != 0);
  });
}

TEST_CASE("WaitList: a waiter, a sender and a canceller", "[model][wait_list]") {
  must_pass({.name = "wait list, canceller", .preemptions = 3}, [] {
    Mailbox mailbox;
    auto [ctx, source] = Context::background().with_cancel();
    int value = 0;
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    const OpStatus status = mailbox.receive(value, ctx);
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kCancelled);
    MODEL_ASSERT((status == OpStatus::kOk) == (value == 7));
    sender.join();
    canceller.join();
    check_conserved(mailbox, 7, value);
  });
}

TEST_CASE("WaitList: two waiters under one context, a sender and a canceller", "[model][wait_list]") {
  must_pass({.name = "wait list, two waiters and a canceller", .preemptions = 3}, [] {
    Mailbox mailbox;
    auto [ctx, source] = Context::background().with_cancel();
    int value = 0;
    int other_value = 0;
    const auto receive = [&, &under = ctx](int& to) {
      MODEL_ASSERT((mailbox.receive(to, under) == OpStatus::kOk) == (to == 7));
    };
    world::Thread other([&] { receive(other_value); });
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    receive(value);
    other.join();
    sender.join();
    canceller.join();
    check_conserved(mailbox, 7, value + other_value);
  });
}

TEST_CASE("WaitList: two waiters, a sender and a closer", "[model][wait_list]") {
  must_pass({.name = "wait list, closer", .preemptions = 3}, [] {
    Mailbox mailbox;
    int value = 0;
    int other_value = 0;
    world::Thread other([&] {
      const OpStatus status = mailbox.receive(other_value);
      MODEL_ASSERT((status == OpStatus::kOk) == (other_value == 7));
    });
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread closer([&] { mailbox.close(); });
    const OpStatus status = mailbox.receive(value);
    MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kClosed);
    other.join();
    sender.join();
    closer.join();
    check_conserved(mailbox, 7, value + other_value);
  });
}

TEST_CASE("WaitList: a canceller and a closer", "[model][wait_list]") {
  must_pass({.name = "wait list, canceller and closer", .preemptions = 3}, [] {
    Mailbox mailbox;
    auto [ctx, source] = Context::background().with_cancel();
    int value = 0;
    world::Thread canceller([mine = source] { mine.cancel(); });
    world::Thread closer([&] { mailbox.close(); });
    const OpStatus status = mailbox.receive(value, ctx);
    MODEL_ASSERT(status == OpStatus::kCancelled || status == OpStatus::kClosed);
    canceller.join();
    closer.join();
  });
}

TEST_CASE("WaitList: a deadline in machine time and a sender", "[model][wait_list]") {
  for (const std::uint32_t spurious : {0U, 1U}) {
    must_pass({.name = "wait list, deadline", .preemptions = 3, .spurious_wakes = spurious}, [] {
      Mailbox mailbox;
      int value = 0;
      world::Thread sender([&] { mailbox.send(7); });
      const TimePoint deadline = world::now() + 5ms;
      const OpStatus status = mailbox.receive(value, Context::background().with_deadline(deadline));
      MODEL_ASSERT(status == OpStatus::kOk || status == OpStatus::kTimedOut);
      MODEL_ASSERT((status == OpStatus::kOk) == (value == 7));
      if (status == OpStatus::kTimedOut) MODEL_ASSERT(world::now() >= deadline);
      sender.join();
      check_conserved(mailbox, 7, value);
    });
  }
}

TEST_CASE("WaitList: a deadline, a canceller and a sender", "[model][wait_list]") {
  must_pass({.name = "wait list, deadline and canceller", .preemptions = 3}, [] {
    Mailbox mailbox;
    int value = 0;
    auto [ctx, source] = Context::background().with_timeout(5ms).with_cancel();
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    const OpStatus status = mailbox.receive(value, ctx);
    MODEL_ASSERT((status == OpStatus::kOk) == (value == 7));
    sender.join();
    canceller.join();
    check_conserved(mailbox, 7, value);
  });
}

TEST_CASE("WaitList: a deadline on a clock that another thread advances", "[model][wait_list]") {
  must_pass({.name = "wait list, manual clock", .preemptions = 3}, [] {
    ManualClock clock;
    Mailbox mailbox;
    int value = 0;
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread advancer([&] { clock.advance(10ms); });
    const OpStatus status = mailbox.receive(value, Context(clock).with_timeout(5ms));
    if (status == OpStatus::kTimedOut) MODEL_ASSERT(clock.now().time_since_epoch() >= 1h + 5ms);
    MODEL_ASSERT((status == OpStatus::kOk) == (value == 7));
    sender.join();
    advancer.join();
    MODEL_ASSERT(clock.armed() == 0);
    check_conserved(mailbox, 7, value);
  });
}

TEST_CASE("WaitList: a suspended wait, a sender and a canceller", "[model][wait_list]") {
  must_pass({.name = "wait list, suspended", .preemptions = 3}, [] {
    Mailbox mailbox;
    detail::Parker resumed;
    auto [ctx, source] = Context::background().with_cancel();
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread canceller([mine = source] { mine.cancel(); });
    auto receive = std::make_unique<SuspendedReceive>(mailbox, ctx, resumed);
    receive->start();
    resumed.park();
    const int value = receive->value;
    MODEL_ASSERT((receive->outcome == Waiter::kServed) == (value == 7));
    receive.reset();  // the claimer may not be through, but it is done with the frame
    sender.join();
    canceller.join();
    check_conserved(mailbox, 7, value);
  });
}

TEST_CASE("WaitList: a suspended wait, a sender and a clock", "[model][wait_list]") {
  must_pass({.name = "wait list, suspended with deadline", .preemptions = 3}, [] {
    ManualClock clock;
    Mailbox mailbox;
    detail::Parker resumed;
    const Context ctx = Context(clock).with_timeout(5ms);
    world::Thread sender([&] { mailbox.send(7); });
    world::Thread advancer([&] { clock.advance(10ms); });
    auto receive = std::make_unique<SuspendedReceive>(mailbox, ctx, resumed);
    receive->start();
    resumed.park();
    const int value = receive->value;
    receive.reset();
    sender.join();
    advancer.join();
    check_conserved(mailbox, 7, value);
  });
}
