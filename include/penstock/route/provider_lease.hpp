// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a provider's calls need besides a worker: an API key, a client, a session, leased for each call.
///
///     auto keys = std::make_shared<ResourcePool<Key>>(ResourcePoolOptions{.name = "openai"});
///     router.add("openai", {.lease = lease_from(keys, {.max_wait = 1s})});
///     router.submit("openai", [&](const ProviderCall& call) { return ask(call.resource<Key>(), call.context()); });

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/exec/job.hpp"
#include "penstock/exec/resource_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {

/// A lease without its type.
class HeldLease {
 public:
  HeldLease(const HeldLease&) = delete;
  HeldLease& operator=(const HeldLease&) = delete;
  virtual ~HeldLease() = default;

  [[nodiscard]] virtual std::string_view id() const noexcept = 0;
  virtual void report(const absl::Status& status) noexcept = 0;

  [[nodiscard]] const std::type_info& type() const noexcept { return type_; }
  [[nodiscard]] void* resource() const noexcept { return resource_; }

 protected:
  HeldLease(const std::type_info& type, void* resource) noexcept : type_(type), resource_(resource) {}

 private:
  const std::type_info& type_;
  void* const resource_;
};

/// Where leases come from.
class LeaseSource {
 public:
  LeaseSource() = default;
  LeaseSource(const LeaseSource&) = delete;
  LeaseSource& operator=(const LeaseSource&) = delete;
  virtual ~LeaseSource() = default;

  /// Waits at most until `ctx` ends.
  virtual absl::StatusOr<std::unique_ptr<HeldLease>> acquire(const std::string& session, const Context& ctx) = 0;
  virtual void collect(MetricSink& sink) const = 0;
  [[nodiscard]] virtual ResourcePoolStats stats() const = 0;
};

}  // namespace detail

struct ProviderLeaseOptions {
  /// How long a call waits for a resource, holding its worker; at least 0. Where calls are tried again, the longer
  /// waits are better left to the back-off, which holds none.
  Duration max_wait = Duration::max();
  /// Calls with the same tag (`SubmitOptions::tag`) get the same resource as long as that can be.
  bool sticky_by_tag = false;
};

/// Where a provider's calls get what they lease; made by `lease_from`.
using ProviderLease = std::shared_ptr<detail::LeaseSource>;

/// A call to a provider, as its function sees it. Valid during the call.
class ProviderCall {
 public:
  ProviderCall(std::string_view provider, const JobContext& job, detail::HeldLease* lease) noexcept
      : provider_(provider), job_(job), lease_(lease) {}

  [[nodiscard]] std::string_view provider() const noexcept { return provider_; }
  [[nodiscard]] const JobContext& job() const noexcept { return job_; }
  [[nodiscard]] const Context& context() const noexcept { return job_.context; }
  /// Which attempt of its call this is, from 1.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return job_.attempt; }

  /// What was leased for this call. The provider leases things of type `R`: anything else is a broken contract.
  template <class R>
  [[nodiscard]] R& resource() const noexcept {
    PENSTOCK_CHECK(lease_ != nullptr && lease_->type() == typeid(R), "a call asked for a resource that it has not got");
    return *static_cast<R*>(lease_->resource());
  }
  /// Its id; empty if the provider leases nothing.
  [[nodiscard]] std::string_view resource_id() const noexcept { return lease_ == nullptr ? "" : lease_->id(); }

 private:
  const std::string_view provider_;
  const JobContext& job_;
  detail::HeldLease* const lease_;
};

/// Leases come from `pool`, which may serve several providers, and is kept by all who may ask it. What becomes of a
/// call is reported to its resource (`Lease::report`); of one that outran its time, as DeadlineExceeded.
template <class R>
ProviderLease lease_from(std::shared_ptr<ResourcePool<R>> pool, ProviderLeaseOptions options = {});

// --- implementation ---

namespace detail {

template <class R>
class TypedLease final : public HeldLease {
 public:
  explicit TypedLease(Lease<R> lease) : HeldLease(typeid(R), std::addressof(*lease)), lease_(std::move(lease)) {}

  [[nodiscard]] std::string_view id() const noexcept override { return lease_.id(); }
  void report(const absl::Status& status) noexcept override { lease_.report(status); }

 private:
  Lease<R> lease_;
};

template <class R>
class PooledLeases final : public LeaseSource {
 public:
  PooledLeases(std::shared_ptr<ResourcePool<R>> pool, ProviderLeaseOptions options)
      : pool_(std::move(pool)), options_(options) {}

  absl::StatusOr<std::unique_ptr<HeldLease>> acquire(const std::string& tag, const Context& ctx) override {
    AcquireOptions<R> wanted;
    if (options_.sticky_by_tag) wanted.sticky_key = tag;
    absl::StatusOr<Lease<R>> lease = pool_->acquire(
        std::move(wanted), options_.max_wait == Duration::max() ? ctx : ctx.with_timeout(options_.max_wait));
    if (!lease.ok()) return lease.status();
    return std::make_unique<TypedLease<R>>(*std::move(lease));
  }
  void collect(MetricSink& sink) const override { pool_->collect(sink); }
  [[nodiscard]] ResourcePoolStats stats() const override { return pool_->stats(); }

 private:
  const std::shared_ptr<ResourcePool<R>> pool_;
  const ProviderLeaseOptions options_;
};

}  // namespace detail

template <class R>
ProviderLease lease_from(std::shared_ptr<ResourcePool<R>> pool, ProviderLeaseOptions options) {
  return std::make_shared<detail::PooledLeases<R>>(std::move(pool), options);
}

}  // namespace penstock::inline PENSTOCK_ABI
