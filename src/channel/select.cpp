// SPDX-License-Identifier: MIT
#include "penstock/channel/select.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/select_case.hpp"
#include "penstock/core/detail/patience.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using Cases = SelectCases;

/// Holds the locks of all channels, each once, taken in the order of their addresses, so that selects over the same
/// channels cannot wait for each other in a circle.
class AllLocks {
 public:
  /// Sorts `cases`.
  explicit AllLocks(Cases cases) noexcept : cases_(cases) {
    if (!std::is_sorted(cases_.begin(), cases_.end(), is_locked_before)) {
      std::sort(cases_.begin(), cases_.end(), is_locked_before);
    }
    for_each_channel([](ChannelCore& channel) { channel.lock_both(); });
  }
  ~AllLocks() {
    for_each_channel([](ChannelCore& channel) { channel.unlock_both(); });
  }
  AllLocks(const AllLocks&) = delete;
  AllLocks& operator=(const AllLocks&) = delete;

 private:
  static ChannelCore* channel_of(const SelectCase* each) noexcept {
    return each->op != nullptr ? &each->op->channel : nullptr;
  }
  static bool is_locked_before(const SelectCase* left, const SelectCase* right) noexcept {
    const ChannelCore* const one = channel_of(left);
    const ChannelCore* const other = channel_of(right);
    return one != other ? std::less<>()(one, other) : left->rank < right->rank;
  }
  /// Once the last channel is unlocked a coroutine may be resumed by another thread, and its cases be gone. So a
  /// channel's turn comes when all its cases have been looked at.
  template <class Function>
  void for_each_channel(Function function) const noexcept {
    ChannelCore* pending = nullptr;  // what has no channel comes first
    for (SelectCase* const each : cases_) {
      ChannelCore* const channel = channel_of(each);
      if (channel == pending) continue;
      if (pending != nullptr) function(*pending);
      pending = channel;
    }
    if (pending != nullptr) function(*pending);
  }

  const Cases cases_;
};

// Q1  Loads without a lock that must not be taken ahead of each other, each an acquire for what follows it. What they
//     see is written with relaxed stores under a lock; only who then takes that lock acts on it.
// Q2  An exchange of a word that nobody else uses, for its place in the order of this thread alone: all before it is
//     there for other threads, and nothing after it has been looked at. So it is on x86, and on ARM from 8.1 on.

/// Whether the case might be taken now; without the channel's locks, a guess. With a context, `status` is set.
bool looks_ready(SelectCase& each) noexcept {
  if (each.op != nullptr) {
    each.seen_passed = each.op->end.passed.load(std::memory_order_acquire);  // Q1
    each.seen_notice = each.op->end.notice.load(std::memory_order_acquire);  // Q1
    return each.op->looks_ready();
  }
  if (each.context == nullptr) return false;
  each.status = each.context->status();
  return each.status != OpStatus::kOk;
}

/// One of the cases that look ready: the first in order, or any, each with the same chance. Null if none does.
SelectCase* choose(Cases cases, SelectOrder order) noexcept {
  SelectCase* chosen = nullptr;
  std::uint32_t count = 0;
  for (SelectCase* const each : cases) {
    if (!looks_ready(*each)) continue;
    ++count;
    const bool is_better = chosen == nullptr || (order == SelectOrder::kInOrder ? each->index < chosen->index
                                                                                : world::random_below(count) == 0);
    if (is_better) chosen = each;
  }
  return chosen;
}

/// Completes a case that is ready, up to its handler. Called with all locks: what looks ready and is not, because its
/// peers are all about to leave, does not look so a second time.
SelectCase* poll(Cases cases, SelectOrder order, WakeList& wake) noexcept {
  while (SelectCase* const chosen = choose(cases, order)) {
    if (chosen->op == nullptr) return chosen;
    chosen->status = chosen->op->attempt(wake);
    if (!must_wait(chosen->status)) return chosen;
  }
  return nullptr;
}

/// Whether no case has become ready since `choose` found none. Then there was a moment, between the two, at which none
/// was. An end that does not look ready again, and has not moved, has not been ready in between, unless somebody is at
/// work on it: a slot is filled before the end moves on to the next one, so for a moment an end with free places seems
/// full. Hence the look at its lock, and another one at how far it has moved, in this order.
///
/// What this thread has sent and received before may still be on its way to the others: the store that fills a slot,
/// and the one that unlocks, may be overtaken by the looks that follow. Of two threads that send and then look for the
/// other's value, neither would find one. An exchange in between lets no look pass, and then the moment comes after it.
bool is_unchanged(Cases cases) noexcept {
  struct Barrier {};
  world::thread_local_value<Barrier, world::Atomic<std::uint32_t>>().exchange(0, std::memory_order_seq_cst);  // Q2
  for (SelectCase* const each : cases) {
    const std::uint64_t passed = each->seen_passed;
    const Notice notice = each->seen_notice;
    if (looks_ready(*each)) return false;
    if (each->op == nullptr) continue;
    const ChannelEnd& end = each->op->end;
    if (end.lock.is_held() || end.passed.load(std::memory_order_acquire) != passed ||  // Q1
        end.notice.load(std::memory_order_acquire) != notice) {                        // Q1
      return false;
    }
  }
  return true;
}

SelectCase* pick_with_all_locks(Cases cases, SelectOrder order) noexcept {
  WakeList wake;
  SelectCase* taken = nullptr;
  {
    const AllLocks locks(cases);
    taken = poll(cases, order, wake);
  }
  wake.wake_all();
  return taken;
}

/// Completes `chosen`, which looked ready, up to its handler; null if it was not. Any other case in order may have
/// become ready before this one was, so that only the locks can tell which comes first.
SelectCase* complete(SelectCase& chosen, Cases cases, SelectOrder order) noexcept {
  if (order == SelectOrder::kInOrder && chosen.index != 0) return pick_with_all_locks(cases, order);
  if (chosen.op == nullptr) return &chosen;
  chosen.status = chosen.op->try_now();
  return must_wait(chosen.status) ? nullptr : &chosen;
}

/// Looks for a while whether a case becomes ready, in the hope not to sleep, and completes it.
SelectCase* linger(Cases cases, SelectOrder order) noexcept {
  const bool has_buffer = std::any_of(cases.begin(), cases.end(), [](const SelectCase* each) {
    return each->op != nullptr && each->op->end.capacity != 0;
  });
  if (!has_buffer) return nullptr;  // two that only look never meet
  Patience patience;
  while (patience.has_more()) {
    SelectCase* const chosen = choose(cases, order);
    SelectCase* const taken = chosen != nullptr ? complete(*chosen, cases, order) : nullptr;
    if (taken == nullptr) continue;
    patience.paid();
    return taken;
  }
  return nullptr;
}

}  // namespace

SelectCase* pick_at_once(Cases cases, SelectOrder order, bool exactly) noexcept {
  // A case that is drawn blindly and is ready has been drawn with the same chance as any other ready one.
  constexpr std::size_t kWide = 4;
  if (order == SelectOrder::kRandom && cases.size() > kWide) {
    for (int draw = 0; draw != 2; ++draw) {
      SelectCase& drawn = *cases[world::random_below(static_cast<std::uint32_t>(cases.size()))];
      if (looks_ready(drawn) && complete(drawn, cases, order) != nullptr) return &drawn;
    }
  }
  constexpr int kRounds = 4;  // then others have been faster so often that it is better to stop them
  for (int round = 0; round != kRounds; ++round) {
    SelectCase* const chosen = choose(cases, order);
    if (chosen != nullptr) {
      if (SelectCase* const taken = complete(*chosen, cases, order)) return taken;
    } else if (!exactly || is_unchanged(cases)) {
      return nullptr;
    }
  }
  return pick_with_all_locks(cases, order);
}

SelectCase& pick(Cases cases, SelectOrder order, SelectCase* otherwise) {
  if (SelectCase* const taken = pick_at_once(cases, order, otherwise != nullptr)) return *taken;
  if (otherwise != nullptr) return *otherwise;
  SelectCase* const ending = ending_case(cases);
  if (SelectCase* const taken = linger(cases, order)) return *taken;
  Waiter waiter(context_of(ending));
  SelectWait wait(cases, ending, waiter);
  bool listed = false;
  if (SelectCase* const taken = wait.pick_or_list(order, listed)) return *taken;
  return *wait.finish(waiter.wait());
}

SelectCase* ending_case(Cases cases) {
  SelectCase* ending = nullptr;
  bool is_hopeless = true;
  for (SelectCase* const each : cases) {
    const bool can_end = each->context != nullptr && each->context->can_end();
    if (can_end && ending == nullptr) ending = each;
    if (can_end || each->op != nullptr) is_hopeless = false;
  }
  if (is_hopeless) {
    throw std::invalid_argument(
        fmt::format("select: no case can ever become ready ({} cases, all on null channels or contexts without an end)",
                    cases.size()));
  }
  return ending;
}

SelectWait::SelectWait(Cases cases, SelectCase* ending, EndlessWaiter& waiter) : cases_(cases), ending_(ending) {
  for (SelectCase* const each : cases_) {
    const Waiter::Outcome outcome = Waiter::kServed + static_cast<Waiter::Outcome>(each->index);
    if (each->op != nullptr) {
      each->op->moved = false;
      each->node.emplace(waiter, each->op, outcome);
    } else if (each->context != nullptr && each != ending_) {
      other_ends_.push_back(each->context->on_done([&waiter, outcome]() noexcept {
        if (waiter.claim(outcome)) waiter.wake();
      }));
    }
  }
}

SelectCase* SelectWait::pick_or_list(SelectOrder order, bool& listed) noexcept {
  // Cases on one channel are served in the order in which they are listed.
  for (SelectCase* const each : cases_) {
    each->rank = order == SelectOrder::kInOrder ? static_cast<std::uint32_t>(each->index)
                                                : world::random_below(std::numeric_limits<std::uint32_t>::max());
  }
  WakeList wake;
  SelectCase* taken = nullptr;
  {
    const AllLocks locks(cases_);
    taken = poll(cases_, order, wake);
    if (taken == nullptr) {
      listed = true;
      for (SelectCase* const each : cases_) {
        if (each->op != nullptr) each->op->channel.enlist(each->op->end, *each->node);
      }
    }
  }
  wake.wake_all();
  return taken;
}

SelectCase* SelectWait::finish(Waiter::Outcome outcome) noexcept {
  SelectCase* taken = nullptr;
  if (outcome >= Waiter::kServed) {
    taken = *std::find_if(cases_.begin(), cases_.end(),
                          [outcome](const SelectCase* each) { return Waiter::kServed + each->index == outcome; });
    taken->status = taken->op != nullptr ? taken->op->served_status() : taken->context->status();
  } else if (outcome != Waiter::kAbandoned) {
    taken = ending_;
    taken->status = to_op_status(outcome);
  }
  // The channel of the case that was taken may be gone by now, unless another case waits on it.
  for (SelectCase* const each : cases_) {
    if (each->op != nullptr && each != taken) each->op->channel.leave(each->op->end, *each->node);
  }
  return taken;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail

namespace penstock::inline PENSTOCK_ABI {

std::size_t Selector::add(std::unique_ptr<detail::SelectCase> one) {
  one->index = owned_.size();
  cases_.reserve(owned_.size() + 1);
  owned_.push_back(std::move(one));
  cases_.push_back(owned_.back().get());
  return owned_.size() - 1;
}

std::size_t Selector::select(SelectOrder order) {
  detail::SelectCase& taken = detail::pick(cases_, order);
  taken.run();
  return taken.index;
}

std::optional<std::size_t> Selector::try_select(SelectOrder order) {
  detail::SelectCase* const taken = detail::pick_at_once(cases_, order, true);
  if (taken == nullptr) return std::nullopt;
  taken->run();
  return taken->index;
}

}  // namespace penstock::inline PENSTOCK_ABI
