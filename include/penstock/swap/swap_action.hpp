// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler wants done, and why.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "penstock/core/clock.hpp"
#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Why a scheduler did what it did. Values are part of the decision log's format: add at the end only.
enum class SwapReason : std::uint8_t {
  kNone,
  // Why a request was granted.
  kReady,    ///< its model was ready, and in nobody's way
  kSwapped,  ///< its model was brought up, for it among others
  // Why a request was refused.
  kUnknownModel,
  kConcurrencyLimit,  ///< as many of its model's requests as allowed are let in already
  kQueueFull,         ///< `max_queued`
  kModelQueueFull,    ///< `max_queued_per_model`
  kTenantQueueFull,   ///< `max_queued_per_tenant`
  kExpired,           ///< its deadline has come
  kTooLate,           ///< its deadline will come before it can be served
  kSwapFailed,        ///< its model could not be brought up
  kNotReady,          ///< its model was brought up, and had ended before it could be granted
  kBackingOff,        ///< its model could not be brought up lately
  kUnloaded,          ///< its model was unloaded
  kPlannerFailed,     ///< the planner threw
  kShutdown,
  // Why a swap began, or was called off.
  kRequested,  ///< a request came, and nothing was in its way
  kDrained,    ///< what was in its way has gone
  kUnwanted,   ///< nobody waits for it any more, and others wait
  // Why models are stopped.
  kIdle,  ///< `idle_unload`
};
inline constexpr std::size_t kSwapReasons = static_cast<std::size_t>(SwapReason::kIdle) + 1;

/// The name of `reason`, such as "concurrency_limit".
std::string_view to_string(SwapReason reason) noexcept;

/// Some models, held by the `SwapActions` that the action is in.
struct ModelList {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  friend bool operator==(const ModelList&, const ModelList&) = default;
};

/// Stop all of `evict`, at the same time; then make `target` ready; then report `on_swap_done`.
struct StartSwap {
  SwapId swap{};
  ModelId target = kNoModel;
  ModelList evict;
  SwapReason reason = SwapReason::kNone;
  friend bool operator==(const StartSwap&, const StartSwap&) = default;
};

/// End this swap early, if that can be: nobody waits for it. It still reports `on_swap_done`, and keeps its claims
/// until then.
struct CancelSwap {
  SwapId swap{};
  ModelId target = kNoModel;
  SwapReason reason = SwapReason::kNone;
  friend bool operator==(const CancelSwap&, const CancelSwap&) = default;
};

/// Let this request through. It ends with `on_serve_done`; or with `on_grant_refused`, if nobody took it.
struct GrantTicket {
  TicketId ticket{};
  ModelId model = kNoModel;
  SwapReason reason = SwapReason::kNone;
  friend bool operator==(const GrantTicket&, const GrantTicket&) = default;
};

/// Tell this request that it will not be served. It has ended.
struct RejectTicket {
  TicketId ticket{};
  ModelId model = kNoModel;
  SwapReason reason = SwapReason::kNone;
  SwapId swap{};           ///< of kSwapFailed and kNotReady: the one it waited for
  Duration retry_after{};  ///< when it may be worth another try, as far as can be told; 0: nothing is known
  friend bool operator==(const RejectTicket&, const RejectTicket&) = default;
};

/// Stop these models, all at the same time; then report `on_stopped`.
struct StopModels {
  StopId stop{};
  ModelList models;
  Duration timeout{};  ///< how long they may take; 0: as each model is set up
  SwapReason reason = SwapReason::kNone;
  friend bool operator==(const StopModels&, const StopModels&) = default;
};

/// Call `on_timer` at this time, or soon after; instead of any earlier such wish. max(): never.
struct WakeAt {
  TimePoint when = TimePoint::max();
  friend bool operator==(const WakeAt&, const WakeAt&) = default;
};

using SwapAction = std::variant<StartSwap, CancelSwap, GrantTicket, RejectTicket, StopModels, WakeAt>;

/// What one or more events have brought about, in the order in which it was decided. Reused, it allocates nothing.
///
/// Threads: none of its own.
class SwapActions {
 public:
  void clear() noexcept {
    actions_.clear();
    models_.clear();
  }

  [[nodiscard]] bool empty() const noexcept { return actions_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return actions_.size(); }
  [[nodiscard]] const SwapAction& operator[](std::size_t at) const noexcept { return actions_[at]; }
  [[nodiscard]] auto begin() const noexcept { return actions_.begin(); }
  [[nodiscard]] auto end() const noexcept { return actions_.end(); }

  /// The models of an action in here; valid until the next event.
  [[nodiscard]] std::span<const ModelId> models(ModelList list) const noexcept {
    return std::span(models_).subspan(list.first, list.count);
  }

  // For schedulers.

  /// Makes room, so that so many actions and models can be added without memory. Throws: std::bad_alloc.
  void reserve(std::size_t actions, std::size_t models = 0) {
    make_room(actions_, actions);
    make_room(models_, models);
  }
  void add(const SwapAction& action) { actions_.push_back(action); }
  [[nodiscard]] ModelList keep(std::span<const ModelId> models) {
    const ModelList list{.first = static_cast<std::uint32_t>(models_.size()),
                         .count = static_cast<std::uint32_t>(models.size())};
    models_.insert(models_.end(), models.begin(), models.end());
    return list;
  }

 private:
  template <class T>
  static void make_room(std::vector<T>& held, std::size_t more) {
    if (held.capacity() - held.size() < more) held.reserve(std::max(held.size() + more, 2 * held.capacity()));
  }

  std::vector<SwapAction> actions_;
  std::vector<ModelId> models_;
};

}  // namespace penstock::inline PENSTOCK_ABI
