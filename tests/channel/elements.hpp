// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the tests of channels need: elements of every kind, and calls that wait on a thread of their own.

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "penstock/channel/channel.hpp"
#include "support/eventually.hpp"

namespace penstock::testing {

/// Moves, and nothing else: no default, no copy, no assignment.
class MoveOnly {
 public:
  explicit MoveOnly(int number) noexcept : number_(number) {}
  MoveOnly(MoveOnly&& other) noexcept : number_(std::exchange(other.number_, kMovedFrom)) {}
  MoveOnly(const MoveOnly&) = delete;
  MoveOnly& operator=(const MoveOnly&) = delete;

  static constexpr int kMovedFrom = -1;
  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] bool is_moved_from() const noexcept { return number_ == kMovedFrom; }

 private:
  int number_;
};

struct alignas(256) OverAligned {
  int number = 0;
  [[nodiscard]] bool is_aligned() const noexcept { return reinterpret_cast<std::uintptr_t>(this) % 256 == 0; }
};

struct Empty {};

struct Large {
  std::array<std::byte, 4096> bytes{};
};

/// Calls `on_death` when it is destroyed with its content, not when a shell is that was moved from.
class Watched {
 public:
  explicit Watched(std::function<void()> on_death) noexcept : on_death_(std::move(on_death)) {}
  Watched(Watched&& other) noexcept : on_death_(std::exchange(other.on_death_, nullptr)) {}
  Watched& operator=(Watched&& other) noexcept {
    Watched old(std::exchange(on_death_, std::exchange(other.on_death_, nullptr)));
    return *this;
  }
  ~Watched() {
    if (on_death_) on_death_();
  }

 private:
  std::function<void()> on_death_;
};

/// A call on a thread of its own. The destructor waits for its end.
template <class R>
class Call {
 public:
  template <class F>
  explicit Call(F function)
      : thread_([this, function = std::move(function)]() mutable {
          result_.emplace(function());
          ended_.store(true);
        }) {}
  ~Call() {
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] bool has_ended() const noexcept { return ended_.load(); }
  R& result() {
    if (thread_.joinable()) thread_.join();
    return *result_;
  }

 private:
  std::optional<R> result_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

template <class F>
Call(F) -> Call<std::invoke_result_t<F&>>;

template <class T>
bool eventually_blocked_senders(const Channel<T>& channel, std::size_t count) {
  return eventually([&] { return channel.stats().blocked_senders == count; });
}

template <class T>
bool eventually_blocked_receivers(const Channel<T>& channel, std::size_t count) {
  return eventually([&] { return channel.stats().blocked_receivers == count; });
}

}  // namespace penstock::testing
