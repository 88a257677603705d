// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One provider at one time: its road and its pool. An update puts another one in its place.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "penstock/core/context.hpp"
#include "penstock/exec/adaptive_scaler.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/exec/worker_pool.hpp"
#include "penstock/route/detail/provider_road.hpp"

namespace penstock::inline PENSTOCK_ABI {
enum class ProviderState : std::uint8_t;
struct ProviderStats;
}  // namespace penstock::inline PENSTOCK_ABI

namespace penstock::inline PENSTOCK_ABI::detail {

/// Threads: any member, from any thread.
class Provider {
 public:
  using Phase = ProviderLife::Phase;

  /// `pool` is null while it is being made.
  Provider(std::shared_ptr<const ProviderRoad> road, std::unique_ptr<WorkerPool> pool, const WorkerPoolOptions& options)
      : road_(std::move(road)),
        shutdown_timeout_(options.shutdown_timeout),
        first_job_id_(options.first_job_id),
        pool_(std::move(pool)) {}
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  [[nodiscard]] const std::string& name() const noexcept { return road_->name(); }
  [[nodiscard]] const std::shared_ptr<const ProviderRoad>& road() const noexcept { return road_; }
  [[nodiscard]] ProviderLife& life() const noexcept { return road_->life(); }
  [[nodiscard]] bool has_pool() const noexcept { return pool_ != nullptr; }
  [[nodiscard]] WorkerPool& pool() const noexcept { return *pool_; }
  [[nodiscard]] Context until_shutdown_timeout() const {
    return Context(road_->clock()).with_timeout(shutdown_timeout_);
  }
  [[nodiscard]] std::uint64_t first_job_id() const noexcept { return first_job_id_; }
  /// Has the number of workers follow the load from now on. Throws: std::bad_alloc. Returns: as PeriodicRunner::every.
  absl::Status scale(const ScalingOptions& options, PeriodicRunner& runner);
  /// The workers stay as many as they are.
  void stop_scaling() noexcept {
    if (scaler_) scaler_->end();
  }

  /// No check of its health begins any more; one that hangs is not waited for.
  void stop_checks() const;

  /// Null: the number of workers does not follow the load.
  [[nodiscard]] const AdaptiveScaler* scaler() const noexcept { return scaler_ ? std::addressof(*scaler_) : nullptr; }
  /// Whether its threads do nothing.
  [[nodiscard]] bool is_idle() const { return pool_ == nullptr || pool_->stats().busy == 0; }

  // These notice overdue calls first.
  [[nodiscard]] ProviderState state() const noexcept;
  [[nodiscard]] ProviderStats stats() const;

 private:
  const std::shared_ptr<const ProviderRoad> road_;  // outlives the pool, whose jobs have its permits
  const Duration shutdown_timeout_;
  const std::uint64_t first_job_id_;
  const std::unique_ptr<WorkerPool> pool_;  // its end waits for all functions
  std::optional<ScalableWorkerPool> scalable_;
  std::optional<AdaptiveScaler> scaler_;  // ends before what it uses
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
