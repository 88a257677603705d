// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Channels so simple that one can see that they are right: a queue and two lines for each, all behind one lock. Ours
/// are compared with them. On request they are wrong in one way or another, to see whether a test finds that.

#include <algorithm>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "channel/linearizability.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::testing {

enum class Fault : unsigned char {
  kNone,
  kNewestFirst,        ///< Gives the newest of the buffered values.
  kLosesValue,         ///< Forgets a value that it took, now and then.
  kDoublesValue,       ///< Keeps a value that it gave, now and then.
  kSendsAfterClose,    ///< Takes a value although it is closed.
  kOverlooksReady,     ///< Says that nothing is ready, now and then.
  kForgetsWaiter,      ///< Puts a value into the buffer although a receiver waits.
  kTooLarge,           ///< Has one place more than it should.
  kClosesTwice,        ///< Says of every close that it was the first.
  kDropsAtClose,       ///< Loses what is buffered when it is closed.
  kSwallowsOnTimeout,  ///< A receive that gives up takes a value with it.
  kTakesTwoCases,      ///< A select that has taken a case stays in the line of its last one.
};

class ReferenceChannels {
 public:
  explicit ReferenceChannels(const std::vector<std::size_t>& capacities, Fault fault = Fault::kNone) : fault_(fault) {
    for (const std::size_t capacity : capacities)
      channels_.push_back(One{capacity + (fault == Fault::kTooLarge ? 1 : 0)});
  }

  /// Completes `operation` if that can be done now, or if it must not wait; else puts it in line. Prefers the first
  /// case that is ready. Returns whether it has completed.
  bool start(Operation& operation) {
    const std::lock_guard lock(mutex_);
    if (!strikes(Fault::kOverlooksReady) || operation.waits) {
      for (std::size_t index = 0; index != operation.cases.size(); ++index) {
        if (attempt(operation, index)) return true;
      }
    }
    if (operation.waits) {
      for (std::size_t index = 0; index != operation.cases.size(); ++index)
        line(operation, index).push_back({&operation, index});
    } else {
      operation.taken = Operation::kNothing;
    }
    return !operation.waits;
  }

  /// Lets an operation that is in line come to nothing. Returns false if it has completed.
  bool give_up(Operation& operation) {
    const std::lock_guard lock(mutex_);
    if (operation.taken != Operation::kPending) return false;
    const Case& first = operation.cases.front();
    channels_[first.channel].swallows = fault_ == Fault::kSwallowsOnTimeout && first.action == Action::kReceive;
    finish(operation, Operation::kNothing, OpStatus::kOk);
    return true;
  }

  [[nodiscard]] bool has_completed(const Operation& operation) {
    const std::lock_guard lock(mutex_);
    return operation.taken != Operation::kPending;
  }

  /// `start`, and then waits; a select in whatever form.
  void run(Operation& operation, bool /*by_select*/, const Context& ctx) {
    if (start(operation)) return;
    while (!has_completed(operation)) {
      if (ctx.is_done() && give_up(operation)) return;
      std::this_thread::yield();
    }
  }

  [[nodiscard]] ChannelStats stats(std::size_t channel) {
    const std::lock_guard lock(mutex_);
    ChannelStats stats = channels_[channel].stats;
    stats.blocked_senders = channels_[channel].senders.size();
    stats.blocked_receivers = channels_[channel].receivers.size();
    return stats;
  }

  [[nodiscard]] std::size_t size(std::size_t channel) {
    const std::lock_guard lock(mutex_);
    return channels_[channel].values.size();
  }

  [[nodiscard]] bool is_closed(std::size_t channel) {
    const std::lock_guard lock(mutex_);
    return channels_[channel].closed;
  }

  std::vector<int> close_and_drain(std::size_t index) {
    const std::lock_guard lock(mutex_);
    One& channel = channels_[index];
    close(channel);
    std::vector<int> values(channel.values.begin(), channel.values.end());
    channel.stats.drained += values.size();
    channel.values.clear();
    return values;
  }

 private:
  struct Waiting {
    Operation* operation;
    std::size_t index;
  };
  using Line = std::deque<Waiting>;
  struct One {
    std::size_t capacity;
    std::deque<int> values{};
    bool closed = false;
    Line senders{};
    Line receivers{};
    ChannelStats stats{};
    bool swallows = false;
  };

  bool attempt(Operation& operation, std::size_t index) {
    const Case& each = operation.cases[index];
    One& channel = channels_[each.channel];
    switch (each.action) {
      case Action::kSend:
        return send(channel, operation, index);
      case Action::kReceive:
        return receive(channel, operation, index);
      default:
        finish(operation, index, close(channel) ? OpStatus::kOk : OpStatus::kClosed);
        return true;
    }
  }

  bool send(One& channel, Operation& operation, std::size_t index) {
    const int value = operation.cases[index].value;
    const bool open = !channel.closed || (fault_ == Fault::kSendsAfterClose && channel.capacity != 0);
    if (!open) {
      finish(operation, index, OpStatus::kClosed);
      return true;
    }
    const bool has_room = channel.values.size() < channel.capacity;
    if (std::exchange(channel.swallows, false)) {
      // gone
    } else if (!channel.receivers.empty() && !(has_room && fault_ == Fault::kForgetsWaiter)) {
      const Waiting first = channel.receivers.front();
      ++channel.stats.receives;
      first.operation->value = value;
      finish(*first.operation, first.index, OpStatus::kOk);
    } else if (has_room) {
      if (!strikes(Fault::kLosesValue)) channel.values.push_back(value);
      channel.stats.high_water = std::max(channel.stats.high_water, channel.values.size());
    } else {
      return false;
    }
    ++channel.stats.sends;
    finish(operation, index, OpStatus::kOk);
    return true;
  }

  bool receive(One& channel, Operation& operation, std::size_t index) {
    if (!channel.values.empty()) {
      if (fault_ == Fault::kNewestFirst) std::swap(channel.values.front(), channel.values.back());
      operation.value = channel.values.front();
      if (!strikes(Fault::kDoublesValue)) channel.values.pop_front();
      if (!channel.senders.empty() && channel.values.size() < channel.capacity)
        channel.values.push_back(take_from_sender(channel));
    } else if (!channel.senders.empty()) {
      operation.value = take_from_sender(channel);
    } else if (channel.closed) {
      finish(operation, index, OpStatus::kClosed);
      return true;
    } else {
      return false;
    }
    ++channel.stats.receives;
    finish(operation, index, OpStatus::kOk);
    return true;
  }

  int take_from_sender(One& channel) {
    const Waiting first = channel.senders.front();
    ++channel.stats.sends;
    finish(*first.operation, first.index, OpStatus::kOk);
    return first.operation->cases[first.index].value;
  }

  bool close(One& channel) {
    ++channel.stats.closes;
    const bool first = !std::exchange(channel.closed, true) || fault_ == Fault::kClosesTwice;
    if (fault_ == Fault::kDropsAtClose) channel.values.clear();
    for (Line* const each : {&channel.receivers, &channel.senders}) {
      while (!each->empty()) finish(*each->front().operation, each->front().index, OpStatus::kClosed);
    }
    return first;
  }

  Line& line(Operation& operation, std::size_t index) {
    One& channel = channels_[operation.cases[index].channel];
    return operation.cases[index].action == Action::kSend ? channel.senders : channel.receivers;
  }

  void finish(Operation& operation, std::size_t index, OpStatus status) {
    for (std::size_t other = 0; other != operation.cases.size(); ++other) {
      const bool forgets = fault_ == Fault::kTakesTwoCases && other + 1 == operation.cases.size() && other != index;
      if (closes(operation.cases[other]) || forgets) continue;
      Line& its = line(operation, other);
      its.erase(
          std::remove_if(its.begin(), its.end(), [&](const Waiting& each) { return each.operation == &operation; }),
          its.end());
    }
    operation.taken = index;
    operation.status = status;
  }

  /// Whether it is time for an occasional fault.
  bool strikes(Fault fault) { return fault_ == fault && ++strikes_ % 4 == 0; }

  std::mutex mutex_;
  const Fault fault_;
  std::vector<One> channels_;
  unsigned strikes_ = 0;
};

}  // namespace penstock::testing
