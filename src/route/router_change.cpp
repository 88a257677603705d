// SPDX-License-Identifier: MIT

// How providers come, change and go.

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/route/detail/named_options.hpp"
#include "penstock/route/provider_router.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::Provider;
using detail::ProviderLife;
using detail::ProviderRoad;
using detail::shown_name;

constexpr std::size_t kMaxName = 200;

absl::Status shut_down() { return absl::FailedPreconditionError("provider router: shut down"); }

std::string under_way(std::string_view name) {
  return fmt::format("provider router: provider {} is being added, updated or removed", shown_name(name));
}

/// An id that no job of `former` has had or will have: jobs that are moved keep theirs.
std::uint64_t first_id_after(const Provider& former) {
  constexpr std::uint64_t kStep = 1'000'000'000;
  const WorkerPoolStats stats = former.pool().stats();
  return ((former.first_job_id() + stats.accepted + stats.taken_over) / kStep + 2) * kStep + 1;
}

}  // namespace

/// Keeps a name to itself while its provider is being made, changed or taken out.
class ProviderRouter::Claim {
 public:
  Claim(ProviderRouter& router, std::string_view name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(router.mutex_)
      : router_(router), name_(name) {
    is_mine_ = router_.claimed_.insert(name_).second;
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() {
    if (!is_mine_) return;
    std::set<std::string>::node_type freed;
    const MutexLock lock(router_.mutex_);
    freed = router_.claimed_.extract(name_);
  }

  [[nodiscard]] bool is_mine() const noexcept { return is_mine_; }

 private:
  ProviderRouter& router_;
  const std::string name_;
  bool is_mine_ = false;
};

absl::Status ProviderRouter::add(std::string name, ProviderOptions options) {
  if (name.empty()) return absl::InvalidArgumentError("provider router: a provider needs a name, got an empty one");
  if (name.size() > kMaxName) {
    return absl::OutOfRangeError(
        fmt::format("provider router: the name {} must be at most {} bytes long", shown_name(name), kMaxName));
  }
  options = detail::named(std::move(options), name);
  if (absl::Status invalid = options.validate(); !invalid.ok()) return invalid;

  const auto life = std::make_shared<ProviderLife>(*options.pool.clock);
  // With a life of its own: whoever has found this one must not take it for serving when the other one does.
  const auto starting = std::make_shared<Provider>(
      std::make_shared<const ProviderRoad>(options, options_.interceptors,
                                           std::make_shared<ProviderLife>(*options.pool.clock), detail::RoadParts()),
      nullptr, options.pool);
  std::optional<Claim> claim;
  std::shared_ptr<const detail::ProviderTable::Map> without;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    claim.emplace(*this, name);
    if (!claim->is_mine()) return absl::AlreadyExistsError(under_way(name));
    if (providers_.contains(name)) {
      return absl::AlreadyExistsError(fmt::format("provider router: provider {} exists", shown_name(name)));
    }
    without = put(starting);
  }

  absl::Status failure;
  std::shared_ptr<const detail::ProviderTable::Map> with_starting;
  try {
    absl::StatusOr<ProviderPtr> provider = make_provider(options, life, nullptr);
    failure = provider.status();
    if (failure.ok()) {
      const MutexLock lock(mutex_);
      if (closed_) {
        failure = shut_down();
      } else {
        with_starting = put(*provider);
        life->set_phase(Provider::Phase::kServing);
      }
    }
  } catch (...) {
    take_out(name);
    throw;
  }
  if (!failure.ok()) take_out(name);
  return failure;
}

absl::StatusOr<UpdateReport> ProviderRouter::update(std::string_view name, ProviderOptions options,
                                                    const Context& ctx) {
  options = detail::named(std::move(options), std::string(name));
  if (absl::Status invalid = options.validate(); !invalid.ok()) return invalid;
  ProviderPtr former;
  std::optional<Claim> claim;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    claim.emplace(*this, name);
    if (!claim->is_mine()) return absl::FailedPreconditionError(under_way(name));
    if (const auto found = providers_.find(name); found != providers_.end()) former = found->second;
  }
  if (former == nullptr || !former->has_pool()) return unknown(name);
  const ProviderRoad& road = *former->road();
  if (&road.clock() != options.pool.clock) {
    return absl::InvalidArgumentError(
        fmt::format("provider router: the clock of provider {} cannot be changed", shown_name(name)));
  }

  if (options.pool.first_job_id == 1) options.pool.first_job_id = first_id_after(*former);
  absl::StatusOr<ProviderPtr> provider = make_provider(options, road.shared_life(), &road.parts());
  if (!provider.ok()) return provider.status();
  Retired retired(1, former);
  std::shared_ptr<const detail::ProviderTable::Map> old;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    old = put(*provider);
    retired_.splice(retired_.end(), retired);
  }
  road.life().count_update();
  former->stop_scaling();
  if (road.parts().health != (*provider)->road()->parts().health) former->stop_checks();
  UpdateReport report;
  if (absl::StatusOr<HandOverReport> moved = former->pool().hand_over((*provider)->pool()); moved.ok()) {
    report.moved = moved->moved;
  }  // else the router is being shut down, and the old pool runs what it has
  report.retired = former->pool().shutdown(ctx);
  old.reset();
  former.reset();
  reap_soon();
  return report;
}

absl::StatusOr<ShutdownReport> ProviderRouter::remove(std::string_view name, const Context& ctx) {
  ProviderPtr provider;
  std::optional<Claim> claim;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    claim.emplace(*this, name);
    if (!claim->is_mine()) return absl::FailedPreconditionError(under_way(name));
    if (const auto found = providers_.find(name); found != providers_.end()) provider = found->second;
    if (provider != nullptr && provider->has_pool()) provider->life().set_phase(Provider::Phase::kDraining);
  }
  if (provider == nullptr || !provider->has_pool()) return unknown(name);
  provider->stop_scaling();
  provider->stop_checks();
  ShutdownReport report = provider->pool().shutdown(ctx);
  provider->life().set_phase(Provider::Phase::kStopped);
  Retired retired(1, std::move(provider));
  take_out(name);
  {
    const MutexLock lock(mutex_);
    retired_.splice(retired_.end(), retired);
  }
  reap_soon();
  return report;
}

/// Has look-ups find `provider` under its name. What is returned is for the caller to free, without the lock.
std::shared_ptr<const detail::ProviderTable::Map> ProviderRouter::put(const ProviderPtr& provider) {
  ProviderPtr& place = providers_[provider->name()];
  ProviderPtr former = std::exchange(place, provider);
  try {
    return publish();
  } catch (...) {
    if (former == nullptr) {
      providers_.erase(provider->name());
    } else {
      place = std::move(former);
    }
    throw;
  }
}

/// Has look-ups find nothing under `name`. All that is freed is freed after the lock has gone.
void ProviderRouter::take_out(std::string_view name) {
  decltype(providers_)::node_type node;
  std::shared_ptr<const detail::ProviderTable::Map> old;
  const MutexLock lock(mutex_);
  const auto found = providers_.find(name);
  if (found == providers_.end()) return;
  node = providers_.extract(found);
  try {
    old = publish();
  } catch (...) {
    providers_.insert(std::move(node));
    throw;
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
