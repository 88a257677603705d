// SPDX-License-Identifier: MIT
#include "penstock/route/provider_router.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/world.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/route/detail/named_options.hpp"
#include "penstock/route/detail/router_upkeep.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kNamesShown = 8;

/// Calls `task` with each index below `count`, each in a thread of its own as far as threads can be had. When all calls
/// have returned, throws what the first of them threw.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& task) {
  std::vector<std::exception_ptr> escaped(count);
  const auto run = [&](std::size_t index) noexcept {
    try {
      task(index);
    } catch (...) {
      escaped[index] = std::current_exception();
    }
  };
  std::vector<detail::world::Thread> threads;
  std::size_t next = 0;
  try {
    threads.reserve(count);
    for (; next + 1 < count; ++next) threads.emplace_back([&run, next] { run(next); });
  } catch (const std::exception&) {
    // No memory or no thread: this thread does the rest, one after the other.
  }
  for (; next < count; ++next) run(next);
  for (detail::world::Thread& thread : threads) thread.join();
  for (std::exception_ptr& exception : escaped) {
    if (exception) std::rethrow_exception(std::move(exception));
  }
}

}  // namespace

ProviderRouter::ProviderRouter(ProviderRouterOptions options) : options_(std::move(options)) {
  for (const auto& interceptor : options_.interceptors) {
    if (interceptor == nullptr) throw std::invalid_argument("provider router: an interceptor is null");
  }
}

ProviderRouter::~ProviderRouter() {
  std::shared_ptr<PeriodicTask> reaper;
  Providers providers;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    for (const auto& [name, provider] : providers_) provider->life().set_phase(detail::Provider::Phase::kDraining);
    reaper.swap(reaper_);
  }
  reaper.reset();  // it may be at it
  decltype(providers_) current;
  Retired retired;
  {
    const MutexLock lock(mutex_);
    current.swap(providers_);
    retired.swap(retired_);
  }
  for (const auto& [name, provider] : current) providers.push_back(provider);
  providers.insert(providers.end(), retired.begin(), retired.end());
  in_parallel(providers.size(), [&](std::size_t index) {
    detail::Provider& provider = *providers[index];
    if (!provider.has_pool()) return;
    provider.stop_scaling();
    (void)provider.pool().shutdown(provider.until_shutdown_timeout());
  });
  // Functions that go on may still ask the router, which has no providers any more: all else of it outlives them.
  std::shared_ptr<const detail::ProviderTable::Map> map =
      table_.replace(std::make_shared<detail::ProviderTable::Map>());
  map.reset();
  current.clear();
  retired.clear();
  in_parallel(providers.size(), [&](std::size_t index) {
    // A function that has found its provider just now must not be the one to free it: it is inside of its pool. What it
    // is at is short, for the pool takes nothing any more.
    while (providers[index].use_count() != 1) detail::world::yield();
    providers[index].reset();
  });
}

std::map<std::string, ShutdownReport> ProviderRouter::shutdown(const Context& ctx) {
  using Phase = detail::Provider::Phase;
  struct End {
    ProviderPtr provider;
    bool is_retired;
    ShutdownReport report = {};
  };
  std::vector<End> ends;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    for (const ProviderPtr& retired : retired_) ends.push_back({retired, true});
    for (const auto& [name, provider] : providers_) {
      if (!provider->has_pool()) continue;  // whoever makes it finds the router closed
      if (provider->life().phase() == Phase::kServing) provider->life().set_phase(Phase::kDraining);
      ends.push_back({provider, false});
    }
  }
  // A pool knows its own threads: if this is called from one, that pool is shut down from here, as the last one.
  const auto own =
      std::find_if(ends.begin(), ends.end(), [](const End& end) { return end.provider->pool().on_worker_thread(); });
  if (own != ends.end()) std::iter_swap(own, std::prev(ends.end()));
  in_parallel(ends.size(), [&](std::size_t index) {
    detail::Provider& provider = *ends[index].provider;
    provider.stop_scaling();
    provider.stop_checks();
    ends[index].report = provider.pool().shutdown(ctx);
    if (!ends[index].is_retired && ends[index].report.is_drained()) provider.life().set_phase(Phase::kStopped);
  });
  std::map<std::string, ShutdownReport> by_name;
  for (End& end : ends) {
    if (!end.is_retired) by_name.emplace(end.provider->name(), std::move(end.report));
  }
  return by_name;
}

std::shared_ptr<CircuitBreaker> ProviderRouter::breaker(std::string_view provider) const {
  const ProviderPtr found = table_.find(provider);
  return found == nullptr ? nullptr : found->road()->parts().breaker;
}

std::shared_ptr<ConcurrencyLimiter> ProviderRouter::limiter(std::string_view provider) const {
  const ProviderPtr found = table_.find(provider);
  return found == nullptr ? nullptr : found->road()->parts().limiter;
}

std::shared_ptr<RateLimiter> ProviderRouter::rate_limit(std::string_view provider) const {
  const ProviderPtr found = table_.find(provider);
  return found == nullptr ? nullptr : found->road()->parts().rate_limit;
}

std::shared_ptr<HealthWatch> ProviderRouter::health(std::string_view provider) const {
  const ProviderPtr found = table_.find(provider);
  return found == nullptr ? nullptr : found->road()->parts().health;
}

absl::StatusOr<ProviderState> ProviderRouter::state(std::string_view provider) const {
  const std::shared_ptr<detail::Provider> found = table_.find(provider);
  if (found == nullptr) return unknown(provider);
  return found->state();
}

std::map<std::string, ProviderStats> ProviderRouter::stats() const {
  std::map<std::string, ProviderStats> stats;
  for (const auto& provider : all()) stats.emplace(provider->name(), provider->stats());
  return stats;
}

std::vector<std::string> ProviderRouter::providers() const {
  std::vector<std::string> names;
  for (const auto& provider : all()) names.push_back(provider->name());
  return names;
}

ProviderRouter::Providers ProviderRouter::all() const {
  const MutexLock lock(mutex_);
  Providers providers;
  providers.reserve(providers_.size());
  for (const auto& [name, provider] : providers_) providers.push_back(provider);
  return providers;
}

/// Gives the look-ups what is in providers_ now; the old map is for the caller to free, without the lock.
std::shared_ptr<const detail::ProviderTable::Map> ProviderRouter::publish() {
  auto map = std::make_shared<detail::ProviderTable::Map>(providers_.begin(), providers_.end());
  return table_.replace(std::move(map));
}

/// Has the retired providers that nobody uses any more freed by a thread of the router's: freeing one may wait for its
/// threads, and run destructors of its users. One that is still in use is looked at again when the next one retires.
void ProviderRouter::reap_soon() {
  std::shared_ptr<PeriodicTask> reaper;
  {
    const MutexLock lock(mutex_);
    reaper = reaper_;
  }
  if (reaper == nullptr) {
    absl::StatusOr<PeriodicTask> task =
        upkeep(Clock::steady())
            .runner.every({.name = "reaper", .interval = Duration::max(), .initial_delay = Duration::max()},
                          [this] { reap(); });
    if (!task.ok()) return;  // no thread now: the next one may have one, and the destructor needs none
    auto made = std::make_shared<PeriodicTask>(*std::move(task));
    const MutexLock lock(mutex_);
    if (closed_) return;
    if (reaper_ == nullptr) reaper_ = std::move(made);
    reaper = reaper_;
  }
  reaper->run_now();
}

void ProviderRouter::reap() {
  std::vector<ProviderPtr> candidates;
  {
    const MutexLock lock(mutex_);
    candidates.assign(retired_.begin(), retired_.end());
  }
  std::vector<bool> idle;
  for (const ProviderPtr& candidate : candidates) idle.push_back(candidate->is_idle());
  Retired unused;
  {
    const MutexLock lock(mutex_);
    auto retired = retired_.begin();
    // Others are added at the end only, and taken out only here, or when the router is no more.
    for (std::size_t index = 0; index < candidates.size() && retired != retired_.end(); ++index) {
      const auto here = retired++;
      if (idle[index] && here->use_count() == 2) unused.splice(unused.end(), retired_, here);
    }
  }
  candidates.clear();
}

bool ProviderRouter::falls_back(const absl::Status& failure) const noexcept {
  if (options_.falls_back) {
    try {
      return options_.falls_back(failure);
    } catch (...) {
      return false;
    }
  }
  switch (failure.code()) {
    case absl::StatusCode::kCancelled:
      return failure_stage(failure) == "shutdown";  // the provider was removed; the caller still waits
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return false;
    default:
      return true;
  }
}

absl::Status ProviderRouter::unknown(std::string_view name) const {
  const std::vector<std::string> names = providers();
  std::string known;
  for (std::size_t index = 0; index < std::min(names.size(), kNamesShown); ++index) {
    known += fmt::format("{}{}", index == 0 ? "" : ", ", detail::shown_name(names[index]));
  }
  if (names.size() > kNamesShown) known += fmt::format(" and {} more", names.size() - kNamesShown);
  if (names.empty())
    return absl::NotFoundError(
        fmt::format("provider router: no provider {}, there are none", detail::shown_name(name)));
  return absl::NotFoundError(
      fmt::format("provider router: no provider {}, there are {}", detail::shown_name(name), known));
}

namespace detail {

void RefusalList::add(std::string_view provider, absl::Status refusal) {
  texts_ += fmt::format("{}{}: {}", count_ == 0 ? "" : "; ", shown_name(provider),
                        std::string_view(refusal.message().data(), refusal.message().size()));
  last_ = std::move(refusal);
  ++count_;
}

absl::Status RefusalList::take() && {
  if (count_ == 0) return absl::InvalidArgumentError("provider router: the list of providers is empty");
  if (count_ == 1) return std::move(last_);
  absl::Status all(last_.code(), fmt::format("provider router: none of {} providers could: {}", count_, texts_));
  last_.ForEachPayload([&](const auto& url, const absl::Cord& payload) { all.SetPayload(url, payload); });
  return all;
}

}  // namespace detail

}  // namespace penstock::inline PENSTOCK_ABI
