// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler tells about itself: figures, and what a request waits for.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_action.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What is in a request's way.
enum class SwapObstacle : std::uint8_t {
  kNothing,       ///< it is granted, or has ended, or goes next
  kOwnSwap,       ///< its own model is being brought up: `swap`
  kBusyModel,     ///< `model` would have to go, and serves `in_flight` requests
  kSwapTarget,    ///< `model` would have to go, and is being brought up: `swap`
  kEvicted,       ///< its own model is being stopped for `swap`, whose target is `model`
  kSharedVictim,  ///< `model` would have to go, and is being stopped for `swap`
  kStopping,      ///< `model`, its own or one that would have to go, is being stopped: `stop`
  kLimit,         ///< its own model serves as many as it may: `in_flight`
  kClaim,         ///< a request for `model` that has waited for longer, or matters more, goes first
  kResidency,     ///< `model` would have to go, and may stay until `until`
};

/// The name of `obstacle`, such as "busy_model".
std::string_view to_string(SwapObstacle obstacle) noexcept;

struct SwapExplanation {
  SwapObstacle obstacle = SwapObstacle::kNothing;
  ModelId model = kNoModel;
  SwapId swap{};
  StopId stop{};
  std::size_t in_flight = 0;
  TimePoint until{};

  friend bool operator==(const SwapExplanation&, const SwapExplanation&) = default;
};

/// "waits for 'qwen-30b', which serves 3 requests"
[[nodiscard]] std::string to_text(const SwapExplanation& explanation, const ModelTable& models);

/// One model at one moment.
struct ModelLoad {
  std::size_t queued = 0;
  std::size_t joined = 0;     ///< wait for its swap
  std::size_t in_flight = 0;  ///< are served
  SwapId swap{};              ///< that brings it up; 0: none
  Duration swap_time{};       ///< what bringing it up has taken, or is expected to
  Duration serve_time{};      ///< what a request takes; 0 as long as none was served
};

/// A scheduler at one moment. Requests: `arrived == queued + joined + in_flight + served + grants_refused + cancelled +
/// refused of all reasons`.
struct SwapStats {
  std::size_t queued = 0;
  std::size_t joined = 0;
  std::size_t in_flight = 0;
  std::size_t swaps_active = 0;  ///< also those that were called off and have not reported
  std::size_t stops_active = 0;
  std::size_t queued_high_water = 0;

  std::uint64_t arrived = 0;
  std::uint64_t granted = 0;
  std::uint64_t granted_at_once = 0;
  std::uint64_t served = 0;
  std::uint64_t grants_refused = 0;
  std::uint64_t cancelled = 0;
  std::array<std::uint64_t, kSwapReasons> refused{};  ///< by `SwapReason`

  std::uint64_t swaps_started = 0;
  std::uint64_t swaps_succeeded = 0;
  std::uint64_t swaps_failed = 0;
  std::uint64_t swaps_cancelled = 0;  ///< were called off; whatever they reported then
  std::uint64_t evictions = 0;        ///< models that swaps were to stop
  std::uint64_t unloads = 0;          ///< models that were stopped for an unload
  std::uint64_t idle_unloads = 0;     ///< and because nobody used them

  std::uint64_t ignored = 0;           ///< reports for what has ended or never was
  std::uint64_t planner_failures = 0;  ///< it threw
  std::uint64_t planner_misfits = 0;   ///< models that it named without sense
  std::uint64_t plans = 0;             ///< times that it was asked
};

}  // namespace penstock::inline PENSTOCK_ABI
