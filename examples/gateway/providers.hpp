// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The providers behind the gateway: a `ProviderRouter` with all that stands on their roads, and what it takes to ask
/// them.

#include <condition_variable>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "attempts.hpp"
#include "chat_request.hpp"
#include "config.hpp"
#include "upstream.hpp"

#include "penstock/core/work_stealing_executor.hpp"
#include "penstock/exec/resource_pool.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/provider_router.hpp"
#include "penstock/state/buffer_pool.hpp"

namespace gateway {

/// An API key, and whom it may be shown to: one that is leased goes there, also if the provider has another address by
/// now.
struct Key {
  std::string secret;  // never an id: ids are shown in texts and metrics
  std::shared_ptr<Upstream> upstream;
};

/// A provider as it is configured now; an update makes another one. Requests keep the one that they began with.
struct Provider {
  ProviderConfig config;
  std::shared_ptr<Upstream> upstream;
  std::shared_ptr<penstock::ResourcePool<Key>> keys;  // null if it needs none
  penstock::WorkerPool* batch = nullptr;              // runs the requests of batches

  [[nodiscard]] const std::string& name() const noexcept { return config.upstream.name; }
};
using ProviderPtr = std::shared_ptr<const Provider>;

/// Which provider serves which model, and the router that isolates the providers from each other.
///
/// Threads: any member, from any thread, once made.
class Providers {
 public:
  class StreamGuard;

  /// Starts the pools; `observer`, if not null, is told about their jobs. Throws: std::runtime_error if one cannot be
  /// started, or a health check fails that has to pass.
  explicit Providers(const Config& config, penstock::PoolObserver* observer = nullptr);
  /// Calls off what is left, and waits for it.
  ~Providers();

  /// The provider of a model; null if there is none.
  [[nodiscard]] ProviderPtr find(std::string_view model) const;
  /// The provider of that name; null if there is none.
  [[nodiscard]] ProviderPtr named(std::string_view name) const;

  /// Serves a provider as `config` says from now on. No request is lost or made twice because of it.
  ///
  /// Returns: what the router says; InvalidArgument, with a line for each violation; FailedPrecondition while another
  ///          update of the same provider goes on.
  /// Blocks:  until what runs by the old configuration has ended.
  absl::StatusOr<penstock::UpdateReport> update(ProviderConfig config);

  /// One attempt, for the function of a job.
  absl::StatusOr<Answer> complete(const ChatRequest& request, const penstock::ProviderCall& call,
                                  const Upstream::OnPiece& on_piece = {}) const;

  /// {"id": model, "object": "model", "owned_by": provider} for each, into an array that has begun.
  void write_models(penstock::JsonWriter& json) const;
  /// "router": what that says; "providers": [what it does not know], as members of an object that has begun.
  void write_state(penstock::JsonWriter& json) const;
  void collect(penstock::MetricSink& sink) const;
  /// What became of the calls of each provider, a line each.
  [[nodiscard]] std::string books() const;

  [[nodiscard]] penstock::ProviderRouter& router() noexcept { return router_; }
  [[nodiscard]] RetryRoom& retry_room() noexcept { return *retry_room_; }
  /// Memory for the pieces of streams.
  [[nodiscard]] penstock::BufferPool& pieces() noexcept { return pieces_; }
  /// Runs the coroutines of streams.
  [[nodiscard]] penstock::Executor& executor() noexcept { return executor_; }

 private:
  struct Road {
    std::shared_ptr<Provider> provider;
    penstock::ProviderOptions options;
  };

  [[nodiscard]] absl::StatusOr<Road> make_road(ProviderConfig config, const Provider* former) const;
  void serve(const ProviderPtr& provider);
  /// Claims a provider's name for an update, if that would leave all providers with what they need.
  absl::Status admit(const ProviderConfig& config, const Provider& former);
  [[nodiscard]] std::vector<ProviderPtr> all() const;

  penstock::PoolObserver* const observer_;
  const std::shared_ptr<Ledger> ledger_ = std::make_shared<Ledger>();
  const std::shared_ptr<RetryRoom> retry_room_ = std::make_shared<RetryRoom>();
  // Jobs use the providers, and those of batches the router, too: what is used is destroyed later.
  penstock::BufferPool pieces_{{.name = "stream pieces"}};
  penstock::WorkStealingExecutor executor_{1, "streams"};
  mutable std::shared_mutex mutex_;
  Config config_;
  std::map<std::string, ProviderPtr, std::less<>> by_name_;
  std::map<std::string, ProviderPtr, std::less<>> by_model_;
  std::set<std::string> updating_;  // names

  std::mutex streams_mutex_;
  std::condition_variable no_streams_;
  std::size_t streams_ = 0;  // coroutines that use the router

  penstock::ProviderRouter router_;
  std::vector<std::unique_ptr<penstock::WorkerPool>> batches_;
};

/// Keeps `Providers` until a coroutine that uses them has ended.
class Providers::StreamGuard {
 public:
  explicit StreamGuard(Providers& providers) : providers_(providers) {
    const std::lock_guard lock(providers_.streams_mutex_);
    ++providers_.streams_;
  }
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;
  ~StreamGuard() {
    const std::lock_guard lock(providers_.streams_mutex_);
    if (--providers_.streams_ == 0) providers_.no_streams_.notify_all();
  }

 private:
  Providers& providers_;
};

}  // namespace gateway
