// SPDX-License-Identifier: MIT
#include "providers.hpp"

#include <stdexcept>
#include <utility>

#include <fmt/core.h>

#include "errors.hpp"
#include "verdicts.hpp"

#include "penstock/core/retry_after.hpp"

namespace gateway {

using absl::StatusCode;
using penstock::Context;

Provider::Provider(const ProviderConfig& config, std::shared_ptr<penstock::CircuitBreaker> breaker,
                   penstock::WorkerPool& batch)
    : config_(config),
      upstream_(config.upstream),
      keys_(config.key_pool),
      retrier_(retry_options(std::move(breaker))),
      batch_(batch) {
  for (const KeyConfig& key : config.keys) {
    const absl::Status added = keys_.add(key.id, Key{key.secret}, key.limits);
    if (!added.ok()) throw std::runtime_error(std::string(added.message()));
  }
}

penstock::RetryOptions Provider::retry_options(std::shared_ptr<penstock::CircuitBreaker> breaker) const {
  penstock::RetryOptions options = config_.retry;
  options.rotates_resources = config_.keys.size() > 1;
  options.classify = retry_verdict;
  options.breaker_open = [breaker = std::move(breaker)] {
    return breaker != nullptr && breaker->state() == penstock::BreakerState::kOpen;
  };
  return options;
}

absl::StatusOr<penstock::Lease<Provider::Key>> Provider::lease_key(const ChatRequest& request, const Context& ctx) {
  // A key that comes back soon is waited for here. A longer wait is the retrier's: it holds no worker.
  auto key = keys_.acquire({.sticky_key = request.session}, ctx.with_timeout(config_.key_wait));
  if (key.ok() || absl::IsCancelled(key.status())) return key;
  const auto wait = penstock::retry_after(key.status());
  const bool are_busy = absl::IsDeadlineExceeded(key.status());
  absl::Status refused =
      upstream_fault(are_busy ? StatusCode::kResourceExhausted : StatusCode::kFailedPrecondition, Stage::kAdmission,
                     are_busy ? "keys_busy" : "no_key", std::string(key.status().message()));
  return wait ? penstock::with_retry_after(std::move(refused), *wait) : refused;
}

absl::StatusOr<Answer> Provider::complete(const ChatRequest& request, const penstock::JobContext& job,
                                          const Upstream::OnPiece& on_piece) {
  const auto call = [&](const std::string& secret) {
    const auto calling = job.calling();
    return upstream_.complete(request.body, secret, job.context, on_piece);
  };
  if (config_.keys.empty()) return call("");
  auto key = lease_key(request, job.context);
  if (!key.ok()) return key.status();
  absl::StatusOr<Answer> answer = call((*key)->secret);
  if (!answer.ok()) {
    key->report(answer.status());
    return answer;
  }
  answer->key_id = key->id();
  key->report(to_status(*answer, name()));  // a 429 lets it rest, a 401 puts it out of use
  return answer;
}

void Provider::collect(penstock::MetricSink& sink) const {
  batch_.collect(sink);
  retrier_.collect(sink);
  if (!config_.keys.empty()) keys_.collect(sink);
}

void Provider::write_state(penstock::JsonWriter& json) const {
  const penstock::RetryStats retry = retrier_.stats();
  json.begin_object().key("name").value(name());
  json.key("retry").begin_object().key("calls").value(retry.calls).key("retries").value(retry.retries);
  json.key("succeeded_after_retry").value(retry.succeeded_after_retry);
  json.key("waiting").value(waiting_.load()).end_object();
  json.key("keys").begin_array();
  for (const penstock::ResourceStats& key : keys_.stats().by_resource) {
    json.begin_object().key("id").value(key.id).key("weight").value(key.weight);
    json.key("in_use").value(key.in_use).key("leases").value(key.leases).key("errors").value(key.errors);
    json.key("disabled").value(key.is_disabled).end_object();
  }
  json.end_array().end_object();
}

std::string Provider::books() const {
  const penstock::RetryStats retry = retrier_.stats();
  std::string text = fmt::format("{} requests, {} attempts, {} running", retry.calls, retry.attempts, retry.running);
  if (config_.keys.empty()) return text;
  const penstock::ResourcePoolStats keys = keys_.stats();
  return text + fmt::format("; {} keys leased, {} given back", keys.leases, keys.returns);
}

Providers::Providers(const std::vector<ProviderConfig>& providers, penstock::PoolObserver* observer) {
  for (ProviderConfig config : providers) {
    const std::string& name = config.upstream.name;
    config.pool.observer = config.batch.observer = observer;
    config.batch.name = name + " batch";
    config.batch.processing_timeout = config.deadline();
    config.retry.name = config.key_pool.name = name;
    if (config.breaker) config.breaker->classify = breaker_verdict;
    const absl::Status added = router_.add(name, {.pool = config.pool, .breaker = config.breaker});
    if (!added.ok()) throw std::runtime_error(std::string(added.message()));
    auto batch = penstock::WorkerPool::create(config.batch);
    if (!batch.ok()) throw std::runtime_error(std::string(batch.status().message()));
    batches_.push_back(*std::move(batch));
    providers_.push_back(std::make_unique<Provider>(config, router_.breaker(name), *batches_.back()));
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
    json.key("owned_by").value(provider->name()).end_object();
  }
  json.end_array().end_object();
  return json.take();
}

void Providers::write_state(penstock::JsonWriter& json) const {
  json.key("router").raw(router_.state_json());
  json.key("providers").begin_array();
  for (const auto& provider : providers_) provider->write_state(json);
  json.end_array();
}

void Providers::collect(penstock::MetricSink& sink) const {
  router_.collect(sink);
  for (const auto& provider : providers_) provider->collect(sink);
}

std::string Providers::books() const {
  std::string text;
  const auto stats = router_.stats();
  for (const auto& provider : providers_) {
    const penstock::WorkerPoolStats& pool = stats.at(provider->name()).pool;
    text += fmt::format(
        "{}: {} jobs accepted: {} succeeded, {} failed, {} threw, {} cancelled, {} expired, {} timed out, {} "
        "displaced, "
        "{} abandoned; {}\n",
        provider->name(), pool.accepted, pool.succeeded, pool.failed, pool.panicked, pool.cancelled, pool.queue_expired,
        pool.processing_timeouts, pool.dropped_oldest + pool.shed, pool.abandoned, provider->books());
  }
  return text;
}

}  // namespace gateway
