// SPDX-License-Identifier: MIT
#include "providers.hpp"

#include <stdexcept>

#include "penstock/metrics/json_writer.hpp"

namespace gateway {

Providers::Providers(const std::vector<ProviderConfig>& providers) {
  for (const ProviderConfig& config : providers) {
    const std::string& name = config.upstream.name;
    const absl::Status added = router_.add(name, {.pool = config.pool, .breaker = config.breaker});
    if (!added.ok()) throw std::runtime_error(std::string(added.message()));
    providers_.push_back(std::make_unique<Provider>(config));
    for (const std::string& model : config.models) by_model_.emplace(model, providers_.back().get());
  }
}

Provider* Providers::find(std::string_view model) const {
  const auto found = by_model_.find(model);
  return found == by_model_.end() ? nullptr : found->second;
}

std::string Providers::models_json() const {
  penstock::JsonWriter json;
  json.begin_object().key("object").value("list").key("data").begin_array();
  for (const auto& [model, provider] : by_model_) {
    json.begin_object().key("id").value(model).key("object").value("model");
    json.key("owned_by").value(provider->config.upstream.name).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace gateway
