// SPDX-License-Identifier: MIT

// The same random program, step by step, on our channels and on ones that are obviously right: who is served and when,
// with what, and every figure after every step has to be the same. Who waits is a coroutine on the loop of the test, or
// a thread for a select. PENSTOCK_SEED=<seed> runs one program, PENSTOCK_LONG=1 more of them.

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <list>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "channel/linearizability_ours.hpp"
#include "channel/linearizability_program.hpp"
#include "channel/linearizability_reference.hpp"
#include "penstock/core/manual_clock.hpp"
#include "support/catch.hpp"
#include "support/long_run.hpp"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using namespace testing;

/// A coroutine that the test owns, so that it can be destroyed while it waits.
struct Owned {
  struct promise_type {
    template <class... Arguments>
    explicit promise_type(RunLoop& loop, Arguments&...) noexcept : on(&loop) {}
    Owned get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
    [[nodiscard]] Executor* executor() const noexcept { return on; }
    RunLoop* on;
  };
  std::coroutine_handle<promise_type> handle;
};

Owned send_on(RunLoop& /*loop*/, Channel<MoveOnly>& channel, Operation& operation, Context ctx) {
  MoveOnly value(operation.cases.front().value);
  const OpStatus status = co_await channel.async_send(std::move(value), ctx);
  OurChannels::finish_send(operation, status, value);
}
Owned receive_on(RunLoop& /*loop*/, Channel<MoveOnly>& channel, Operation& operation, Context ctx) {
  Received<MoveOnly> received = co_await channel.async_receive(ctx);
  OurChannels::finish_receive(operation, std::move(received));
}

/// An operation that is under way on both.
struct Waiting {
  explicit Waiting(const Operation& operation) : expected(operation), actual(operation) {}
  ~Waiting() {
    if (coroutine) coroutine.destroy();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  Operation expected;
  Operation actual;
  OpStatus reason = OpStatus::kOk;  ///< Expected where nothing comes of it.
  TimePoint deadline = TimePoint::max();
  Context::Cancellable cancellable = Context::background().with_cancel();
  std::coroutine_handle<> coroutine;
  std::unique_ptr<Call<bool>> thread;  // goes first, as it uses the rest
};

class Comparison {
 public:
  explicit Comparison(std::uint64_t seed, Fault fault = Fault::kNone)
      : limit_(fault == Fault::kNone ? 30s : 20ms),
        dice_(seed),
        capacities_(choose(dice_)),
        ours_(capacities_),
        reference_(capacities_, fault) {}
  ~Comparison() {
    for (std::size_t channel = 0; channel != capacities_.size(); ++channel) ours_.channel(channel).close();
    loop_.run_ready();
  }
  Comparison(const Comparison&) = delete;
  Comparison& operator=(const Comparison&) = delete;

  /// Returns what differs, or nothing.
  std::string run() {
    for (int step = 0; step != 40 && problem_.empty(); ++step) {
      take_step();
      compare();
    }
    for (std::size_t channel = 0; channel != capacities_.size(); ++channel) {
      drain(channel);
      if (problem_.empty()) compare();
    }
    if (problem_.empty() && !waiting_.empty()) problem_ = "somebody still waits";
    return problem_.empty() ? "" : problem_ + log_;
  }

 private:
  static std::vector<std::size_t> choose(Dice& dice) {
    constexpr std::array<std::size_t, 6> kCapacities{0, 0, 1, 1, 3, 64};
    std::vector<std::size_t> capacities;
    for (std::size_t left = 1 + dice.below(3); left != 0; --left) capacities.push_back(kCapacities[dice.below(6)]);
    return capacities;
  }

  Case random_case() {
    const std::size_t channel = dice_.below(capacities_.size());
    return dice_.percent(50) ? Case{Action::kSend, channel, next_value_++} : Case{Action::kReceive, channel};
  }

  void take_step() {
    const std::size_t what = dice_.below(100);
    if (what < 30) {
      wait_plainly();
    } else if (what < 60) {
      do_at_once(random_case());
    } else if (what < 75) {
      select_at_once();
    } else if (what < 82) {
      select_and_wait();
    } else if (what < 90) {
      end_one();
    } else if (what < 96) {
      advance();
    } else if (what < 98) {
      do_at_once({Action::kClose, dice_.below(capacities_.size())});
    } else {
      drain(dice_.below(capacities_.size()));
    }
  }

  void wait_plainly() {
    Operation operation;
    operation.cases = {random_case()};
    Waiting& each = waiting_.emplace_back(operation);
    Context ctx = Context(clock_);
    const std::size_t limit = dice_.below(4);
    if (limit == 0) {
      each.deadline = clock_.now() + std::chrono::milliseconds(dice_.below(5));
      ctx = ctx.with_deadline(each.deadline);
    } else {
      ctx = each.cancellable.context;
    }
    note(each, "waits");
    if (!reference_.start(each.expected) && clock_.now() >= each.deadline) give_up(each, OpStatus::kTimedOut);
    Channel<MoveOnly>& on = ours_.channel(operation.cases.front().channel);
    each.coroutine = (operation.cases.front().action == Action::kSend ? send_on(loop_, on, each.actual, ctx)
                                                                      : receive_on(loop_, on, each.actual, ctx))
                         .handle;
  }

  void do_at_once(Case each) {
    Operation operation;
    operation.cases = {each};
    operation.waits = false;
    Waiting& done = waiting_.emplace_back(operation);
    done.reason = each.action == Action::kSend ? OpStatus::kFull : OpStatus::kEmpty;
    note(done, "tries");
    reference_.start(done.expected);
    ours_.run(done.actual, false, Context::background());
  }

  Operation random_select() {
    Operation operation;
    for (std::size_t left = 1 + dice_.below(3); left != 0; --left) operation.cases.push_back(random_case());
    operation.in_order = true;
    return operation;
  }

  void select_at_once() {
    Operation operation = random_select();
    operation.waits = false;
    Waiting& done = waiting_.emplace_back(operation);
    note(done, "selects");
    reference_.start(done.expected);
    ours_.run(done.actual, true, Context::background());
  }

  void select_and_wait() {
    Waiting& each = waiting_.emplace_back(random_select());
    note(each, "selects, and waits");
    if (reference_.start(each.expected)) {
      ours_.run(each.actual, true, Context::background().with_timeout(10s));  // if it waits, that is a difference
      return;
    }
    each.thread = std::make_unique<Call<bool>>([this, &each] {
      ours_.run(each.actual, true, each.cancellable.context);
      return true;
    });
  }

  /// Cancels one that waits, or destroys it if it is a coroutine.
  void end_one() {
    if (waiting_.empty()) return;
    auto each = std::next(waiting_.begin(), static_cast<std::ptrdiff_t>(dice_.below(waiting_.size())));
    if (each->coroutine && dice_.percent(40)) {
      note(*each, "is destroyed");
      reference_.give_up(each->expected);
      waiting_.erase(each);
    } else if (each->deadline == TimePoint::max()) {
      note(*each, "is cancelled");
      give_up(*each, OpStatus::kCancelled);
      each->cancellable.source.cancel();
    }
  }

  void advance() {
    log_ += "\n  advance";
    const TimePoint now = clock_.now() + 1ms;
    for (Waiting& each : waiting_) {
      if (each.deadline <= now) give_up(each, OpStatus::kTimedOut);
    }
    clock_.advance(1ms);
  }

  void give_up(Waiting& each, OpStatus reason) {
    if (reference_.give_up(each.expected)) each.reason = reason;
  }

  void drain(std::size_t channel) {
    log_ += "\n  drain " + std::to_string(channel);
    if (reference_.close_and_drain(channel) != ours_.close_and_drain(channel)) problem_ = "what is drained differs";
  }

  void compare() {
    loop_.run_ready();
    for (auto each = waiting_.begin(); each != waiting_.end();) {
      if (!reference_.has_completed(each->expected)) {
        if (each->thread ? each->thread->has_ended() : each->actual.taken != Operation::kPending)
          return differs(*each, "has completed, but should wait");
        ++each;
        continue;
      }
      if (each->thread && !eventually([&] { return each->thread->has_ended(); }, limit_))
        return differs(*each, "waits, but should have completed");
      const OpStatus status = each->expected.taken == Operation::kNothing ? each->reason : each->expected.status;
      const bool received = status == OpStatus::kOk && each->expected.taken != Operation::kNothing &&
                            each->expected.cases[each->expected.taken].action == Action::kReceive;
      if (each->actual.taken != each->expected.taken || each->actual.status != status ||
          (received && each->actual.value != each->expected.value)) {
        return differs(*each, "has come to something else");
      }
      each = waiting_.erase(each);
    }
    for (std::size_t channel = 0; channel != capacities_.size(); ++channel) compare(channel);
  }

  void compare(std::size_t channel) {
    // A select that has just begun to wait gets into line on its own time, and leaves its other lines so.
    const ChannelStats expected = reference_.stats(channel);
    const bool lines_are_equal = eventually(
        [&] {
          const ChannelStats stats = ours_.stats(channel);
          return stats.blocked_senders == expected.blocked_senders &&
                 stats.blocked_receivers == expected.blocked_receivers;
        },
        limit_);
    const ChannelStats stats = ours_.stats(channel);
    const Channel<MoveOnly>& actual = ours_.channel(channel);
    if (!lines_are_equal || stats.sends != expected.sends || stats.receives != expected.receives ||
        stats.drained != expected.drained || stats.closes != expected.closes ||
        stats.high_water != expected.high_water || actual.size() != reference_.size(channel) ||
        actual.is_closed() != reference_.is_closed(channel) || actual.capacity() != capacities_[channel]) {
      problem_ = "the figures of channel " + std::to_string(channel) + " differ";
    }
  }

  void note(const Waiting& each, const std::string& what) {
    log_ += "\n  " + what + ":";
    for (const Case& one : each.expected.cases) {
      log_ += (one.action == Action::kSend ? " send " + std::to_string(one.value) + " to "
               : closes(one)               ? std::string(" close ")
                                           : std::string(" receive from ")) +
              std::to_string(one.channel);
    }
  }

  void differs(const Waiting& each, const std::string& how) {
    note(each, how);
    problem_ = "an operation differs, the last in the log";
  }

  const std::chrono::nanoseconds limit_;  // of what should come soon
  Dice dice_;
  const std::vector<std::size_t> capacities_;
  OurChannels ours_;
  ReferenceChannels reference_;
  RunLoop loop_;
  ManualClock clock_;
  std::list<Waiting> waiting_;
  int next_value_ = 1;
  std::string problem_;
  std::string log_;
};

TEST_CASE("Channel: does step by step what an obviously right one does", "[channel][select][linearizability]") {
  std::uint64_t first = std::random_device()() % 1'000'000'000U * 1000U;
  std::uint64_t count = 3'000;
  if (testing::runs_long()) count = 100'000;
  if (const char* const replay = std::getenv("PENSTOCK_SEED")) {
    first = std::strtoull(replay, nullptr, 10);
    count = 1;
  }
  for (std::uint64_t seed = first; seed != first + count; ++seed) {
    const std::string problem = Comparison(seed).run();
    if (!problem.empty()) FAIL("PENSTOCK_SEED=" << seed << ": " << problem);
  }
}

TEST_CASE("Channel: the step by step comparison finds what differs", "[channel][linearizability]") {
  const Fault fault = GENERATE(Fault::kNewestFirst, Fault::kLosesValue, Fault::kDoublesValue, Fault::kSendsAfterClose,
                               Fault::kOverlooksReady, Fault::kForgetsWaiter, Fault::kTooLarge, Fault::kClosesTwice,
                               Fault::kDropsAtClose, Fault::kSwallowsOnTimeout);
  CAPTURE(static_cast<int>(fault));
  bool found = false;
  for (std::uint64_t seed = 0; seed != 500 && !found; ++seed) found = !Comparison(seed, fault).run().empty();
  CHECK(found);
}

}  // namespace
}  // namespace penstock
