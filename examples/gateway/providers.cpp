// SPDX-License-Identifier: MIT
#include "providers.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "verdicts.hpp"

namespace gateway {

using penstock::Context;
using penstock::ProviderCall;

namespace {

/// The keys of `config`. Those that a provider had before at the same address keep their rests.
absl::StatusOr<std::shared_ptr<penstock::ResourcePool<Key>>> make_keys(const ProviderConfig& config,
                                                                       const std::shared_ptr<Upstream>& upstream,
                                                                       const Provider* former) {
  if (config.keys.empty()) return nullptr;
  const bool keeps = former != nullptr && former->keys != nullptr && former->upstream == upstream &&
                     former->config.key_pool.rest_for == config.key_pool.rest_for;
  const auto keys = keeps ? former->keys : std::make_shared<penstock::ResourcePool<Key>>(config.key_pool);
  const auto same = [](const std::vector<KeyConfig>& all, const KeyConfig& key) {
    return std::any_of(all.begin(), all.end(),
                       [&](const auto& each) { return each.id == key.id && each.secret == key.secret; });
  };
  if (keeps) {
    for (const KeyConfig& key : former->config.keys) {
      if (!same(config.keys, key)) static_cast<void>(keys->remove(key.id));
    }
  }
  for (const KeyConfig& key : config.keys) {
    const bool is_there = keeps && same(former->config.keys, key);
    absl::Status status =
        is_there ? keys->update(key.id, key.limits) : keys->add(key.id, Key{key.secret, upstream}, key.limits);
    if (!status.ok()) return status;
  }
  return keys;
}

/// The request, as another provider understands it: models have other names there.
std::string body_for(const ChatRequest& request, const ProviderConfig& provider) {
  for (const std::string& model : provider.models) {
    if (model == request.model) return request.body;
  }
  nlohmann::json body = nlohmann::json::parse(request.body);
  body["model"] = provider.models.front();
  return body.dump();
}

std::runtime_error failed(const absl::Status& status) { return std::runtime_error(std::string(status.message())); }

}  // namespace

Providers::Providers(const Config& config, penstock::PoolObserver* observer)
    : observer_(observer),
      config_(config),
      router_({.interceptors = {retry_room_, ledger_}, .falls_back = may_fall_back}) {
  for (const ProviderConfig& each : config.providers) {
    penstock::WorkerPoolOptions options = each.batch;
    options.observer = observer;
    options.name = each.upstream.name + " batch";
    options.processing_timeout = each.deadline();
    for (const ProviderConfig& other : config.providers) {
      const std::vector<std::string>& names = each.fallback;
      if (std::find(names.begin(), names.end(), other.upstream.name) != names.end()) {
        options.processing_timeout += other.deadline();
      }
    }
    auto batch = penstock::WorkerPool::create(options);
    if (!batch.ok()) throw failed(batch.status());
    batches_.push_back(*std::move(batch));
    absl::StatusOr<Road> road = make_road(each, nullptr);
    if (!road.ok()) throw failed(road.status());
    road->provider->batch = batches_.back().get();
    serve(road->provider);
    const absl::Status added = router_.add(each.upstream.name, road->options);
    if (!added.ok()) throw failed(added);
  }
}

Providers::~Providers() {
  router_.shutdown(Context::background().with_timeout(std::chrono::seconds(0)));
  std::unique_lock lock(streams_mutex_);
  no_streams_.wait(lock, [this] { return streams_ == 0; });
}

absl::StatusOr<Providers::Road> Providers::make_road(ProviderConfig config, const Provider* former) const {
  config.key_pool.name = config.upstream.name;
  auto provider = std::make_shared<Provider>();
  const bool same_upstream = former != nullptr && former->config.upstream == config.upstream;
  provider->upstream = same_upstream ? former->upstream : std::make_shared<Upstream>(config.upstream);
  auto keys = make_keys(config, provider->upstream, former);
  if (!keys.ok()) return keys.status();
  provider->keys = *std::move(keys);
  if (former != nullptr) provider->batch = former->batch;

  penstock::ProviderOptions options{.pool = config.pool,
                                    .breaker = config.breaker,
                                    .rate_limit = config.rate_limit,
                                    .limiter = config.limiter,
                                    .retry = config.retry,
                                    .scaling = config.scaling};
  options.pool.observer = observer_;
  if (options.breaker) options.breaker->classify = breaker_verdict;
  if (config.health) {
    options.health = config.health->options;
    options.health->check = [upstream = provider->upstream, path = config.health->path](const Context& ctx) {
      return upstream->check(path, ctx);
    };
  }
  // A key that comes back soon is waited for by the worker. A longer wait is the retrier's: it holds none.
  if (provider->keys != nullptr) {
    options.lease = penstock::lease_from(provider->keys, {.max_wait = config.key_wait, .sticky_by_tag = true});
  }
  options.retry->classify = [rotates = config.keys.size() > 1](const absl::Status& status) {
    return retry_verdict(status, rotates);
  };
  provider->config = std::move(config);
  return Road{.provider = std::move(provider), .options = std::move(options)};
}

void Providers::serve(const ProviderPtr& provider) {
  retry_room_->set_size(provider->name(), provider->config.retry_waiting);
  const std::unique_lock lock(mutex_);
  by_name_[provider->name()] = provider;
  std::erase_if(by_model_, [&](const auto& each) { return each.second->name() == provider->name(); });
  for (const std::string& model : provider->config.models) by_model_.emplace(model, provider);
}

absl::Status Providers::admit(const ProviderConfig& config, const Provider& former) {
  const std::unique_lock lock(mutex_);
  Config all = config_;
  for (ProviderConfig& each : all.providers) {
    if (each.upstream.name == former.name()) each = config;
  }
  std::string violations;
  for (const std::string& violation : all.violations()) violations += (violations.empty() ? "" : "\n") + violation;
  const penstock::WorkerPoolOptions& batch = former.config.batch;
  if (config.batch.workers != batch.workers || config.batch.queue_capacity != batch.queue_capacity ||
      config.batch.queue_wait_limit != batch.queue_wait_limit) {
    violations += violations.empty() ? "" : "\n";
    violations += "$.batch: cannot be changed while the gateway runs";
  }
  if (!violations.empty()) return absl::InvalidArgumentError(violations);
  if (!updating_.insert(former.name()).second) {
    return absl::FailedPreconditionError(fmt::format("provider '{}' is being updated", former.name()));
  }
  config_ = std::move(all);  // others that come meanwhile have to fit in with it
  return absl::OkStatus();
}

absl::StatusOr<penstock::UpdateReport> Providers::update(ProviderConfig config) {
  ProviderPtr former = named(config.upstream.name);
  if (former == nullptr) return absl::NotFoundError(fmt::format("there is no provider '{}'", config.upstream.name));
  if (absl::Status refused = admit(config, *former); !refused.ok()) return refused;
  former = named(former->name());  // an update may have ended meanwhile; none can now
  absl::StatusOr<penstock::UpdateReport> report = absl::UnknownError("");
  if (absl::StatusOr<Road> road = make_road(std::move(config), former.get()); road.ok()) {
    serve(road->provider);
    report = router_.update(former->name(), road->options);  // the old pool ends: each of its calls has a deadline
  } else {
    report = road.status();
  }
  if (!report.ok()) serve(former);
  const std::unique_lock lock(mutex_);
  updating_.erase(former->name());
  for (ProviderConfig& each : config_.providers) {
    if (!report.ok() && each.upstream.name == former->name()) each = former->config;
  }
  return report;
}

ProviderPtr Providers::find(std::string_view model) const {
  const std::shared_lock lock(mutex_);
  const auto found = by_model_.find(model);
  return found == by_model_.end() ? nullptr : found->second;
}

ProviderPtr Providers::named(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

std::vector<ProviderPtr> Providers::all() const {
  const std::shared_lock lock(mutex_);
  std::vector<ProviderPtr> providers;
  for (const auto& [name, provider] : by_name_) providers.push_back(provider);
  return providers;
}

absl::StatusOr<Answer> Providers::complete(const ChatRequest& request, const ProviderCall& call,
                                           const Upstream::OnPiece& on_piece) const {
  const ProviderPtr provider = named(call.provider());
  const auto calling = call.job().calling();
  const Key key = call.resource_id().empty() ? Key{"", provider->upstream} : call.resource<Key>();
  absl::StatusOr<Answer> answer =
      key.upstream->complete(body_for(request, provider->config), key.secret, call.context(), on_piece);
  if (answer.ok()) answer->key_id = call.resource_id();
  return answer;
}

void Providers::write_models(penstock::JsonWriter& json) const {
  const std::shared_lock lock(mutex_);
  for (const auto& [model, provider] : by_model_) {
    json.begin_object().key("id").value(model).key("object").value("model");
    json.key("owned_by").value(provider->name()).end_object();
  }
}

void Providers::write_state(penstock::JsonWriter& json) const {
  json.key("router").raw(router_.state_json());
  json.key("providers").begin_array();
  for (const ProviderPtr& provider : all()) {
    json.begin_object().key("name").value(provider->name()).key("url").value(provider->config.upstream.url.text());
    const penstock::SlotQueueStats connections = provider->upstream->connections();
    json.key("connections").begin_object().key("used").value(connections.leased).key("idle").value(connections.idle);
    json.key("made").value(connections.offered).key("closed_idle").value(connections.expired).end_object();
    json.key("waiting_for_retry").value(retry_room_->waiting(provider->name()));
    ledger_->write_state(json, provider->name());
    json.end_object();
  }
  json.end_array();
}

void Providers::collect(penstock::MetricSink& sink) const {
  router_.collect(sink);
  for (const auto& batch : batches_) batch->collect(sink);
  ledger_->collect(sink);
  pieces_.collect(sink);
  for (const ProviderPtr& provider : all()) provider->upstream->collect(sink);
}

std::string Providers::books() const {
  std::string text;
  for (const auto& [name, stats] : router_.stats()) {
    const penstock::WorkerPoolStats& pool = stats.pool;
    text += fmt::format(
        "{}: {} jobs accepted: {} succeeded, {} failed, {} threw, {} cancelled, {} expired, {} timed out, {} "
        "displaced, {} abandoned",
        name, pool.accepted, pool.succeeded, pool.failed, pool.panicked, pool.cancelled, pool.queue_expired,
        pool.processing_timeouts, pool.dropped_oldest + pool.shed, pool.abandoned);
    if (stats.retry) {
      text += fmt::format("; {} requests, {} attempts, {} running", stats.retry->calls, stats.retry->attempts,
                          stats.retry->running);
    }
    if (stats.lease) text += fmt::format("; {} keys leased, {} given back", stats.lease->leases, stats.lease->returns);
    text += stats.updates == 0 ? "\n" : fmt::format("; since the last of {} updates\n", stats.updates);
  }
  return text;
}

}  // namespace gateway
