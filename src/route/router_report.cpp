// SPDX-License-Identifier: MIT

// What a router says of its providers: metrics.

#include <cstddef>
#include <vector>

#include "penstock/route/detail/router_upkeep.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// Adds a label to all that passes.
class LabelledSink final : public MetricSink {
 public:
  LabelledSink(MetricSink& sink, Label label) : sink_(sink), labels_{label} {}

  void counter(std::string_view name, std::string_view help, Labels labels, std::uint64_t value) override {
    sink_.counter(name, help, with(labels), value);
  }
  void gauge(std::string_view name, std::string_view help, Labels labels, double value) override {
    sink_.gauge(name, help, with(labels), value);
  }
  void histogram(std::string_view name, std::string_view help, Labels labels,
                 const LatencyHistogram::Snapshot& value) override {
    sink_.histogram(name, help, with(labels), value);
  }

 private:
  Labels with(Labels labels) {
    labels_.resize(1);
    labels_.insert(labels_.end(), labels.begin(), labels.end());
    return labels_;
  }

  MetricSink& sink_;
  std::vector<Label> labels_;
};

}  // namespace

void ProviderRouter::collect(MetricSink& sink) const {
  for (const auto& provider : all()) {
    LabelledSink labelled(sink, {"provider", provider->name()});
    const ProviderState now = provider->state();
    for (std::size_t index = 0; index < kProviderStates; ++index) {
      const auto state = static_cast<ProviderState>(index);
      labelled.gauge("penstock_provider_state", "whether the provider is in this state", {{"state", to_string(state)}},
                     now == state ? 1 : 0);
    }
    const detail::ProviderRoad& road = *provider->road();
    labelled.counter("penstock_provider_updates_total", "changes of options while it served", {},
                     road.life().updates());
    labelled.counter("penstock_provider_interceptor_exceptions_total", "caught from interceptors", {},
                     road.life().interceptor_exceptions());
    if (provider->has_pool()) provider->pool().collect(labelled);
    if (road.breaker() != nullptr) road.breaker()->collect(labelled);
    if (road.lease() != nullptr) road.lease()->collect(labelled);
    if (road.parts().rate_limit != nullptr) road.parts().rate_limit->collect(labelled);
    if (road.parts().limiter != nullptr) road.parts().limiter->collect(labelled);
    if (road.retrier() != nullptr) road.retrier()->collect(labelled);
    if (provider->scaler() != nullptr) provider->scaler()->collect(labelled);
  }
  std::vector<Upkeep*> upkeeps;
  {
    const MutexLock lock(mutex_);
    for (const auto& [clock, upkeep] : upkeep_) upkeeps.push_back(upkeep.get());  // they stay as long as the router
  }
  for (Upkeep* const upkeep : upkeeps) {
    upkeep->monitor.collect(sink);
    upkeep->runner.collect(sink);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
