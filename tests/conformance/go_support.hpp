// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the conformance tests share. They restate for ours what programs in Go may rely on: single channels in
/// go_channel_test.cpp and go_close_test.cpp, many parties in go_crowd_test.cpp, selects in go_select*_test.cpp, what
/// one thread sees of another's writes in go_memory*_test.cpp, whole programs in go_program_test.cpp, coroutines in
/// go_coroutine_test.cpp, and in go_differences_test.cpp where ours differ. Where Go panics, a status says why; where
/// it waits for ever on a nil channel, a select with a null channel stands in.

#include <cstddef>
#include <stdexcept>
#include <vector>

#include "channel/elements.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/channel/select.hpp"
#include "support/catch.hpp"

namespace penstock::testing {

inline const auto ignore = [](auto&&...) {};
inline const auto fail = [](auto&&...) { throw std::logic_error("a case was taken that must not be"); };
inline Channel<int>* const null = nullptr;

inline std::size_t any_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 3, 64); }
inline std::size_t any_buffer() { return GENERATE(as<std::size_t>(), 1, 3, 64); }
/// Go runs a part of its suite for each capacity below 200.
inline std::size_t swept_capacity() { return GENERATE(as<std::size_t>(), 0, 1, 2, 3, 7, 10, 64, 100, 199); }

/// Sends 0, 1, 2... until the buffer is full, and returns them.
inline std::vector<int> fill(Channel<int>& channel) {
  std::vector<int> sent;
  while (channel.try_send(static_cast<int>(sent.size())) == OpStatus::kOk)
    sent.push_back(static_cast<int>(sent.size()));
  return sent;
}

template <class T>
bool nobody_waits(const Channel<T>& channel) {
  const ChannelStats stats = channel.stats();
  return stats.blocked_senders + stats.blocked_receivers == 0;
}

}  // namespace penstock::testing
