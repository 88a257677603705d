// SPDX-License-Identifier: MIT
#include "decision_header.hpp"

#include <bit>
#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>

#include "penstock/swap/decision_log.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Makes one number of many values.
class Digest {
 public:
  void add(std::string_view text) {
    add(text.size());
    checksum_.add(std::as_bytes(std::span(text)));
  }
  void add(double value) { checksum_.add(std::bit_cast<std::uint64_t>(value)); }
  void add(Duration value) { checksum_.add(static_cast<std::uint64_t>(value.count())); }
  template <class Value>
  requires(std::is_integral_v<Value> || std::is_enum_v<Value>) void add(Value value) {
    checksum_.add(static_cast<std::uint64_t>(value));
  }
  // Of each aggregate all members, by structured bindings: one more does not compile before it is in here.
  void add(const SwapModel& model) {
    const auto& [name, priority, concurrency_limit, idle_unload, start_time] = model;
    add_all(name, priority, concurrency_limit, idle_unload, start_time);
  }
  void add(const SwapTenant& tenant) {
    const auto& [name, weight] = tenant;
    add_all(name, weight);
  }
  void add(const SwapBackOff& back_off) {
    const auto& [first, factor, longest] = back_off;
    add_all(first, factor, longest);
  }
  void add(const SwapBatching& batching) {
    const auto& [by_cost, min_residency] = batching;
    add_all(by_cost, min_residency);
  }
  void add(const EvictionPlanner& planner, const ModelTable& models) {
    add_all(planner.name(), planner.is_monotone(), planner.uses_history());
    const PairwiseEviction* const pairwise = planner.pairwise();
    if (pairwise == nullptr) return;
    add_all(pairwise->classes(), pairwise->kinds());
    for (std::size_t id = 0; id != models.size(); ++id) {
      const std::size_t model_class = pairwise->class_of(static_cast<ModelId>(id));
      add_all(model_class, pairwise->kind_of(model_class), pairwise->evicts(model_class, model_class));
    }
    add(*pairwise, models);
  }
  template <class... Values>
  void add_all(const Values&... values) {
    (add(values), ...);
  }

  [[nodiscard]] std::uint64_t value() const { return checksum_.value(); }

 private:
  /// What each kind says of each other one, by the first class of each that has a model, and the first after that.
  void add(const PairwiseEviction& pairwise, const ModelTable& models) {
    constexpr std::size_t kNone = static_cast<std::size_t>(-1);
    std::vector<std::size_t> first(pairwise.kinds(), kNone);
    std::vector<std::size_t> second(pairwise.kinds(), kNone);
    for (std::size_t id = 0; id != models.size(); ++id) {
      const std::size_t model_class = pairwise.class_of(static_cast<ModelId>(id));
      const std::size_t kind = pairwise.kind_of(model_class);
      if (first[kind] == kNone) {
        first[kind] = model_class;
      } else if (second[kind] == kNone && first[kind] != model_class) {
        second[kind] = model_class;
      }
    }
    for (std::size_t a = 0; a != first.size(); ++a) {
      for (std::size_t b = 0; b != first.size(); ++b) {
        const std::size_t other = a == b ? second[b] : first[b];
        if (first[a] != kNone && other != kNone) add(pairwise.evicts(first[a], other));
      }
    }
  }

  detail::Checksum checksum_;
};

void put(std::vector<std::byte>& bytes, std::uint64_t number) {
  for (; number >= 0x80; number >>= 7U) bytes.push_back(static_cast<std::byte>((number & 0x7f) | 0x80));
  bytes.push_back(static_cast<std::byte>(number));
}
void put(std::vector<std::byte>& bytes, std::string_view name) {
  put(bytes, name.size());
  const std::span text = std::as_bytes(std::span(name));
  bytes.insert(bytes.end(), text.begin(), text.end());
}

}  // namespace

std::uint64_t decision_digest(const SwapSchedulerOptions& options) {
  const auto& [name, models, planner, limit_at, conduct, order, aging_step, tenants, max_wait, claim_priority,
               reject_late, back_off, batching, cancel_unwanted, max_queued, max_queued_per_model,
               max_queued_per_tenant] = options;
  static_cast<void>(name);
  const ModelTable table(models);
  Digest digest;
  digest.add(table.size());
  for (const SwapModel& model : table.all()) digest.add(model);
  if (planner) {
    if (const std::shared_ptr<const EvictionPlanner> made = planner(table)) digest.add(*made, table);
  }
  digest.add_all(limit_at, conduct, order, aging_step, tenants.size());
  for (const SwapTenant& tenant : tenants) digest.add(tenant);
  digest.add_all(max_wait, claim_priority, reject_late, back_off, batching, cancel_unwanted, max_queued,
                 max_queued_per_model, max_queued_per_tenant);
  return digest.value();
}

std::vector<std::byte> detail::decision_header(const SwapSchedulerOptions& options) {
  std::vector<std::byte> bytes(kDecisionHeadBytes + 8);
  store(bytes.data() + kDecisionHeadBytes, decision_digest(options));
  put(bytes, options.name);
  const ModelTable table(options.models);
  put(bytes, table.size());
  for (const SwapModel& model : table.all()) put(bytes, model.name);

  std::copy(kDecisionMagic.begin(), kDecisionMagic.end(), bytes.begin());
  const std::span rest = std::span(bytes).subspan(kDecisionHeadBytes);
  store(bytes.data() + 8, kDecisionVersion);
  store(bytes.data() + 12, static_cast<std::uint32_t>(rest.size()));
  Checksum checksum;
  checksum.add(rest);
  store(bytes.data() + 16, checksum.value());
  return bytes;
}

}  // namespace penstock::inline PENSTOCK_ABI
