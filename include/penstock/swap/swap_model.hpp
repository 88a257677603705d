// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler decides about: models, each served by a process that may have to make room for another one.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "penstock/core/clock.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// A model's place among all models of its `ModelTable`, in the order of their names, from 0 on.
enum class ModelId : std::uint32_t {};
inline constexpr ModelId kNoModel{0xffff'ffff};

/// One request, from `on_request` until it has ended. Never given twice.
enum class TicketId : std::uint64_t {};
/// One swap: its models to evict go, then its target comes. Never given twice.
enum class SwapId : std::uint64_t {};
/// One order to stop models. Never given twice.
enum class StopId : std::uint64_t {};
/// Who a request is for, by its place in `SwapSchedulerOptions::tenants`; what is beyond them shares one more.
enum class TenantId : std::uint32_t {};

/// What a model's process does. It runs in all but the last three.
enum class ModelState : std::uint8_t {
  kStarting,
  kReady,
  kStopping,
  kStopped,
  kShutdown,  ///< stopped, and will not start again
  kUnknown,   ///< the model is not configured any more: its requests are refused
};

/// The name of `state`, such as "starting".
std::string_view to_string(ModelState state) noexcept;

constexpr bool is_running(ModelState state) noexcept { return state <= ModelState::kStopping; }

struct SwapModel {
  /// 1 to 256 bytes; no two models have the same.
  std::string name = {};
  /// Its requests go before those of models with a lower one; may be negative.
  std::int32_t priority = 0;
  /// How many of its requests are let in, or served, at a time, as `SwapSchedulerOptions::limit_at` says; at least 0,
  /// which stands for 10.
  std::int32_t concurrency_limit = 0;

  /// Once it is ready and has served nothing for so long, it is stopped; positive, max(): never.
  Duration idle_unload = Duration::max();
  /// How long its start takes, until that has been seen: for guesses at waiting times and for costs. At least 0.
  Duration start_time = std::chrono::seconds(10);

  friend bool operator==(const SwapModel&, const SwapModel&) = default;
};

/// The models of a scheduler, in the order of their names: the order in which planners see them, and victims are named.
///
/// Threads: immutable; any member, from any thread.
class ModelTable {
 public:
  ModelTable() = default;
  /// Sorts `models` by name. Throws: std::invalid_argument with all that is wrong.
  explicit ModelTable(std::vector<SwapModel> models);

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] static absl::Status validate(std::span<const SwapModel> models);

  [[nodiscard]] std::size_t size() const noexcept { return models_.size(); }
  [[nodiscard]] bool contains(ModelId id) const noexcept { return static_cast<std::size_t>(id) < models_.size(); }
  /// The model of that name. Cost: O(log of the number of models).
  [[nodiscard]] std::optional<ModelId> find(std::string_view name) const noexcept;
  /// `id` must be one of the table.
  [[nodiscard]] const SwapModel& operator[](ModelId id) const noexcept { return models_[static_cast<std::size_t>(id)]; }
  /// Its name, or "(unknown)".
  [[nodiscard]] std::string_view name(ModelId id) const noexcept {
    return contains(id) ? std::string_view((*this)[id].name) : std::string_view("(unknown)");
  }
  [[nodiscard]] std::span<const SwapModel> all() const noexcept { return models_; }

 private:
  std::vector<SwapModel> models_;
};

}  // namespace penstock::inline PENSTOCK_ABI
