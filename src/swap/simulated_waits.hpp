// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What became of the requests of a simulation, counted.

#include <cstdint>
#include <span>
#include <vector>

#include "penstock/swap/swap_simulator.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

class SimulatedWaits {
 public:
  SimulatedWaits(const ModelTable& models, std::span<const SwapTenant> tenants);

  void arrived(std::uint32_t model, std::uint32_t tenant) { count(model, tenant, &SimulatedRequests::arrived); }
  void granted(std::uint32_t model, std::uint32_t tenant, Duration wait);
  void refused(std::uint32_t model, std::uint32_t tenant, SwapReason reason);
  /// Waits at the end.
  void waits(std::uint32_t model, std::uint32_t tenant, Duration wait);
  void count(std::uint32_t model, std::uint32_t tenant, std::uint64_t SimulatedRequests::*counter);

  /// Adds the figures. To be called once.
  void add_to(SwapSimulationReport& report);

 private:
  struct Group {
    SimulatedRequests counts;
    std::vector<Duration> waits;
  };

  [[nodiscard]] Group* tenant_of(std::uint32_t tenant);

  std::vector<Group> models_;
  std::vector<Group> tenants_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
