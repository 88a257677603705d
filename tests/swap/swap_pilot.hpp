// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Chooses what happens next in a random world: mostly what a back end and its clients would do, now and then what they
/// must not.

#include <cstdint>
#include <optional>

#include "swap/swap_duel.hpp"
#include "swap/swap_world.hpp"

namespace penstock::testing {

/// What a pilot sees.
struct View {
  const ReferenceScheduler& scheduler;
  const Underway& underway;
};

class Pilot {
 public:
  explicit Pilot(const World& world) : world_(world), random_(world.seed * 2 + 2) {}

  [[nodiscard]] Step next(const View& view);

  /// The next step towards an end in which nothing is under way; nothing: it is reached.
  [[nodiscard]] std::optional<Step> settle(const View& view);

 private:
  [[nodiscard]] Step request();
  [[nodiscard]] Step leave(const View& view, Step::What what);
  [[nodiscard]] Step advance_swap(const View& view);
  [[nodiscard]] Step advance_stop(const View& view);
  [[nodiscard]] Step report(const View& view);
  [[nodiscard]] Step unload();
  [[nodiscard]] Step stale();
  [[nodiscard]] std::uint32_t any_model() { return static_cast<std::uint32_t>(random_.below(models())); }
  [[nodiscard]] std::size_t models() const noexcept { return world_.options.models.size(); }

  const World& world_;
  Random random_;
  std::uint32_t requests_ = 0;
  bool floods_ = true;       // more come than go
  bool has_waited_ = false;  // nothing has happened since
};

}  // namespace penstock::testing
