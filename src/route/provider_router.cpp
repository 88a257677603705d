// SPDX-License-Identifier: MIT
#include "penstock/route/provider_router.hpp"

#include <algorithm>
#include <exception>
#include <functional>
#include <system_error>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kMaxName = 256;
constexpr std::size_t kNamesShown = 8;
constexpr std::size_t kBytesShown = 64;

/// A name as texts show it: not all of one that somebody has sent us by mistake.
std::string shown(std::string_view name) {
  if (name.size() <= kBytesShown) return fmt::format("'{}'", name);
  return fmt::format("'{}...' ({} bytes)", name.substr(0, kBytesShown), name.size());
}

absl::Status shut_down() { return absl::FailedPreconditionError("provider router: shut down"); }

ProviderOptions named(ProviderOptions options, const std::string& name) {
  options.pool.name = name;
  if (options.breaker) {
    options.breaker->name = name;
    options.breaker->clock = options.pool.clock != nullptr ? options.pool.clock : &Clock::steady();
  }
  return options;
}

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

absl::Status ProviderOptions::validate() const {
  const ProviderOptions complete = named(*this, pool.name.empty() ? "unnamed" : pool.name);
  const absl::Status of_pool = complete.pool.validate();
  absl::Status of_breaker;
  if (complete.breaker) of_breaker = complete.breaker->validate();
  if (of_pool.ok()) return of_breaker;
  if (of_breaker.ok()) return of_pool;
  return absl::InvalidArgumentError(fmt::format("{}; {}", detail::text_of(of_pool), detail::text_of(of_breaker)));
}

/// Keeps a name to itself while its provider is being made or taken out.
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

ProviderRouter::ProviderRouter() = default;

ProviderRouter::~ProviderRouter() {
  Providers providers = all();
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    providers.insert(providers.end(), retired_.begin(), retired_.end());
  }
  in_parallel(providers.size(), [&](std::size_t index) {
    detail::Provider& provider = *providers[index];
    provider.set_phase(detail::Provider::Phase::kDraining);
    (void)provider.pool().shutdown(provider.until_shutdown_timeout());
  });
}

absl::Status ProviderRouter::add(std::string name, ProviderOptions options) {
  if (name.empty()) return absl::InvalidArgumentError("provider router: a provider needs a name, got an empty one");
  if (name.size() > kMaxName) {
    return absl::OutOfRangeError(
        fmt::format("provider router: the name {} must be at most {} bytes long", shown(name), kMaxName));
  }
  options = named(std::move(options), name);
  if (absl::Status invalid = options.validate(); !invalid.ok()) return invalid;
  free_retired();
  std::optional<Claim> claim;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    claim.emplace(*this, name);
    if (!claim->is_mine()) {
      return absl::AlreadyExistsError(
          fmt::format("provider router: provider {} is being added or removed", shown(name)));
    }
    if (providers_.contains(name)) {
      return absl::AlreadyExistsError(fmt::format("provider router: provider {} exists", shown(name)));
    }
  }

  std::shared_ptr<CircuitBreaker> breaker;
  if (options.breaker) breaker = std::make_shared<CircuitBreaker>(*std::move(options.breaker));
  absl::StatusOr<std::unique_ptr<WorkerPool>> pool = WorkerPool::create(options.pool);
  if (!pool.ok()) return pool.status();
  const auto provider = std::make_shared<detail::Provider>(options.pool, *std::move(pool), std::move(breaker));

  std::shared_ptr<const detail::ProviderTable::Map> old;
  const MutexLock lock(mutex_);
  if (closed_) return shut_down();
  const auto added = providers_.emplace(std::move(name), provider).first;
  try {
    old = publish();
  } catch (...) {
    providers_.erase(added);
    throw;
  }
  return absl::OkStatus();
}

absl::StatusOr<ShutdownReport> ProviderRouter::remove(std::string_view name, const Context& ctx) {
  std::shared_ptr<detail::Provider> provider = table_.find(name);
  if (provider == nullptr) return unknown(name);
  std::optional<Claim> claim;
  {
    const MutexLock lock(mutex_);
    if (closed_) return shut_down();
    claim.emplace(*this, name);
    if (!claim->is_mine()) {
      return absl::FailedPreconditionError(
          fmt::format("provider router: provider {} is being added or removed", shown(name)));
    }
    const auto found = providers_.find(name);
    if (found == providers_.end() || found->second != provider) provider = nullptr;
    if (provider != nullptr) provider->set_phase(detail::Provider::Phase::kDraining);
  }
  if (provider == nullptr) return unknown(name);
  ShutdownReport report = provider->pool().shutdown(ctx);
  provider->set_phase(detail::Provider::Phase::kStopped);
  // All that is freed is freed after the lock has gone.
  Retired retired(1, std::move(provider));
  decltype(providers_)::node_type node;
  std::shared_ptr<const detail::ProviderTable::Map> old;
  {
    const MutexLock lock(mutex_);
    node = providers_.extract(retired.front()->name());
    try {
      old = publish();
    } catch (...) {
      providers_.insert(std::move(node));
      throw;
    }
    retired_.splice(retired_.end(), retired);
  }
  node = {};
  old.reset();
  free_retired();
  return report;
}

std::map<std::string, ShutdownReport> ProviderRouter::shutdown(const Context& ctx) {
  Providers providers;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    for (const auto& [name, provider] : providers_) {
      if (provider->phase() == detail::Provider::Phase::kServing) {
        provider->set_phase(detail::Provider::Phase::kDraining);
      }
      providers.push_back(provider);
    }
  }
  std::vector<ShutdownReport> reports(providers.size());
  in_parallel(providers.size(), [&](std::size_t index) {
    reports[index] = providers[index]->pool().shutdown(ctx);
    if (reports[index].is_drained()) providers[index]->set_phase(detail::Provider::Phase::kStopped);
  });
  std::map<std::string, ShutdownReport> by_name;
  for (std::size_t index = 0; index < providers.size(); ++index) {
    by_name.emplace(providers[index]->name(), std::move(reports[index]));
  }
  return by_name;
}

std::shared_ptr<CircuitBreaker> ProviderRouter::breaker(std::string_view provider) const {
  const std::shared_ptr<detail::Provider> found = table_.find(provider);
  return found == nullptr ? nullptr : found->breaker();
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

/// Frees removed providers that nobody uses any more: their threads are idle, so that takes no time to speak of.
void ProviderRouter::free_retired() {
  Retired retired;
  {
    const MutexLock lock(mutex_);
    retired.swap(retired_);
  }
  Retired in_use;
  for (auto provider = retired.begin(); provider != retired.end();) {
    const auto here = provider++;
    if (here->use_count() != 1 || !(*here)->is_idle()) in_use.splice(in_use.end(), retired, here);
  }
  const MutexLock lock(mutex_);
  retired_.splice(retired_.end(), in_use);
}

absl::Status ProviderRouter::unknown(std::string_view name) const {
  const std::vector<std::string> names = providers();
  std::string known;
  for (std::size_t index = 0; index < std::min(names.size(), kNamesShown); ++index) {
    known += fmt::format("{}{}", index == 0 ? "" : ", ", shown(names[index]));
  }
  if (names.size() > kNamesShown) known += fmt::format(" and {} more", names.size() - kNamesShown);
  if (names.empty())
    return absl::NotFoundError(fmt::format("provider router: no provider {}, there are none", shown(name)));
  return absl::NotFoundError(fmt::format("provider router: no provider {}, there are {}", shown(name), known));
}

}  // namespace penstock::inline PENSTOCK_ABI
