// SPDX-License-Identifier: MIT
#include "penstock/channel/select.hpp"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/select_case.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using Cases = std::span<SelectCase*>;

/// Holds the mutexes of all channels, each once, taken in the order of their addresses, so that selects over the same
/// channels cannot wait for each other in a circle. Clang's analysis cannot count them.
class AllLocks {
 public:
  explicit AllLocks(Cases lock_order) ABSL_NO_THREAD_SAFETY_ANALYSIS : cases_(lock_order) {
    const ChannelCore* previous = nullptr;
    for (SelectCase* const each : cases_) {
      if (each->op == nullptr || &each->op->channel == previous) continue;
      each->op->channel.mutex.lock();
      previous = &each->op->channel;
    }
  }
  ~AllLocks() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const ChannelCore* previous = nullptr;
    for (SelectCase* const each : cases_) {
      if (each->op == nullptr || &each->op->channel == previous) continue;
      previous = &each->op->channel;
      each->op->channel.mutex.unlock();
    }
  }
  AllLocks(const AllLocks&) = delete;
  AllLocks& operator=(const AllLocks&) = delete;

 private:
  const Cases cases_;
};

void sort_for_locking(Cases cases) {
  std::sort(cases.begin(), cases.end(), [](const SelectCase* left, const SelectCase* right) {
    const auto channel = [](const SelectCase* each) { return each->op != nullptr ? &each->op->channel : nullptr; };
    return std::less<>()(channel(left), channel(right));
  });
}

void shuffle(Cases cases) {
  for (std::size_t left = cases.size(); left > 1; --left) {
    std::swap(cases[left - 1], cases[world::random_below(static_cast<std::uint32_t>(left))]);
  }
}

bool can_become_ready(const SelectCase& each) {
  return each.op != nullptr || each.is_otherwise || (each.context != nullptr && each.context->can_end());
}

/// Completes the first case that is ready. Called with all locks.
SelectCase* poll(Cases cases, WaitNode*& peer) {
  for (SelectCase* const each : cases) {
    if (each->op != nullptr) {
      each->status = each->op->attempt(peer);
      if (!must_wait(each->status)) return each;
    } else if (each->status != OpStatus::kOk) {
      return each;
    }
  }
  return nullptr;
}

/// Waits until a case is ready: one node for each on its channel's list, all with the same waiter, so that one claim is
/// the end of all. No lock is held in between, and every node has left its list when this returns.
SelectCase& wait_for_one(Cases cases, Cases lock_order) {
  // The waiter itself knows one context, which costs nothing; any further one needs a callback.
  SelectCase* ending = nullptr;
  for (SelectCase* const each : cases) {
    if (each->context != nullptr && each->context->can_end()) {
      ending = each;
      break;
    }
  }
  Waiter waiter(ending != nullptr ? *ending->context : Context::background());
  std::vector<DoneCallback> other_ends;  // goes before the waiter
  for (SelectCase* const each : cases) {
    const Waiter::Outcome outcome = Waiter::kServed + static_cast<Waiter::Outcome>(each->index);
    if (each->op != nullptr) {
      each->node.emplace(waiter, each->op, outcome);
    } else if (each->context != nullptr && each != ending) {
      other_ends.push_back(each->context->on_done([&waiter, outcome]() noexcept {
        if (waiter.claim(outcome)) waiter.wake();
      }));
    }
  }

  WaitNode* peer = nullptr;
  SelectCase* taken = nullptr;
  {
    const AllLocks locks(lock_order);
    taken = poll(cases, peer);
    if (taken == nullptr) {
      for (SelectCase* const each : cases) {
        if (each->op != nullptr) each->op->side.push(*each->node);
      }
    }
  }
  if (taken != nullptr) {
    if (peer != nullptr) peer->waiter->wake();
    return *taken;
  }

  const Waiter::Outcome outcome = waiter.wait();
  if (outcome < Waiter::kServed) {
    taken = ending;
    taken->status = to_op_status(outcome);
  } else {
    taken = *std::find_if(cases.begin(), cases.end(),
                          [outcome](const SelectCase* each) { return Waiter::kServed + each->index == outcome; });
    taken->status = taken->op != nullptr ? taken->op->served_status() : taken->context->status();
  }
  // The channel of the case that was taken may be gone by now, unless another case waits on it.
  for (SelectCase* const each : cases) {
    if (each->op != nullptr && each != taken) each->op->channel.leave(each->op->side, *each->node);
  }
  return *taken;
}

}  // namespace

SelectCase& pick(Cases poll_order, Cases lock_order, SelectOrder order) {
  SelectCase* otherwise_case = nullptr;
  bool is_hopeless = true;
  for (SelectCase* const each : poll_order) {
    if (each->is_otherwise) otherwise_case = each;
    if (each->context != nullptr) each->status = each->context->status();
    if (can_become_ready(*each)) is_hopeless = false;
  }
  if (is_hopeless) {
    throw std::invalid_argument(
        fmt::format("select: no case can ever become ready ({} cases, all on null channels or contexts without an end)",
                    poll_order.size()));
  }
  if (order == SelectOrder::kRandom) shuffle(poll_order);
  sort_for_locking(lock_order);

  WaitNode* peer = nullptr;
  SelectCase* taken = nullptr;
  {
    const AllLocks locks(lock_order);
    taken = poll(poll_order, peer);
  }
  if (peer != nullptr) peer->waiter->wake();
  if (taken != nullptr) return *taken;
  if (otherwise_case != nullptr) return *otherwise_case;
  return wait_for_one(poll_order, lock_order);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
