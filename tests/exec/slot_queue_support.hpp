// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of slot queues share.

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/core/task.hpp"
#include "penstock/exec/slot_queue.hpp"
#include "support/eventually.hpp"
#include "support/status_text.hpp"

namespace penstock::testing {

/// Slots that can only be moved.
using Number = std::unique_ptr<int>;
using NumberQueue = SlotQueue<Number>;
using NumberLease = absl::StatusOr<SlotLease<Number>>;

inline Number number(int value) { return std::make_unique<int>(value); }

inline constexpr int kNothing = -1;
inline int value_of(const NumberLease& lease) { return lease.ok() ? ***lease : kNothing; }
inline int value_of(const std::optional<Number>& slot) { return slot.has_value() ? **slot : kNothing; }

inline std::vector<SlotToken> offer_all(NumberQueue& queue, int count) {
  std::vector<SlotToken> tokens;
  for (int i = 0; i != count; ++i) tokens.push_back(*queue.offer(number(i)));
  return tokens;
}

/// Whether so many stand in line, soon.
template <class Queue>
bool in_line(const Queue& queue, std::size_t count) {
  return eventually([&] { return queue.stats().waiting == count; });
}

/// What does not add up in a queue that nobody is using now; empty if all does.
inline std::string discrepancies(const SlotQueueStats& s) {
  std::string wrong;
  if (s.offered != s.idle + s.leased + s.ejected + s.taken + s.retired + s.expired + s.closed) wrong += "offered; ";
  if (s.launches != s.starting + s.started + s.start_failures) wrong += "launches; ";
  if (s.wait.count() != s.acquired) wrong += "wait; ";
  if (s.idle != 0 && s.waiting != 0) wrong += "idle while somebody waits; ";
  return wrong;
}

inline Task<NumberLease> acquire_in(NumberQueue& queue, Context ctx = Context::background()) {
  co_return co_await queue.async_acquire(std::move(ctx));
}

}  // namespace penstock::testing
