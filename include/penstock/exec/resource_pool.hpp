// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A few things that many must share: HTTP clients, API keys, sessions. Each call takes a lease of one, and gives it
/// back by letting it go.

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/exec/detail/resource_acquire.hpp"
#include "penstock/exec/detail/resource_core.hpp"
#include "penstock/exec/resource_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;
template <class R>
class Lease;

/// Which resource a lease is asked for.
template <class R>
struct AcquireOptions {
  /// Whether a resource will do; empty: any will. Called without a lock, only inside of `acquire` (of a coroutine: on
  /// its executor), once for each resource, and again only for those that are added meanwhile. Others may be using the
  /// resource at that time, so it looks at nothing that they change. What it throws, the acquire throws.
  std::function<bool(std::string_view id, const R& resource)> filter = {};

  /// Who has the same key is given the same resource as long as that can be: a session whose prompt lies in the cache
  /// of one account. If that resource is busy or does not pass the filter, the key gets another one for this time; if
  /// it was disabled or removed, the key moves. Empty: no key.
  std::string sticky_key = {};
};

/// Lends its resources, each to so many at a time as it bears.
///
///     ResourcePool<HttpClient> clients({.name = "openai", .strategy = ResourceStrategy::kLeastLoaded});
///     absl::Status added = clients.add("eu-1", HttpClient(...), {.weight = 3, .max_concurrent = 16});
///
///     auto client = clients.acquire(ctx);                    // waits in line, as long as ctx lasts
///     if (!client.ok()) return client.status();              // says which pool, what was wrong, how many are out
///     const absl::Status answer = (*client)->post(...);
///     client->report(answer);                                // 429: the client rests; 401: it is out until `enable`
///                                                            // given back at the end of the scope
///
/// Who waits is served first come, first served, threads and coroutines in one line: what comes free goes to the first
/// in line for whom it will do. Nobody overtakes, with one exception: while a filter that waits in line is being asked
/// about a resource that was just added, that resource may go to somebody behind it.
///
/// A resource that is removed, discarded or disabled is lent no more; leases of it that are out are good until they are
/// let go. The destructor of a resource runs without a lock, in the thread that lets go of it last: of `remove`, of its
/// last lease, of the pool, or of a filter that was being asked about it.
///
/// The pool may be destroyed while leases are out and while somebody waits: who waits gets Unavailable, and leases stay
/// good; each resource that is out goes with its last lease. Waiting or not, the pool must not be destroyed while a
/// call is on its way in.
///
/// Threads: any member, from any thread. Order: what a holder did before it let go is visible to the next one.
template <class R>
class ResourcePool {
 public:
  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc.
  explicit ResourcePool(ResourcePoolOptions options) : core_(detail::ResourceCore::make(std::move(options))) {}
  ResourcePool(const ResourcePool&) = delete;
  ResourcePool& operator=(const ResourcePool&) = delete;
  /// Closes.
  ~ResourcePool() { core_->destroy(); }

  // Administration. Resources are few: each of these looks at all.

  /// Adds `R(std::forward<U>(resource))` under `id`, which is shown in texts and metrics: never the key itself.
  ///
  /// Returns: OK; with `resource` untouched, AlreadyExists, InvalidArgument (an id that is empty or longer than 256
  ///          bytes, options) or Unavailable (closed). Throws: what the constructor throws; std::bad_alloc.
  template <class U = R>
  requires std::constructible_from<R, U&&> absl::Status add(std::string_view id, U&& resource,
                                                            const ResourceOptions& options = {});

  /// Lends `id` no more, and forgets it: it is gone once its last lease is back. Waits for nothing. The id may be used
  /// again at once.
  ///
  /// Returns: how many leases of it are out, or NotFound.
  absl::StatusOr<std::size_t> remove(std::string_view id) { return core_->remove(id); }

  /// Lends `id` no more for `how_long` from now, or until `enable`; a later call replaces an earlier one, and a report.
  ///
  /// Returns: OK, NotFound, or InvalidArgument (`how_long` is not positive).
  absl::Status disable(std::string_view id, Duration how_long = Duration::max()) {
    return core_->disable(id, how_long);
  }
  /// Lends `id` again, whoever disabled it, and forgets its consecutive failures. Returns: OK or NotFound.
  absl::Status enable(std::string_view id) { return core_->enable(id); }

  /// Changes weight and limit from the next choice on. If more leases are out than the new limit allows, it is lent
  /// again when enough are back. Returns: OK, NotFound or InvalidArgument.
  absl::Status update(std::string_view id, const ResourceOptions& options) { return core_->update(id, options); }

  // Leases.

  /// Takes a lease of a resource that will do, waiting in line while all of them are busy.
  ///
  /// If all that will do are disabled it waits, too, but only if the first of them comes back before `ctx` ends (and
  /// the clock has timers to tell when: the machine's clock starts a thread for them). A context that has ended already
  /// makes it look once.
  ///
  /// Blocks:  until a resource is free for it, the pool closes, there is none to wait for, or `ctx` ends.
  /// Returns: a lease; or, with a text that gives the numbers: DeadlineExceeded (with the stage "lease", as a payload
  ///          `type.penstock/stage`) or Cancelled; NotFound if there is no resource, or none that passes the filter;
  ///          Unavailable if all that pass are disabled, with the time until the first comes back as a payload
  ///          `type.penstock/retry-after`, in nanoseconds, if that is known; Unavailable if the pool is closed.
  /// Throws:  what the filter throws; std::bad_alloc with a filter, a sticky key, or the text of a refusal;
  ///          std::system_error if the clock of `ctx` needs a timer thread and cannot start it. Then nothing is held,
  ///          and nobody is left in line.
  /// Cost:    one lock, and O(resources) for the choice, less in turn; a filter copies the list of resources.
  absl::StatusOr<Lease<R>> acquire(const Context& ctx = Context::background());
  absl::StatusOr<Lease<R>> acquire(AcquireOptions<R> options, const Context& ctx = Context::background());

  /// The same without waiting. Returns: as above, but ResourceExhausted where `acquire` would wait for a busy one, and
  /// Unavailable for a disabled one.
  absl::StatusOr<Lease<R>> try_acquire();
  absl::StatusOr<Lease<R>> try_acquire(AcquireOptions<R> options);

  /// `co_await pool.async_acquire(...)`: what `acquire` does, returns and throws, for a coroutine.
  ///
  ///     const AcquireOptions<HttpClient> mine{.sticky_key = session};
  ///     auto client = co_await clients.async_acquire(mine, ctx);
  ///
  /// Options have to be in a variable: g++ 12 destroys an aggregate twice that is written inside of a co_await. They
  /// are copied. The coroutine may be destroyed while it waits here, until its executor resumes it. A wait on a context
  /// with a deadline needs timers, so it may start the timer thread of the context's clock.
  auto async_acquire(Context ctx = Context::background()) {
    return detail::LeaseAwaiter<R>(*core_, {}, {}, std::move(ctx));
  }
  auto async_acquire(const AcquireOptions<R>& options, Context ctx = Context::background()) {
    return detail::LeaseAwaiter<R>(*core_, options.filter, options.sticky_key, std::move(ctx));
  }
  void async_acquire(AcquireOptions<R>&& options, Context ctx = Context::background()) = delete;

  /// Lends nothing any more, for good: whoever waits or comes gets Unavailable. Leases that are out stay good. May be
  /// called again. Returns whether this was the call that closed it.
  bool close() noexcept { return core_->close(); }

  [[nodiscard]] bool is_closed() const noexcept { return core_->is_closed(); }
  [[nodiscard]] const std::string& name() const noexcept { return core_->options().name; }
  /// Cost: one lock, held while some 2.5 KiB and 100 bytes for each resource are copied.
  [[nodiscard]] ResourcePoolStats stats() const { return core_->stats(); }
  /// Writes `stats()` to `sink`: metrics `penstock_resources_...`, with the label `pool`, and `resource` where it is
  /// about one.
  void collect(MetricSink& sink) const { core_->collect(sink); }

 private:
  static_assert(std::is_object_v<R> && std::is_same_v<R, std::remove_cv_t<R>> && std::is_nothrow_destructible_v<R>,
                "ResourcePool<R>: R must be an object type, not const, that dies without throwing");

  detail::ResourceCore* const core_;  // one share of it is the pool's
};

/// The right to use a resource of a `ResourcePool<R>`, until it is destroyed. May outlive the pool.
///
/// With a `max_concurrent` above 1 others use the same `R` at the same time.
///
/// Threads: one at a time, not necessarily the one that acquired it. One that was moved from holds nothing, and `*`,
/// `->` and `id` of it end the process.
template <class R>
class [[nodiscard]] Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept
      : slot_(std::exchange(other.slot_, nullptr)), exceptions_(std::exchange(other.exceptions_, kNotCounted)) {}
  Lease& operator=(Lease other) noexcept {
    std::swap(slot_, other.slot_);
    std::swap(exceptions_, other.exceptions_);
    return *this;
  }
  /// Gives the resource back; after an exception, with `discard_on_exception`, discards it.
  ~Lease() { reset(); }

  /// Whether it holds a resource.
  explicit operator bool() const noexcept { return slot_ != nullptr; }
  R& operator*() const noexcept { return held().resource(); }
  R* operator->() const noexcept { return &held().resource(); }
  [[nodiscard]] const std::string& id() const noexcept { return held().id; }

  /// Says how a call with the resource ended; any number of times. `options.classify` decides what that means for the
  /// resource. A rest lasts as long as the status says in a payload `type.penstock/retry-after` (nanoseconds), else
  /// `options.rest_for`. It never makes an earlier one shorter. Ignored by a lease that holds nothing.
  void report(const absl::Status& status) noexcept {
    if (slot_ != nullptr) slot_->core.report(*slot_, status, nullptr);
  }
  /// The same, with the time that the other side has asked for, as in the HTTP header Retry-After. Zero or less: no
  /// rest.
  void report(const absl::Status& status, Duration retry_after) noexcept {
    if (slot_ != nullptr) slot_->core.report(*slot_, status, &retry_after);
  }

  /// Lets go of the resource, and removes it from the pool: it is broken, or somebody may still be using it. Other
  /// leases of it stay good.
  void discard() noexcept {
    if (slot_ != nullptr) give_back(true);
  }
  /// Gives it back now.
  void reset() noexcept {
    if (slot_ != nullptr) give_back(exceptions_ != kNotCounted && std::uncaught_exceptions() > exceptions_);
  }

 private:
  template <class>
  friend class ResourcePool;
  template <class>
  friend class detail::LeaseAwaiter;

  static constexpr int kNotCounted = -1;

  explicit Lease(detail::ResourceSlot& slot) noexcept : slot_(static_cast<detail::TypedSlot<R>*>(&slot)) {
    if (slot.core.options().discard_on_exception) exceptions_ = std::uncaught_exceptions();
  }

  [[nodiscard]] detail::TypedSlot<R>& held() const noexcept {
    PENSTOCK_CHECK(slot_ != nullptr, "a lease was used that holds no resource");
    return *slot_;
  }
  void give_back(bool discard) noexcept {
    detail::TypedSlot<R>& slot = *std::exchange(slot_, nullptr);
    slot.core.give_back(slot, discard);
  }

  detail::TypedSlot<R>* slot_ = nullptr;
  int exceptions_ = kNotCounted;  // under way when it was made
};

// --- implementation ---

template <class R>
template <class U>
requires std::constructible_from<R, U&&> absl::Status ResourcePool<R>::add(std::string_view id, U&& resource,
                                                                           const ResourceOptions& options) {
  auto slot = std::make_shared<detail::TypedSlot<R>>(*core_, id);
  // The id is taken first, so that the resource is made only if it will be kept.
  if (absl::Status refused = core_->reserve(slot, options); !refused.ok()) return refused;
  detail::ReservedSlot reserved(*core_, *slot);
  slot->make(std::forward<U>(resource));
  reserved.publish();
  return absl::OkStatus();
}

template <class R>
absl::StatusOr<Lease<R>> ResourcePool<R>::acquire(const Context& ctx) {
  detail::ResourceWait wait(*core_);
  if (!core_->try_acquire(wait) && !core_->acquire(wait, ctx)) return wait.refusal();
  return Lease<R>(*wait.take());
}

template <class R>
absl::StatusOr<Lease<R>> ResourcePool<R>::acquire(AcquireOptions<R> options, const Context& ctx) {
  const detail::TypedFilter<R> filter(options.filter);
  detail::ResourceWait wait(*core_, filter.get(), options.sticky_key);
  if (!core_->try_acquire(wait) && !core_->acquire(wait, ctx)) return wait.refusal();
  return Lease<R>(*wait.take());
}

template <class R>
absl::StatusOr<Lease<R>> ResourcePool<R>::try_acquire() {
  detail::ResourceWait wait(*core_);
  if (!core_->try_acquire(wait)) return wait.refusal();
  return Lease<R>(*wait.take());
}

template <class R>
absl::StatusOr<Lease<R>> ResourcePool<R>::try_acquire(AcquireOptions<R> options) {
  const detail::TypedFilter<R> filter(options.filter);
  detail::ResourceWait wait(*core_, filter.get(), options.sticky_key);
  if (!core_->try_acquire(wait)) return wait.refusal();
  return Lease<R>(*wait.take());
}

}  // namespace penstock::inline PENSTOCK_ABI
