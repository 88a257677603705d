// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Our channels as the tests with random programs use them: an operation that is a value is done, and its outcome
/// noted in it.

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "channel/elements.hpp"
#include "channel/linearizability.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/task.hpp"

namespace penstock::testing {

/// A value that is not where it should be is received as one that nobody has sent.
class OurChannels {
 public:
  explicit OurChannels(const std::vector<std::size_t>& capacities) {
    for (const std::size_t capacity : capacities) channels_.push_back(std::make_unique<Channel<MoveOnly>>(capacity));
  }

  [[nodiscard]] Channel<MoveOnly>& channel(std::size_t index) const { return *channels_[index]; }
  [[nodiscard]] ChannelStats stats(std::size_t index) const { return channel(index).stats(); }

  /// Calls `operation` and notes what came of it; where that is kNothing, `status` says why.
  void run(Operation& operation, bool by_select, const Context& ctx) {
    if (by_select) return run_select(operation, ctx);
    const Case& only = operation.cases.front();
    Channel<MoveOnly>& on = channel(only.channel);
    const bool tries = !operation.waits && !ctx.can_end();
    if (only.action == Action::kClose) {
      finish(operation, on.close() ? OpStatus::kOk : OpStatus::kClosed);
    } else if (only.action == Action::kSend) {
      MoveOnly value(only.value);
      const OpStatus status = tries ? on.try_send(std::move(value)) : on.send(std::move(value), ctx);
      finish_send(operation, status, value);
    } else {
      finish_receive(operation, tries ? on.try_receive() : on.receive(ctx));
    }
  }

  /// The same for an operation that waits, in a coroutine.
  Task<> run_async(Operation& operation, bool by_select, const Context& ctx) {
    if (by_select) {
      co_await run_async_select(operation, ctx);
      co_return;
    }
    const Case& only = operation.cases.front();
    Channel<MoveOnly>& on = channel(only.channel);
    if (only.action == Action::kSend) {
      MoveOnly value(only.value);
      const OpStatus status = co_await on.async_send(std::move(value), ctx);
      finish_send(operation, status, value);
    } else {
      Received<MoveOnly> received = co_await on.async_receive(ctx);
      finish_receive(operation, std::move(received));
    }
  }

  std::vector<int> close_and_drain(std::size_t index) {
    std::vector<int> numbers;
    for (const MoveOnly& value : channel(index).close_and_drain()) numbers.push_back(value.number());
    return numbers;
  }

  static void finish_send(Operation& operation, OpStatus status, const MoveOnly& value) {
    finish(operation, status);
    if (is_misplaced(status == OpStatus::kOk, value, operation.cases.front().value)) misplace(operation);
  }
  static void finish_receive(Operation& operation, Received<MoveOnly> received) {
    finish(operation, received.status);
    if (received.value.has_value() != (received.status == OpStatus::kOk)) return misplace(operation);
    if (received.value) operation.value = received.value->number();
  }

 private:
  static constexpr int kMisplaced = -7;

  static void finish(Operation& operation, OpStatus status) {
    operation.status = status;
    operation.taken = status == OpStatus::kOk || status == OpStatus::kClosed ? 0 : Operation::kNothing;
  }
  static bool is_misplaced(bool was_sent, const MoveOnly& value, int number) {
    return was_sent ? !value.is_moved_from() : value.number() != number;
  }
  static void misplace(Operation& operation) {
    operation.cases.front() = {Action::kReceive, 0};
    operation.taken = 0;
    operation.status = OpStatus::kOk;
    operation.value = kMisplaced;
  }

  /// A select with three places, each with a send and a receive of which at most one is on a channel.
  struct Selecting {
    Selecting(const OurChannels& on, Operation& what) : operation(what) {
      values.reserve(3);
      for (std::size_t i = 0; i != 3; ++i) {
        values.emplace_back(i < what.cases.size() ? what.cases[i].value : 0);
        if (i >= what.cases.size()) continue;
        (what.cases[i].action == Action::kSend ? to : from)[i] = &on.channel(what.cases[i].channel);
      }
    }

    [[nodiscard]] SelectOrder order() const {
      return operation.in_order ? SelectOrder::kInOrder : SelectOrder::kRandom;
    }
    void got(const Received<MoveOnly>& received) {
      operation.status = received.status;
      misplaced = received.value.has_value() != (received.status == OpStatus::kOk);
      if (received.value) operation.value = received.value->number();
    }
    void finish(std::size_t index) {
      for (std::size_t i = 0; i != operation.cases.size(); ++i) {
        const bool was_sent = index == 2 * i + 1 && operation.status == OpStatus::kOk;
        if (is_misplaced(was_sent, values[i], operation.cases[i].value)) misplaced = true;
      }
      operation.taken = index == 6 ? Operation::kNothing : index / 2;
      if (misplaced) misplace(operation);
    }

    Operation& operation;
    std::array<Channel<MoveOnly>*, 3> from{};
    std::array<Channel<MoveOnly>*, 3> to{};
    std::vector<MoveOnly> values;
    bool misplaced = false;
  };

  void run_select(Operation& operation, const Context& ctx) {
    Selecting one(*this, operation);
    const auto got = [&](const Received<MoveOnly>& received) { one.got(received); };
    const auto gave = [&](OpStatus status) { operation.status = status; };
    const auto with = [&](auto&& last) {
      return select(one.order(), on_receive(one.from[0], got), on_send(one.to[0], std::move(one.values[0]), gave),
                    on_receive(one.from[1], got), on_send(one.to[1], std::move(one.values[1]), gave),
                    on_receive(one.from[2], got), on_send(one.to[2], std::move(one.values[2]), gave),
                    std::forward<decltype(last)>(last));
    };
    one.finish(operation.waits || ctx.can_end() ? with(on_done(ctx, gave)) : with(otherwise([] {})));
  }

  Task<> run_async_select(Operation& operation, const Context& ctx) {
    Selecting one(*this, operation);
    const auto got = [&](const Received<MoveOnly>& received) { one.got(received); };
    const auto gave = [&](OpStatus status) { operation.status = status; };
    const std::size_t index = co_await async_select(
        one.order(), on_receive(one.from[0], got), on_send(one.to[0], std::move(one.values[0]), gave),
        on_receive(one.from[1], got), on_send(one.to[1], std::move(one.values[1]), gave), on_receive(one.from[2], got),
        on_send(one.to[2], std::move(one.values[2]), gave), on_done(ctx, gave));
    one.finish(index);
  }

  std::vector<std::unique_ptr<Channel<MoveOnly>>> channels_;
};

}  // namespace penstock::testing
