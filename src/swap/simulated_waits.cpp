// SPDX-License-Identifier: MIT
#include "simulated_waits.hpp"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// The least of the values that `share` of them do not exceed. Changes the order.
Duration quantile(std::vector<Duration>& waits, double share) {
  const auto rank = static_cast<std::size_t>(std::max(0.0, share * static_cast<double>(waits.size()) - 1e-9));
  const auto place = waits.begin() + static_cast<std::ptrdiff_t>(std::min(rank, waits.size() - 1));
  std::nth_element(waits.begin(), place, waits.end());
  return *place;
}

WaitFigures figures_of(std::vector<Duration>& waits) {
  WaitFigures figures;
  figures.count = waits.size();
  if (waits.empty()) return figures;
  double sum = 0;
  for (const Duration wait : waits) sum += static_cast<double>(wait.count());
  figures.mean = Duration(static_cast<Duration::rep>(sum / static_cast<double>(waits.size())));
  figures.p50 = quantile(waits, 0.5);
  figures.p99 = quantile(waits, 0.99);
  figures.max = *std::max_element(waits.begin(), waits.end());
  return figures;
}

void add(SimulatedRequests& sum, const SimulatedRequests& part) {
  for (auto counter : {&SimulatedRequests::arrived, &SimulatedRequests::granted, &SimulatedRequests::served,
                       &SimulatedRequests::broken, &SimulatedRequests::gone, &SimulatedRequests::cancelled,
                       &SimulatedRequests::unserved}) {
    sum.*counter += part.*counter;
  }
  for (std::size_t reason = 0; reason != kSwapReasons; ++reason) sum.refused[reason] += part.refused[reason];
  sum.longest_unserved = std::max(sum.longest_unserved, part.longest_unserved);
}

std::string line_of(const SimulatedRequests& requests) {
  std::uint64_t refused = 0;
  for (const std::uint64_t count : requests.refused) refused += count;
  const auto text = [](Duration wait) { return fmt::format("{:.1f}", detail::seconds(wait)); };
  return fmt::format("{:<20.20}{:>10}{:>10}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", requests.name, requests.arrived,
                     requests.served, refused, requests.cancelled, requests.unserved, text(requests.waits.mean),
                     text(requests.waits.p50), text(requests.waits.p99), text(requests.waits.max));
}

}  // namespace

detail::SimulatedWaits::SimulatedWaits(const ModelTable& models, std::span<const SwapTenant> tenants)
    : models_(models.size()), tenants_(tenants.empty() ? 0 : tenants.size() + 1) {
  for (std::size_t id = 0; id != models.size(); ++id) models_[id].counts.name = models.all()[id].name;
  for (std::size_t id = 0; id != tenants.size(); ++id) tenants_[id].counts.name = tenants[id].name;
  if (!tenants.empty()) tenants_.back().counts.name = "(others)";
}

detail::SimulatedWaits::Group* detail::SimulatedWaits::tenant_of(std::uint32_t tenant) {
  return tenants_.empty() ? nullptr : &tenants_[std::min<std::size_t>(tenant, tenants_.size() - 1)];
}

void detail::SimulatedWaits::count(std::uint32_t model, std::uint32_t tenant,
                                   std::uint64_t SimulatedRequests::*counter) {
  ++(models_[model].counts.*counter);
  if (Group* const group = tenant_of(tenant)) ++(group->counts.*counter);
}

void detail::SimulatedWaits::granted(std::uint32_t model, std::uint32_t tenant, Duration wait) {
  count(model, tenant, &SimulatedRequests::granted);
  models_[model].waits.push_back(wait);
  if (Group* const group = tenant_of(tenant)) group->waits.push_back(wait);
}

void detail::SimulatedWaits::refused(std::uint32_t model, std::uint32_t tenant, SwapReason reason) {
  ++models_[model].counts.refused[static_cast<std::size_t>(reason)];
  if (Group* const group = tenant_of(tenant)) ++group->counts.refused[static_cast<std::size_t>(reason)];
}

void detail::SimulatedWaits::waits(std::uint32_t model, std::uint32_t tenant, Duration wait) {
  count(model, tenant, &SimulatedRequests::unserved);
  const auto longest = [wait](Group& group) {
    group.counts.longest_unserved = std::max(group.counts.longest_unserved, wait);
  };
  longest(models_[model]);
  if (Group* const group = tenant_of(tenant)) longest(*group);
}

void detail::SimulatedWaits::add_to(SwapSimulationReport& report) {
  report.all.name = "all";
  std::vector<Duration> all;
  for (Group& group : models_) {
    add(report.all, group.counts);
    group.counts.waits = figures_of(group.waits);
    all.insert(all.end(), group.waits.begin(), group.waits.end());
    report.models.push_back(std::move(group.counts));
  }
  report.all.waits = figures_of(all);
  for (Group& group : tenants_) {
    group.counts.waits = figures_of(group.waits);
    report.tenants.push_back(std::move(group.counts));
  }
}

std::string to_table(const SwapSimulationReport& report) {
  std::string text = fmt::format("{:<20}{:>10}{:>10}{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}\n", "", "arrived", "served",
                                 "refused", "cancelled", "unserved", "mean s", "p50 s", "p99 s", "max s");
  for (const SimulatedRequests& model : report.models) text += line_of(model);
  for (const SimulatedRequests& tenant : report.tenants) text += line_of(tenant);
  text += line_of(report.all);
  text += fmt::format("{} swaps ({} failed, {} called off, {} models evicted), under way {:.1f} % of the time",
                      report.swaps, report.swaps_failed, report.swaps_called_off, report.evictions,
                      100 * report.swap_time_share);
  if (report.unloads != 0) text += fmt::format("; {} unloads", report.unloads);
  if (report.crashes != 0) text += fmt::format("; {} crashes", report.crashes);
  text += fmt::format("; {} events\n", report.events);
  std::string refused;
  for (std::size_t reason = 0; reason != kSwapReasons; ++reason) {
    if (report.all.refused[reason] == 0) continue;
    refused += fmt::format("{}{} {}", refused.empty() ? "refused: " : ", ", report.all.refused[reason],
                           to_string(static_cast<SwapReason>(reason)));
  }
  return refused.empty() ? text : text + refused + "\n";
}

}  // namespace penstock::inline PENSTOCK_ABI
