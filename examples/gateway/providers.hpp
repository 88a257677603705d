// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The providers behind the gateway, each with its own pools, breaker, keys, retry policy and connections.

#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "chat_request.hpp"
#include "config.hpp"
#include "upstream.hpp"

#include "penstock/exec/job.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "penstock/exec/retry.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/provider_router.hpp"

namespace gateway {

/// A provider, as requests to it see it.
///
/// Threads: any member, from any thread.
class Provider {
 public:
  class Waiting;

  /// `breaker` may be null; `batch` runs the requests of batches.
  Provider(const ProviderConfig& config, std::shared_ptr<penstock::CircuitBreaker> breaker,
           penstock::WorkerPool& batch);

  /// One attempt: leases a key, asks the upstream, and says how the key has fared. For workers of the provider's pool:
  /// a key that is leased only now cannot have been disabled while the request stood in a queue.
  absl::StatusOr<Answer> complete(const ChatRequest& request, const penstock::JobContext& job,
                                  const Upstream::OnPiece& on_piece = {});

  [[nodiscard]] const std::string& name() const noexcept { return config_.upstream.name; }
  [[nodiscard]] const ProviderConfig& config() const noexcept { return config_; }
  [[nodiscard]] penstock::Retrier& retrier() noexcept { return retrier_; }
  [[nodiscard]] penstock::WorkerPool& batch() const noexcept { return batch_; }

  void collect(penstock::MetricSink& sink) const;
  void write_state(penstock::JsonWriter& json) const;
  /// How often it was tried again and how many keys were leased and given back, in words.
  [[nodiscard]] std::string books() const;

 private:
  struct Key {
    std::string secret;  // never an id: ids are shown in texts and metrics
  };

  [[nodiscard]] penstock::RetryOptions retry_options(std::shared_ptr<penstock::CircuitBreaker> breaker) const;
  absl::StatusOr<penstock::Lease<Key>> lease_key(const ChatRequest& request, const penstock::Context& ctx);

  const ProviderConfig config_;
  Upstream upstream_;
  penstock::ResourcePool<Key> keys_;  // of none if the provider needs none
  penstock::Retrier retrier_;
  penstock::WorkerPool& batch_;
  std::atomic<std::size_t> waiting_{0};  // requests that are tried again
};

/// A request between its attempts. It holds neither a worker nor a place in the queue, but the thread of its
/// connection: so that these do not run out, only so many requests of a provider may be tried again at a time.
class Provider::Waiting {
 public:
  explicit Waiting(Provider& provider) noexcept : provider_(provider) {}
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    if (is_counted_) --provider_.waiting_;
  }

  /// An attempt has failed. Returns whether there is room to wait for another one.
  [[nodiscard]] bool begin() noexcept {
    std::size_t others = provider_.waiting_;
    while (!is_counted_ && others < provider_.config_.retry_waiting) {
      is_counted_ = provider_.waiting_.compare_exchange_weak(others, others + 1);
    }
    return is_counted_;
  }

 private:
  Provider& provider_;
  bool is_counted_ = false;
};

/// Which provider serves which model, and the router that isolates the providers from each other.
///
/// Threads: any member, from any thread, once made.
class Providers {
 public:
  /// Starts the pools; `observer`, if not null, is told about their jobs. Throws: std::runtime_error if one cannot be
  /// started.
  explicit Providers(const std::vector<ProviderConfig>& providers, penstock::PoolObserver* observer = nullptr);

  /// The provider of a model; null if there is none.
  [[nodiscard]] Provider* find(std::string_view model) const;

  /// {"object": "list", "data": [{"id": model, "object": "model", "owned_by": provider}]}
  [[nodiscard]] std::string models_json() const;
  /// {"router": ..., "providers": [...]}, without the braces.
  void write_state(penstock::JsonWriter& json) const;
  void collect(penstock::MetricSink& sink) const;
  /// What became of the calls of each provider, a line each.
  [[nodiscard]] std::string books() const;

  [[nodiscard]] penstock::ProviderRouter& router() noexcept { return router_; }

 private:
  // Jobs use the providers, and those of batches the router, too: what is used is destroyed later.
  std::vector<std::unique_ptr<Provider>> providers_;
  std::map<std::string, Provider*, std::less<>> by_model_;
  penstock::ProviderRouter router_;
  std::vector<std::unique_ptr<penstock::WorkerPool>> batches_;
};

}  // namespace gateway
