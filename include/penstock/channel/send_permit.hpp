// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A place in a channel's buffer, reserved for a value that does not exist yet. Made by `Channel::reserve`.

#include <utility>

#include "penstock/channel/detail/channel_state.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/op_status.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// One reserved place, or none. Dropping an unused one gives the place to whoever waits for it.
///
/// Threads: one owner. The channel outlives it: destroying a channel before its permits ends the process.
template <class T>
class SendPermit {
 public:
  SendPermit() = default;
  explicit SendPermit(detail::ChannelState<T>* channel) noexcept : channel_(channel) {}  // owns a place there
  SendPermit(SendPermit&& other) noexcept : channel_(std::exchange(other.channel_, nullptr)) {}
  SendPermit& operator=(SendPermit other) noexcept {
    std::swap(channel_, other.channel_);
    return *this;
  }
  ~SendPermit() {
    if (channel_ != nullptr) (void)channel_->release_place(nullptr);
  }

  /// Whether it holds a place.
  explicit operator bool() const noexcept { return channel_ != nullptr; }

  /// Sends `value` and gives up the place; never waits. Its order among other values is that of this call, not of the
  /// reservation. Requires: it holds a place. Returns: kOk; kClosed, and `value` stays, if the channel was closed.
  OpStatus send(T&& value) noexcept {
    PENSTOCK_CHECK(channel_ != nullptr, "a permit to send was used twice, or holds no place");
    return std::exchange(channel_, nullptr)->release_place(&value);
  }

 private:
  detail::ChannelState<T>* channel_ = nullptr;
};

/// What a reservation came to: a permit that holds a place exactly if `status` is kOk.
template <class T>
struct Reserved {
  OpStatus status;
  SendPermit<T> permit;

  explicit operator bool() const noexcept { return status == OpStatus::kOk; }
};

}  // namespace penstock::inline PENSTOCK_ABI
