// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the scenarios with channels have in common.

#include <cstddef>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "penstock/core/detail/world.hpp"

#include "model/planted.hpp"

namespace penstock::checker {

/// As must_pass, with fewer random schedules: channel_random_test.cpp has enough of those.
inline void must_pass_briefly(Options options, const Scenario& scenario) {
  options.executions = 5'000;
  must_pass(options, scenario);
}

/// At rest: nobody is in line, no place is reserved, and what was sent is what was received, drained and still there.
inline void check_rest(const Channel<int>& channel) {
  const ChannelStats stats = channel.stats();
  MODEL_ASSERT(stats.blocked_senders == 0 && stats.blocked_receivers == 0 && stats.reserved == 0);
  MODEL_ASSERT(stats.sends == stats.receives + stats.drained + channel.size());
  MODEL_ASSERT(channel.size() <= channel.capacity() && stats.high_water <= channel.capacity());
}

inline bool is_either(OpStatus status, OpStatus one, OpStatus other) { return status == one || status == other; }

/// Sends `value`, and must succeed.
inline void must_send(Channel<int>& channel, int value) {
  MODEL_ASSERT(channel.send(std::move(value)) == OpStatus::kOk);
}
/// Receives a value, and must get one.
inline int must_receive(Channel<int>& channel) {
  const Received<int> received = channel.receive();
  MODEL_ASSERT(received.status == OpStatus::kOk && received.value.has_value());
  return *received.value;
}

/// Until so many wait.
inline void await_receivers(const Channel<int>& channel, std::size_t count) {
  while (channel.stats().blocked_receivers != count) detail::world::yield();
}
inline void await_senders(const Channel<int>& channel, std::size_t count) {
  while (channel.stats().blocked_senders != count) detail::world::yield();
}

}  // namespace penstock::checker
