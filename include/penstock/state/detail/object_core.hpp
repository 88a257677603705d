// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An object pool without the type of its objects.
///
/// Idle objects lie in the caches of the threads (object_cache.hpp), and what is too many there in the depot. An
/// acquire takes from the own cache; else a magazine from the depot; else it makes one, if there are fewer than
/// max_live; else it takes what lies in the caches of others; else it waits.
///
/// Places. There are max_idle of them: free ones (`places_`), those leased to caches (`leased_`, the sum of their
/// limits), and one for each object in the depot. Who needs a place and finds none takes back what others have leased
/// and do not use. So idle objects never are more than max_idle, and a single thread may have all of them.
///
/// Waiting. While somebody waits, or is on the way (`pending_`), caches are empty and lease no places: so whatever
/// comes back takes the slow path, under `mutex_`, and is handed to the first in line. Who starts to wait counts itself
/// first, then visits all caches and empties them, and looks once more under `mutex_` as it enters the line.
///
/// Life. The core is there for the pool, for who waits, and for each live object: an object that comes back after its
/// pool has gone is destroyed, and the last one ends the core.
///
/// Locks, in this order: `visit_mutex_` (one visitor of caches at a time), the locks of caches, `mutex_`. The owner of
/// a cache takes `mutex_` inside of its cache's lock, and never `visit_mutex_`. A cache's `life` comes after
/// `visit_mutex_` and before `mutex_`.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/executor.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/state/detail/object_cache.hpp"
#include "penstock/state/detail/object_depot.hpp"
#include "penstock/state/detail/object_kind.hpp"
#include "penstock/state/detail/object_slot.hpp"
#include "penstock/state/object_pool_stats.hpp"

namespace penstock::inline PENSTOCK_ABI {
class MetricSink;
}

namespace penstock::inline PENSTOCK_ABI::detail {

struct ObjectAlert;
struct ObjectTimes;

/// What detection knows of an object.
struct ObjectTrace {
  static constexpr int kFrames = 16;

  explicit ObjectTrace(ObjectSlot& of) noexcept : slot(of) {}

  ObjectSlot& slot;
  bool is_out = false;  // guarded by the core's trace mutex, as all below
  const void* object = nullptr;
  TimePoint acquired{};
  int depth = 0;  // of the stack
  void* stack[kFrames] = {};
  // Of who has the object.
  std::unique_ptr<std::byte[]> copy;  // what it holds, while it is overwritten
  bool is_hidden = false;
};

struct ObjectTraces {
  std::map<const void*, ObjectSlot*> lent;  // given out as bare pointers
  std::map<const void*, ObjectTrace*> all;  // with detection: of each live object
};

/// What an acquire is given: an object, or the right to make one.
struct ObjectGrant {
  ObjectSlot* slot = nullptr;
};

class ObjectCore {
 public:
  enum class Cause : std::uint8_t { kNonReusable, kReset, kFull, kOversize, kClosed, kMisused, kPurged };
  enum class Look : std::uint8_t { kGot, kMayMake, kFull, kClosed, kTimedOut, kCancelled, kForked, kParked };

  /// Throws: std::invalid_argument, std::bad_alloc, std::system_error; what the factory throws for the prewarm.
  static ObjectCore* make(ObjectCoreOptions options, std::unique_ptr<ObjectKind> kind);
  ObjectCore(const ObjectCore&) = delete;
  ObjectCore& operator=(const ObjectCore&) = delete;
  /// Closes, and lets go of it. It goes with its last object.
  void destroy() noexcept;

  [[nodiscard]] const ObjectCoreOptions& options() const noexcept { return options_; }

  // Acquire and return.

  /// From the calling thread's own; null if that cannot be.
  [[nodiscard]] ObjectSlot* take_quickly() noexcept {
    ObjectCache* const cache = quick_cache(index_);
    if (cache == nullptr || cache->core.load(std::memory_order_relaxed) != this) [[unlikely]]
      return nullptr;
    ObjectSlot* const slot = cache->pop(weighs_);
    if (cares_ && slot != nullptr) [[unlikely]]
      return checked(*slot);
    return slot;
  }
  /// What `take_quickly` could not. A null context: does not wait.
  absl::StatusOr<ObjectSlot*> take(const Context* ctx);

  void give_back(ObjectSlot& slot) noexcept {
    if (slot.care == ObjectSlot::kNone) [[likely]] {
      ObjectCache* const cache = quick_cache(index_);
      if (cache != nullptr && cache->core.load(std::memory_order_relaxed) == this && cache->push(slot)) [[likely]]
        return;
      return keep(slot, false);
    }
    give_back_with_care(slot);
  }
  /// The object, out of the pool.
  void* release(ObjectSlot& slot) noexcept;

  // The steps of an acquire, for coroutines.

  /// Looks where it can be done quickly.
  [[nodiscard]] Look look(ObjectGrant& grant) noexcept;
  /// For who has seen kFull. Looks also into the caches of others; then, if there is a `node`, that is in line once it
  /// says kParked, and may be claimed. Then the core is there until `leave_line`.
  [[nodiscard]] Look join_line(ObjectGrant& grant, WaitNode* node) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Ends a wait, before its waiter goes. The core may be gone, unless it was granted something.
  [[nodiscard]] Look leave_line(WaitNode& node, Waiter::Outcome outcome) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// What becomes of a look; never null. Throws: what the factory throws; std::bad_alloc.
  absl::StatusOr<ObjectSlot*> finish(Look look, ObjectGrant grant, TimePoint began);
  /// Gives a grant back that nobody wants any more.
  void give_back(Look look, ObjectGrant grant) noexcept;

  // Administration.

  absl::StatusOr<std::size_t> prewarm(std::size_t count);
  void purge() noexcept;
  std::size_t release_idle(double ratio) noexcept;
  AlertChange check_alert() noexcept;
  void lend(ObjectSlot& slot) ABSL_LOCKS_EXCLUDED(trace_mutex_);
  /// The slot of what was lent, or null with the reason.
  ObjectSlot* find_lent(const void* object, absl::Status& why) ABSL_LOCKS_EXCLUDED(trace_mutex_);
  [[nodiscard]] std::vector<ObjectLeak> leaks() const ABSL_LOCKS_EXCLUDED(trace_mutex_);
  bool close() noexcept;
  [[nodiscard]] bool is_closed() const noexcept;
  [[nodiscard]] ObjectPoolStats stats() const;
  void collect(MetricSink& sink) const;

  [[nodiscard]] TimePoint now() const noexcept { return options_.clock->now(); }
  void drop_share() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class ObjectTake;
  friend class ObjectThread;
  class Visit;
  class Share;

  /// What is left to do once `mutex_` is unlocked.
  struct Effects {
    WakeList wake;
    bool ends_core = false;
  };
  enum class Put : std::uint8_t { kKept, kNoPlace, kNoMagazine, kClosed };

  struct PurgeTimer : Timer {
    PurgeTimer(Fire fire, ObjectCore& core) noexcept : Timer(fire), self(core) {}
    ObjectCore& self;
  };
  struct PurgeWork : Work {
    PurgeWork(Run run_function, ObjectCore& core) noexcept : Work(run_function), self(core) {}
    ObjectCore& self;
  };

  ObjectCore(ObjectCoreOptions options, std::unique_ptr<ObjectKind> kind);
  ~ObjectCore();

  void apply(Effects& effects) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Then locks may be held by threads that are not there: nothing is touched.
  [[nodiscard]] bool is_forked() const noexcept;
  [[nodiscard]] absl::Status forked() const;

  // Caches.
  [[nodiscard]] bool has_quick_cache() const noexcept {
    const ObjectCache* const cache = quick_cache(index_);
    return cache != nullptr && cache->core.load(std::memory_order_relaxed) == this;
  }
  ObjectCache* own_cache() noexcept;
  bool add_cache(ObjectCache& cache) noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);
  void retire_cache(ObjectCache& cache) noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);
  void unlink(ObjectCache& cache) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(visit_mutex_);
  void empty_into_depot(ObjectCache& cache) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(visit_mutex_, mutex_);
  void gather() noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);
  bool steal() noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);
  bool reclaim_places() noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);

  // Acquire and return.
  Look look_into_depot(ObjectGrant& grant, ObjectCache* cache, bool was_stolen) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ObjectSlot*> make_object(bool is_miss);
  absl::StatusOr<ObjectSlot*> wait(const Context* ctx, TimePoint began);
  template <class Kind, class... Ctx>
  absl::StatusOr<ObjectSlot*> wait_as(ObjectGrant& grant, TimePoint began, const Ctx&... ctx);
  [[nodiscard]] std::unique_ptr<ObjectSlot> make_slot();
  ObjectSlot* checked(ObjectSlot& slot) noexcept;
  void begin_use(ObjectSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(trace_mutex_);
  void give_back_with_care(ObjectSlot& slot) noexcept;
  void keep(ObjectSlot& slot, bool was_reset) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  Put put_away(ObjectSlot& slot, ObjectCache* cache, bool may_chain, Effects& effects) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void set_places(ObjectCache& cache, std::uint32_t places) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void discard(ObjectSlot& slot, Cause cause, bool was_reset) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void destroy_object(ObjectSlot& slot) noexcept;
  void make_idle(ObjectSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(mutex_, trace_mutex_);
  void destroy_all(ObjectChain& chain, Cause cause) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void count(Cause cause, std::size_t objects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void drop_live(std::size_t objects, Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void drop_share(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void serve_from_depot(Effects& effects) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status refusal(Look look, TimePoint began) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] absl::Status made_nothing() const;
  [[nodiscard]] absl::Status closed() const;
  void count_exception() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Detection.
  void trace(ObjectSlot& slot) ABSL_LOCKS_EXCLUDED(trace_mutex_);
  [[nodiscard]] std::string misuse_text(ObjectMisuse::Kind kind, std::uint64_t object) const;
  bool end_use(ObjectSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(trace_mutex_);
  void conceal(ObjectSlot& slot) noexcept;
  bool reveal(ObjectSlot& slot) noexcept;
  void free_slot(ObjectSlot& slot) noexcept ABSL_LOCKS_EXCLUDED(trace_mutex_);
  void report(ObjectMisuse::Kind kind, std::uint64_t object) noexcept;

  // Purge.
  void trim(double ratio, bool ages, ObjectChain& gone) noexcept ABSL_LOCKS_EXCLUDED(visit_mutex_, mutex_);
  void trim_depot(ObjectDepot::Generation generation, std::size_t& budget, ObjectChain& gone) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void trim_caches(bool only_victims, std::size_t& budget, ObjectChain& gone) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(visit_mutex_, mutex_);
  void arm_purge() noexcept;
  void on_timer() noexcept;
  void tick() noexcept;
  void on_purge_work() noexcept;
  void end_purge_work() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Read by every acquire and return, and never written after the start.
  const std::uint32_t index_;
  const bool weighs_;
  const bool cares_;         // something is to be done at each acquire
  const std::uint8_t care_;  // of new slots
  const ObjectCoreOptions options_;
  const std::uint32_t process_;
  const std::unique_ptr<ObjectKind> kind_;
  const std::unique_ptr<ObjectTimes> times_;
  const std::unique_ptr<ObjectAlert> alert_;

  // One at a time goes through the caches.
  mutable Mutex visit_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  ObjectCache* caches_ ABSL_GUARDED_BY(visit_mutex_) = nullptr;
  bool has_ended_ ABSL_GUARDED_BY(visit_mutex_) = false;  // takes no new caches

  // A leaf.
  alignas(kCachePadding) mutable SpinLock mutex_;
  ObjectDepot depot_ ABSL_GUARDED_BY(mutex_);
  std::size_t places_ ABSL_GUARDED_BY(mutex_);      // free
  std::size_t leased_ ABSL_GUARDED_BY(mutex_) = 0;  // the limits of all caches
  std::size_t live_ ABSL_GUARDED_BY(mutex_) = 0;    // each is a share of the core
  std::size_t shares_ ABSL_GUARDED_BY(mutex_) = 1;  // of the pool and of who waits
  std::size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;
  WaitList line_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t kept_ ABSL_GUARDED_BY(mutex_) = 0;  // came back, and stayed or were handed over
  ObjectPoolStats counts_
      ABSL_GUARDED_BY(mutex_);  // what the caches do not count, and what those counted that are gone

  bool is_posted_ ABSL_GUARDED_BY(mutex_) = false;  // the purge, to the executor

  // Detection.
  mutable Mutex trace_mutex_;  // a leaf
  ObjectTraces traces_ ABSL_GUARDED_BY(trace_mutex_);

  TimePoint due_{};  // the timer's
  PurgeTimer timer_;
  PurgeWork work_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
