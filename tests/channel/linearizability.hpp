// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Whether what several parties saw of some channels can be put into one order in which it makes sense.
///
/// The order must keep each party's own, and, where the operations carry stamps, must not put an operation before one
/// that had returned when it was invoked. The search is that of Wing and Gong ("Testing and verifying concurrent
/// objects", 1993), which tries what may come next, with the memory of Lowe ("Testing for linearizability", 2017): a
/// point that was reached by the same operations, with the channels in the same state, is not explored again.
///
/// What makes sense: a channel with a buffer is a queue of bounded length, that can be closed. Without a buffer a value
/// moves in one step that is both a send and a receive; both must have been under way, and one of them must have been
/// ready to wait. A select is the one operation of its case that was taken, in a step in which no case that had to be
/// preferred was ready. An operation that came to nothing is a step without effect, in which it could not go ahead.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "penstock/core/op_status.hpp"

namespace penstock::testing {

enum class Action : unsigned char {
  kSend,
  kReceive,
  kClose,  ///< Says whether it was the first.
  kShut,   ///< A close that does not say.
};

struct Case {
  Action action;
  std::size_t channel;
  int value = 0;  ///< What a send would send; each value is sent once.
};

inline bool closes(const Case& each) { return each.action == Action::kClose || each.action == Action::kShut; }

/// One call of a party: a plain operation has one case, a select one or more.
struct Operation {
  static constexpr std::size_t kPending = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t kNothing = kPending - 1;
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  std::vector<Case> cases;
  bool in_order = false;  ///< The first case that is ready has to be taken.
  bool waits = true;      ///< It may wait: no `try_`, no otherwise, no context that had ended before.
  bool prefers = true;    ///< It comes to nothing only if no case is ready; not so if a time-out is a case like others.

  std::size_t taken = kPending;     ///< The case, or kNothing, or kPending if it has not returned.
  OpStatus status = OpStatus::kOk;  ///< kOk or kClosed; a close that came late has kClosed.
  int value = 0;                    ///< What was received.
  std::uint64_t invoked = 0;
  std::uint64_t returned = kNever;
};

struct History {
  std::vector<std::size_t> capacities;          ///< Of each channel.
  std::vector<std::vector<Operation>> parties;  ///< Each party's operations, in its order.
};

/// What the operations that have not returned may have done.
enum class Pending : unsigned char {
  kMayHaveActed,
  kAreStuck,  ///< Nothing, and nothing can let them go: each must be waiting for good reason.
};

class LinearizabilityChecker {
 public:
  LinearizabilityChecker(const History& history, Pending pending) : history_(history), pending_(pending) {
    for (std::size_t party = 0; party != history.parties.size(); ++party) {
      const std::vector<Operation>& all = history.parties[party];
      for (std::size_t index = 0; index != all.size(); ++index) {
        const Operation& operation = all[index];
        if (operation.taken == Operation::kPending) has_pending_ = true;
        if (operation.taken >= operation.cases.size() || operation.status != OpStatus::kOk) continue;
        if (operation.cases[operation.taken].action == Action::kReceive)
          receives_.emplace(operation.value, Place{party, index, &operation});
      }
    }
  }

  bool search() {
    Point start;
    start.next.resize(history_.parties.size());
    start.channels.resize(history_.capacities.size());
    return search(start);
  }

 private:
  struct ChannelModel {
    std::vector<int> values;
    bool closed = false;
  };
  struct Point {
    std::vector<unsigned char> next;  // of each party, its first operation that has not been placed
    std::vector<ChannelModel> channels;
  };

  bool search(const Point& at) {
    std::uint64_t first_return = Operation::kNever;
    bool all_placed = true;
    for (std::size_t party = 0; party != at.next.size(); ++party) {
      const Operation* const operation = next(at, party);
      if (operation == nullptr || operation->taken == Operation::kPending) continue;
      all_placed = false;
      first_return = std::min(first_return, operation->returned);
    }
    if (all_placed && (pending_ == Pending::kMayHaveActed || all_stuck(at))) return true;
    if (!seen_.insert(key(at)).second) return false;
    // An operation that changes nothing and can be placed here may as well be: whatever works without it does with it.
    for (std::size_t party = 0; party != at.next.size(); ++party) {
      const Operation* const operation = next(at, party);
      if (operation == nullptr || operation->invoked >= first_return || !changes_nothing(*operation)) continue;
      Point after = at;
      ++after.next[party];
      if (respects_preference(at, *operation) && (operation->taken == Operation::kNothing || act(after, *operation)))
        return search(after);
    }
    for (std::size_t party = 0; party != at.next.size(); ++party) {
      const Operation* const operation = next(at, party);
      if (operation == nullptr || operation->invoked >= first_return || changes_nothing(*operation)) continue;
      if (place(at, party, *operation, first_return)) return true;
    }
    return false;
  }

  // Tries all that `operation` can have been at this point.
  bool place(const Point& at, std::size_t party, const Operation& operation, std::uint64_t first_return) {
    if (operation.taken == Operation::kPending) {
      if (pending_ == Pending::kAreStuck) return false;
      for (std::size_t index = 0; index != operation.cases.size(); ++index) {
        Point after = at;
        ++after.next[party];
        ChannelModel& channel = after.channels[operation.cases[index].channel];
        Operation guess = operation;
        guess.taken = index;
        guess.value = channel.values.empty() ? 0 : channel.values.front();
        if (act(after, guess) && search(after)) return true;
      }
      return false;
    }
    if (!respects_preference(at, operation)) return false;
    Point after = at;
    ++after.next[party];
    if (act(after, operation)) return search(after);
    return meets(operation) && place_pair(after, operation, first_return);
  }

  // Completes a send or receive without a buffer by each operation that can be its other half. `after` has it placed.
  bool place_pair(const Point& after, const Operation& operation, std::uint64_t first_return) {
    const Case& mine = operation.cases[operation.taken];
    if (after.channels[mine.channel].closed) return false;
    const int value = mine.action == Action::kSend ? mine.value : operation.value;
    for (std::size_t party = 0; party != after.next.size(); ++party) {
      const Operation* const other = next(after, party);
      if (other == nullptr || other->invoked >= first_return || !(operation.waits || other->waits)) continue;
      if (other->taken == Operation::kNothing) continue;
      if (other->taken == Operation::kPending && pending_ == Pending::kAreStuck) continue;
      for (std::size_t index = 0; index != other->cases.size(); ++index) {
        const Case& theirs = other->cases[index];
        if (other->taken != Operation::kPending && other->taken != index) continue;
        if (other->status != OpStatus::kOk || theirs.channel != mine.channel || theirs.action == mine.action) continue;
        if (theirs.action == Action::kSend && theirs.value != value) continue;
        if (theirs.action == Action::kReceive && other->taken == index && other->value != value) continue;
        if (closes(theirs)) continue;
        if (std::any_of(other->cases.begin(), other->cases.begin() + static_cast<std::ptrdiff_t>(index),
                        [&](const Case& each) { return other->in_order && is_surely_ready(after, each); })) {
          continue;
        }
        Point both = after;
        ++both.next[party];
        if (search(both)) return true;
      }
    }
    return false;
  }

  [[nodiscard]] const Operation* next(const Point& at, std::size_t party) const {
    const std::vector<Operation>& all = history_.parties[party];
    return at.next[party] != all.size() ? &all[at.next[party]] : nullptr;
  }

  /// Whether no case that `operation` had to prefer to its outcome is ready.
  [[nodiscard]] bool respects_preference(const Point& at, const Operation& operation) const {
    const std::size_t preferred = operation.taken == Operation::kNothing
                                      ? (operation.prefers ? operation.cases.size() : 0)
                                      : (operation.in_order ? operation.taken : 0);
    for (std::size_t index = 0; index != preferred; ++index) {
      // A close makes all cases of a select that waits ready at once, and lets receivers go first.
      if (is_let_go_by_close(operation) && operation.cases[index].channel == operation.cases[operation.taken].channel)
        continue;
      if (is_surely_ready(at, operation.cases[index])) return false;
    }
    return true;
  }

  static bool changes_nothing(const Operation& operation) {
    return operation.taken == Operation::kNothing ||
           (operation.taken != Operation::kPending && operation.status == OpStatus::kClosed);
  }

  static bool is_let_go_by_close(const Operation& operation) {
    return operation.waits && operation.taken != Operation::kNothing && operation.status == OpStatus::kClosed;
  }

  [[nodiscard]] bool meets(const Operation& operation) const {
    const Case& taken = operation.cases[operation.taken];
    return !closes(taken) && operation.status == OpStatus::kOk && history_.capacities[taken.channel] == 0;
  }

  // Whether `value` can be sent behind what is buffered, given who will receive what. This is only to be done in time:
  // without it, a wrong order of sends is found out when the values are received.
  [[nodiscard]] bool may_follow(const Point& at, const ChannelModel& channel, int value) const {
    if (channel.values.empty() || (has_pending_ && pending_ == Pending::kMayHaveActed)) return true;
    const auto mine = receives_.find(value);
    const auto theirs = receives_.find(channel.values.back());
    if (mine == receives_.end()) return true;     // stays, at the end
    if (theirs == receives_.end()) return false;  // stays before one that does not
    const Place& later = mine->second;
    const Place& sooner = theirs->second;
    if (later.party == sooner.party) return later.index > sooner.index && later.index >= at.next[later.party];
    return later.operation->returned > sooner.operation->invoked;
  }

  // Does what the case that was taken did, if it can be done alone; otherwise returns false.
  bool act(Point& after, const Operation& operation) const {
    const Case& taken = operation.cases[operation.taken];
    ChannelModel& channel = after.channels[taken.channel];
    const bool ok = operation.status == OpStatus::kOk;
    switch (taken.action) {
      case Action::kSend:
        if (!ok) return channel.closed;
        if (channel.closed || channel.values.size() >= history_.capacities[taken.channel]) return false;
        if (!may_follow(after, channel, taken.value)) return false;
        channel.values.push_back(taken.value);
        return true;
      case Action::kReceive:
        if (!ok) return channel.closed && channel.values.empty();
        if (channel.values.empty() || channel.values.front() != operation.value) return false;
        channel.values.erase(channel.values.begin());
        return true;
      case Action::kClose:
        return ok ? !std::exchange(channel.closed, true) : channel.closed;
      default:
        return channel.closed = true;
    }
  }

  // Whether a case could go ahead at this point without anybody else. Without a buffer nobody knows, unless by close.
  [[nodiscard]] bool is_surely_ready(const Point& at, const Case& each) const {
    const ChannelModel& channel = at.channels[each.channel];
    if (channel.closed || closes(each)) return true;
    if (each.action == Action::kReceive) return !channel.values.empty();
    return channel.values.size() < history_.capacities[each.channel];
  }

  // Whether all that have not returned have reason to wait: none can go ahead alone, and no two together.
  [[nodiscard]] bool all_stuck(const Point& at) const {
    std::vector<std::vector<int>> senders(at.channels.size());  // the parties, at channels without a buffer
    std::vector<std::vector<int>> receivers(at.channels.size());
    for (std::size_t party = 0; party != at.next.size(); ++party) {
      const Operation* const operation = next(at, party);
      if (operation == nullptr) continue;
      for (const Case& each : operation->cases) {
        if (is_surely_ready(at, each)) return false;
        if (history_.capacities[each.channel] != 0) continue;
        (each.action == Action::kSend ? senders : receivers)[each.channel].push_back(static_cast<int>(party));
      }
    }
    for (std::size_t channel = 0; channel != senders.size(); ++channel) {
      for (const int sender : senders[channel]) {
        for (const int receiver : receivers[channel]) {
          if (sender != receiver) return false;
        }
      }
    }
    return true;
  }

  static std::string key(const Point& at) {
    std::string text(at.next.begin(), at.next.end());
    for (const ChannelModel& channel : at.channels) {
      text.push_back(static_cast<char>((channel.closed ? 128 : 0) + static_cast<int>(channel.values.size())));
      for (const int value : channel.values) {
        text.push_back(static_cast<char>(value));
        text.push_back(static_cast<char>(value >> 8));
      }
    }
    return text;
  }

  struct Place {
    std::size_t party;
    std::size_t index;
    const Operation* operation;
  };

  const History& history_;
  const Pending pending_;
  bool has_pending_ = false;
  std::unordered_map<int, Place> receives_;  // of each value that was received, where
  std::unordered_set<std::string> seen_;
};

[[nodiscard]] inline bool is_linearizable(const History& history, Pending pending = Pending::kMayHaveActed) {
  return LinearizabilityChecker(history, pending).search();
}

/// One line for each operation, in the order in which they were invoked.
inline std::string to_string(const History& history) {
  struct Line {
    std::uint64_t invoked;
    std::string text;
  };
  std::vector<Line> lines;
  for (std::size_t party = 0; party != history.parties.size(); ++party) {
    for (const Operation& operation : history.parties[party]) {
      std::string text = "  party " + std::to_string(party) + ": [" + std::to_string(operation.invoked) + ", " +
                         (operation.returned == Operation::kNever ? "" : std::to_string(operation.returned)) + "]";
      if (operation.cases.size() > 1) text += operation.in_order ? " select in order" : " select";
      for (const Case& each : operation.cases) {
        const std::string channel = std::to_string(each.channel);
        if (each.action == Action::kSend) text += " {send " + std::to_string(each.value) + " to " + channel + "}";
        if (each.action == Action::kReceive) text += " {receive from " + channel + "}";
        if (closes(each)) text += " {close " + channel + "}";
      }
      if (!operation.waits) text += " without waiting";
      if (operation.taken == Operation::kPending) {
        text += " -> not returned";
      } else if (operation.taken == Operation::kNothing) {
        text += " -> nothing";
      } else {
        const bool received =
            operation.status == OpStatus::kOk && operation.cases[operation.taken].action == Action::kReceive;
        text += " -> case " + std::to_string(operation.taken) + " " + std::string(to_string(operation.status)) +
                (received ? " " + std::to_string(operation.value) : "");
      }
      lines.push_back({operation.invoked, text + "\n"});
    }
  }
  std::stable_sort(lines.begin(), lines.end(), [](const Line& a, const Line& b) { return a.invoked < b.invoked; });
  std::string all = "channels of capacity";
  for (const std::size_t capacity : history.capacities) all += " " + std::to_string(capacity);
  all += "\n";
  for (const Line& line : lines) all += line.text;
  return all;
}

}  // namespace penstock::testing
