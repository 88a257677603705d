// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A `SlotQueue` for each key: a function's containers, a model's processes, a host's connections. Made when somebody
/// comes with the key, and deleted when it has been of no use for a while.

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/exec/detail/slot_map_state.hpp"
#include "penstock/exec/slot_queue.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
absl::Status validate_slot_map(const std::string& name, Duration idle_queue_timeout, std::size_t max_queues,
                               std::size_t shards, const Clock* clock);
absl::Status slot_map_closed(const std::string& name);
absl::Status slot_map_full(const std::string& name, std::size_t max_queues);
void collect_slot_map(MetricSink& sink, const std::string& name, std::size_t queues);
/// Makes `to` the figures of two queues. Averages are weighted by their samples.
void add_slot_stats(SlotQueueStats& to, const SlotQueueStats& from);
}  // namespace detail

template <class K, class T>
struct SlotQueueMapOptions {
  /// Names the map in texts and metrics; 1 to 256 bytes.
  std::string name = {};

  /// The options of the queue of a key; empty: only a name, that of the map. Called without a lock by who comes first
  /// with a key, or by several at once, of whose queues one is kept. What it throws, that call throws.
  std::function<SlotQueueOptions<T>(const K&)> queue_options = {};

  /// A queue in which nothing was for so long is deleted, at the latest half as long after that; positive, max():
  /// only by `erase_if_idle` and `purge`. Runs on a thread of `clock`.
  Duration idle_queue_timeout = Duration::max();
  std::size_t max_queues = std::numeric_limits<std::size_t>::max();  ///< At least 1.
  std::size_t shards = 16;                                           ///< Locks that keys share; [1, 4096].
  /// Outlives the map.
  Clock* clock = &Clock::steady();

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const {
    return detail::validate_slot_map(name, idle_queue_timeout, max_queues, shards, clock);
  }
};

/// Slot queues by key.
///
///     SlotQueueMap<FunctionId, Container> warm({.name = "functions",
///                                               .queue_options = [&](const FunctionId& id) { ... },
///                                               .idle_queue_timeout = 1h});
///     auto container = warm.acquire(id, ctx);
///     auto token = warm.offer(id, Container(...));
///
/// A key is compared as a value: two queues are one if their keys are equal, and only then. To find or make the queue
/// of a key and to count one more who uses it is one step, and a queue is deleted only while nobody uses it: no slot,
/// lease, start, phase or handle, and nobody who waits. So nobody is left waiting on a queue that is gone.
///
/// Hash, equality and copies of keys run under a lock, so they must not call the map.
///
/// The map may be destroyed while leases, handles and those who wait are about: it closes all queues. But the clock of
/// a queue outlives its handles, and who waits in it.
///
/// Threads: any member, from any thread.
template <class K, class T, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class SlotQueueMap {
 public:
  class Handle;
  class Awaiter;

  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; std::system_error if the
  /// clock
  ///         needs a timer thread, for `idle_queue_timeout`, and cannot start it.
  explicit SlotQueueMap(SlotQueueMapOptions<K, T> options);
  SlotQueueMap(const SlotQueueMap&) = delete;
  SlotQueueMap& operator=(const SlotQueueMap&) = delete;
  /// Closes. Blocks: while a thread of the clock deletes queues.
  ~SlotQueueMap();

  /// The queue of `key`, which is made if there is none, and is not deleted while the handle lives.
  ///
  /// Returns: a handle; Unavailable (closed), ResourceExhausted (`max_queues`). Throws: what `queue_options` throws,
  ///          std::invalid_argument for what it returns, std::bad_alloc.
  absl::StatusOr<Handle> at(const K& key);
  /// The same without making one.
  std::optional<Handle> find(const K& key);

  // As the members of `SlotQueue`, for the queue of `key`; and what `at` returns and throws.

  absl::StatusOr<SlotLease<T>> acquire(const K& key, const Context& ctx = Context::background());
  absl::StatusOr<SlotLease<T>> try_acquire(const K& key);
  [[nodiscard]] Awaiter async_acquire(const K& key, Context ctx = Context::background());
  template <class U = T>
  absl::StatusOr<SlotToken> offer(const K& key, U&& slot);

  /// Deletes the queue of `key` if nothing is in it and nobody uses it. Returns whether it did.
  bool erase_if_idle(const K& key) { return state_->erase_if_idle(key); }
  /// Deletes all such queues, however long they have been so. Returns how many. Cost: a look at all queues.
  std::size_t purge() noexcept {
    return state_->sweep([](const Mapped&) { return true; });
  }

  /// Closes all queues, and makes no more. May be called again. Returns whether this was the first call to do so.
  bool close() noexcept { return state_->close(); }

  /// How many queues there are.
  [[nodiscard]] std::size_t size() const noexcept { return state_->size(); }
  [[nodiscard]] const std::string& name() const noexcept { return options_.name; }
  /// By key, each at a moment of its own.
  [[nodiscard]] std::vector<std::pair<K, SlotQueueStats>> stats() const;
  /// Writes the metrics of all queues, added up for those of one name, and `penstock_slot_queues`, with the label
  /// map = name().
  void collect(MetricSink& sink) const;

 private:
  using State = detail::SlotMapState<K, T, Hash, Equal>;
  using Mapped = typename State::Mapped;

  struct SweepTimer : Timer {
    explicit SweepTimer(SlotQueueMap& map) noexcept
        : Timer([](Timer& timer) noexcept { static_cast<SweepTimer&>(timer).self.on_timer(); }), self(map) {}
    SlotQueueMap& self;
  };

  static SlotQueueMapOptions<K, T> checked(SlotQueueMapOptions<K, T> options) {
    if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(bad.message()));
    return options;
  }
  [[nodiscard]] Duration sweep_interval() const noexcept {
    return std::max(Duration(1), options_.idle_queue_timeout / 2);
  }
  [[nodiscard]] bool sweeps() const noexcept { return options_.idle_queue_timeout != Duration::max(); }
  void on_timer() noexcept;
  void arm() noexcept;

  const SlotQueueMapOptions<K, T> options_;
  const std::shared_ptr<State> state_;  // shared by handles
  SweepTimer timer_{*this};
};

/// Keeps a queue of a map from being deleted. May outlive the map, though not the clock of the queue. What it was moved
/// from refers to nothing; `*` and `->` of it end the process.
///
/// Threads: one at a time, like any value; the queue from any.
template <class K, class T, class Hash, class Equal>
class SlotQueueMap<K, T, Hash, Equal>::Handle {
 public:
  Handle(Handle&& other) noexcept
      : state_(std::move(other.state_)), shard_(other.shard_), mapped_(std::exchange(other.mapped_, nullptr)) {}
  Handle& operator=(Handle other) noexcept {
    std::swap(state_, other.state_);
    std::swap(shard_, other.shard_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  ~Handle() {
    if (mapped_ != nullptr) State::unpin(*shard_, *mapped_);
  }

  SlotQueue<T>& operator*() const noexcept { return held(); }
  SlotQueue<T>* operator->() const noexcept { return &held(); }

 private:
  friend class SlotQueueMap;

  Handle(std::shared_ptr<State> state, typename State::Shard& shard, Mapped& mapped) noexcept
      : state_(std::move(state)), shard_(&shard), mapped_(&mapped) {}

  [[nodiscard]] SlotQueue<T>& held() const noexcept {
    PENSTOCK_CHECK(mapped_ != nullptr, "a handle of a slot queue map was used that refers to nothing");
    return mapped_->queue;
  }

  std::shared_ptr<State> state_;
  typename State::Shard* shard_;
  Mapped* mapped_;
};

/// What `async_acquire` returns, for `co_await`.
template <class K, class T, class Hash, class Equal>
class [[nodiscard]] SlotQueueMap<K, T, Hash, Equal>::Awaiter {
 public:
  bool await_ready() { return !wait_.has_value() || wait_->await_ready(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> coroutine) {
    return wait_->await_suspend(coroutine);
  }
  absl::StatusOr<SlotLease<T>> await_resume() {
    if (!wait_.has_value()) return handle_.status();
    return wait_->await_resume();
  }

 private:
  friend class SlotQueueMap;

  /// It stays where it is made, as it refers to the wait's place in line.
  Awaiter(absl::StatusOr<Handle> handle, Context ctx) : handle_(std::move(handle)) {
    if (handle_.ok()) wait_.emplace(detail::SlotQueueAccess::core(**handle_), std::move(ctx));
  }

  absl::StatusOr<Handle> handle_;
  std::optional<SlotAwaiter<T>> wait_;
};

// --- implementation ---

template <class K, class T, class Hash, class Equal>
SlotQueueMap<K, T, Hash, Equal>::SlotQueueMap(SlotQueueMapOptions<K, T> options)
    : options_(checked(std::move(options))), state_(std::make_shared<State>(options_.shards, options_.max_queues)) {
  if (!sweeps()) return;
  options_.clock->start_timers();
  arm();
}

template <class K, class T, class Hash, class Equal>
SlotQueueMap<K, T, Hash, Equal>::~SlotQueueMap() {
  if (sweeps()) options_.clock->disarm(timer_);
  close();
}

template <class K, class T, class Hash, class Equal>
void SlotQueueMap<K, T, Hash, Equal>::arm() noexcept {
  while (!options_.clock->arm(timer_, saturated_add(options_.clock->now(), sweep_interval()))) {
  }
}

template <class K, class T, class Hash, class Equal>
void SlotQueueMap<K, T, Hash, Equal>::on_timer() noexcept {
  const TimePoint now = options_.clock->now();
  state_->sweep([&](Mapped& mapped) {
    const std::uint64_t activity = detail::SlotQueueAccess::core(mapped.queue).activity();
    if (mapped.is_marked && mapped.uses_then == mapped.uses && mapped.activity_then == activity) {
      return now >= saturated_add(mapped.idle_since, options_.idle_queue_timeout);
    }
    mapped.is_marked = true;
    mapped.idle_since = now;
    mapped.uses_then = mapped.uses;
    mapped.activity_then = activity;
    return false;
  });
  arm();
}

template <class K, class T, class Hash, class Equal>
auto SlotQueueMap<K, T, Hash, Equal>::find(const K& key) -> std::optional<Handle> {
  auto& shard = state_->shard_of(key);
  Mapped* mapped = nullptr;
  if (state_->pin(shard, key, mapped) != State::Found::kPinned) return std::nullopt;
  return Handle(state_, shard, *mapped);
}

template <class K, class T, class Hash, class Equal>
auto SlotQueueMap<K, T, Hash, Equal>::at(const K& key) -> absl::StatusOr<Handle> {
  auto& shard = state_->shard_of(key);
  Mapped* mapped = nullptr;
  switch (state_->pin(shard, key, mapped)) {
    case State::Found::kPinned:
      return Handle(state_, shard, *mapped);
    case State::Found::kClosed:
      return detail::slot_map_closed(options_.name);
    case State::Found::kNone:
    case State::Found::kFull:
      break;
  }
  // Of several who come first with a key each makes one, and the first to bring it wins.
  auto made = std::make_unique<Mapped>(options_.queue_options ? options_.queue_options(key)
                                                              : SlotQueueOptions<T>{.name = options_.name});
  switch (state_->pin_or_insert(shard, key, made, mapped)) {
    case State::Found::kClosed:
      return detail::slot_map_closed(options_.name);
    case State::Found::kFull:
      return detail::slot_map_full(options_.name, options_.max_queues);
    case State::Found::kPinned:
    case State::Found::kNone:
      break;
  }
  return Handle(state_, shard, *mapped);
}

template <class K, class T, class Hash, class Equal>
absl::StatusOr<SlotLease<T>> SlotQueueMap<K, T, Hash, Equal>::acquire(const K& key, const Context& ctx) {
  const absl::StatusOr<Handle> handle = at(key);
  if (!handle.ok()) return handle.status();
  return (*handle)->acquire(ctx);
}

template <class K, class T, class Hash, class Equal>
absl::StatusOr<SlotLease<T>> SlotQueueMap<K, T, Hash, Equal>::try_acquire(const K& key) {
  const absl::StatusOr<Handle> handle = at(key);
  if (!handle.ok()) return handle.status();
  return (*handle)->try_acquire();
}

template <class K, class T, class Hash, class Equal>
auto SlotQueueMap<K, T, Hash, Equal>::async_acquire(const K& key, Context ctx) -> Awaiter {
  return Awaiter(at(key), std::move(ctx));
}

template <class K, class T, class Hash, class Equal>
template <class U>
absl::StatusOr<SlotToken> SlotQueueMap<K, T, Hash, Equal>::offer(const K& key, U&& slot) {
  const absl::StatusOr<Handle> handle = at(key);
  if (!handle.ok()) return handle.status();
  return (*handle)->offer(std::forward<U>(slot));
}

template <class K, class T, class Hash, class Equal>
std::vector<std::pair<K, SlotQueueStats>> SlotQueueMap<K, T, Hash, Equal>::stats() const {
  std::vector<std::pair<K, SlotQueueStats>> all;
  state_->for_each([&](const K& key, const Mapped& mapped) { all.emplace_back(key, mapped.queue.stats()); });
  return all;
}

template <class K, class T, class Hash, class Equal>
void SlotQueueMap<K, T, Hash, Equal>::collect(MetricSink& sink) const {
  detail::collect_slot_map(sink, options_.name, size());
  std::map<std::string, SlotQueueStats> by_name;
  state_->for_each([&](const K&, const Mapped& mapped) {
    detail::add_slot_stats(by_name[mapped.queue.name()], mapped.queue.stats());
  });
  for (const auto& [queue, stats] : by_name) detail::collect_slot_queue(sink, queue, stats);
}

}  // namespace penstock::inline PENSTOCK_ABI
