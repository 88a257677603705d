// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Several values under one lock, and an operation that comes back to its channel after a wait.

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "penstock/channel/detail/channel_core.hpp"
#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// The most values that change hands in one critical section: the locks are short ones.
inline constexpr std::size_t kLongestBatch = 64;

/// While it lives the channel's destructor waits: for an operation that uses the channel again after it was served.
class Visit {
 public:
  explicit Visit(ChannelCore& channel) noexcept : channel_(channel) { channel_.enter(); }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  ~Visit() { channel_.exit(); }

 private:
  ChannelCore& channel_;
};

/// At most kLongestBatch of `values`, in order. Adds what could be sent to `count`; kOk if that was all.
template <class T>
OpStatus put_some(ChannelState<T>& state, std::span<T> values,
                  std::size_t& count) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
  WakeList wake;
  OpStatus status = OpStatus::kOk;
  state.tx.lock.lock();
  if ((state.tx.notice.load(std::memory_order_relaxed) & (kNoticeChange - 1)) == 0) [[likely]] {
    for (T& value : values) {
      if (!state.push(value)) {
        status = OpStatus::kFull;
        break;
      }
      ++count;
    }
    state.tx.lock.unlock();
    return status;
  }
  if (state.tx.capacity != 0) state.rx.lock.lock();
  for (T& value : values) {
    status = state.put(value, wake);
    if (status != OpStatus::kOk) break;
    ++count;
  }
  state.unlock_both();
  wake.wake_all();
  return status;
}

/// Up to `most` values, at most kLongestBatch, to the end of `out`, which has the capacity for them. kOk, or why they
/// are not that many.
template <class T>
OpStatus take_some(ChannelState<T>& state, std::vector<T>& out,
                   std::size_t most) noexcept ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const auto sink = [&out](T&& value) { out.push_back(std::move(value)); };
  const std::size_t end = out.size() + most;
  if (!state.rx.has(kRendezvous)) {
    state.rx.lock.lock();
    const Notice notice = state.rx.notice.load(std::memory_order_relaxed);
    if ((notice & kPeersWait) == 0) [[likely]] {
      while (out.size() != end && state.pop(sink)) {
      }
      state.rx.lock.unlock();
      if (out.size() == end) return OpStatus::kOk;
      return (notice & kChannelClosed) != 0 ? OpStatus::kClosed : OpStatus::kEmpty;
    }
    state.rx.lock.unlock();
  }
  WakeList wake;
  OpStatus status = OpStatus::kOk;
  {
    const BothLocks locks(state);
    while (out.size() != end && status == OpStatus::kOk) status = state.take(sink, wake);
  }
  wake.wake_all();
  return status;
}

/// As many of `values` as can be sent now, in order. Adds to `count`; kOk if that was all.
template <class T>
OpStatus try_put_many(ChannelState<T>& state, std::span<T> values, std::size_t& count) noexcept {
  OpStatus status = OpStatus::kOk;
  while (!values.empty() && status == OpStatus::kOk) {
    const std::span<T> next = values.first(std::min(values.size(), kLongestBatch));
    status = put_some(state, next, count);
    values = values.subspan(next.size());
  }
  return status;
}

/// Up to `most` values to the end of `out`, which has the capacity for them; kOk if there was one.
template <class T>
OpStatus try_take_many(ChannelState<T>& state, std::vector<T>& out, std::size_t most) noexcept {
  const std::size_t before = out.size();
  OpStatus status = OpStatus::kOk;
  while (most != 0 && status == OpStatus::kOk) {
    const std::size_t next = std::min(most, kLongestBatch);
    status = take_some(state, out, next);
    most -= next;
  }
  return out.size() != before ? OpStatus::kOk : status;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
