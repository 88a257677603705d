// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// How an `ObjectPool` is set up.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/metrics/alert.hpp"

namespace penstock::inline PENSTOCK_ABI {

class Executor;

// Hit ratios that pools of a gateway should not fall below, for their alerts.
inline constexpr double kChannelHitFloor = 0.85;
inline constexpr double kMessageHitFloor = 0.80;
inline constexpr double kResponseHitFloor = 0.70;

/// What a pool finds out about the way its objects are used, at a price for each use.
enum class ObjectDetection : std::uint8_t {
  /// Nothing. In builds with AddressSanitizer, that reports who touches an idle object. If the pool is never destroyed,
  /// LeakSanitizer then takes what idle objects own for lost, unless it is told use_poisoned=1.
  kOff,
  kChecked,  ///< Objects given back twice, or to a wrong pool; for trivially copyable types, also changed while idle.
  kLeaks,    ///< The same; and who holds what, since when, acquired where: `ObjectPool::leaks`.
};
std::string_view to_string(ObjectDetection detection) noexcept;

/// Something that a pool with detection has found.
struct ObjectMisuse {
  enum class Kind : std::uint8_t { kDoubleReturn, kForeignReturn, kUseAfterReturn };

  Kind kind = Kind::kDoubleReturn;
  std::uint64_t object = 0;  ///< Its id; 0: not one of ours.
  std::string text;          ///< "object pool 'buffers': object 7 was changed while it was idle"
};

/// Something that is out.
struct ObjectLeak {
  std::uint64_t object = 0;  ///< Its id.
  Duration held{};           ///< For so long.
  std::string where;  ///< The functions that acquired it, innermost first, one on a line; as far as they are known.
};

template <class T>
struct ObjectPoolOptions {
  static constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

  std::string name = "unnamed";  ///< For messages and metrics; at most 256 bytes.

  // Functions of the user's. Any thread may call them, several at once; no lock of ours is held.

  /// Makes an object. Empty: `std::make_unique<T>()`. Null or a status: the acquire fails with that (null: Internal).
  /// What it throws, the acquire throws.
  std::function<absl::StatusOr<std::unique_ptr<T>>()> factory = {};
  /// Makes an object that comes back as good as new, before anybody else can see it. False, or an exception: it is
  /// destroyed. Empty: nothing is done.
  std::function<bool(T&)> reset = {};
  /// How many bytes an object takes that comes back; empty: `object_bytes`. An exception: it is destroyed.
  std::function<std::size_t(const T&)> weight = {};

  std::size_t object_bytes = sizeof(T);  ///< What each object takes, without a `weight`.
  std::size_t max_live = kUnlimited;     ///< At least 1: so many objects at a time, idle or out. Who wants more waits.
  /// So many may be idle, at every moment; one more that comes back is destroyed. At most max_live. Empty: 1024, or
  /// max_live if that is less.
  std::optional<std::size_t> max_idle = std::nullopt;
  std::size_t max_weight = kUnlimited;  ///< A heavier object is destroyed when it comes back.
  std::size_t prewarm = 0;              ///< So many are made at once; at most max_idle.
  std::size_t min_idle = 0;             ///< So many idle objects a purge leaves; at most max_idle.
  /// Objects that were idle from one purge to the next are destroyed at the one after. Positive; max(): only
  /// `ObjectPool::purge` does.
  Duration purge_every = std::chrono::seconds(60);
  /// Whether `Pooled::info` tells the times, and `stats` how long things take: two readings of the clock for each use.
  bool timestamps = false;
  /// Whether an acquire takes what lies idle with another thread before it makes a new object. That costs some
  /// microseconds; for objects that take far longer to make.
  bool steals = false;
  ObjectDetection detection = ObjectDetection::kOff;
  /// Hears what detection finds. What it throws is counted.
  std::function<void(const ObjectMisuse&)> on_misuse = {};

  /// Watches the hit ratio of all requests since it last looked, or since before that if they are fewer than the rule's
  /// `min_count`. It looks with each purge of the clock, and in `check_alert`. Name it after the pool.
  std::optional<AlertRule> alert = std::nullopt;
  /// Hears that the alert was raised or cleared, with a text. What it throws is counted. With an executor it may still
  /// be running there when the pool has been destroyed.
  std::function<void(AlertChange, const std::string& text)> on_alert = {};

  /// Decides when purges are due, and the times; outlives the pool and its handles.
  Clock* clock = &Clock::steady();
  /// Where the purge of the clock runs, with the destructors of what it drops; null: on the clock's timer thread, for
  /// which all its timers wait. Outlives the pool.
  Executor* executor = nullptr;

  /// OK, or InvalidArgument with every violation.
  [[nodiscard]] absl::Status validate() const;
};

}  // namespace penstock::inline PENSTOCK_ABI

#include "penstock/state/detail/object_kind.hpp"  // IWYU pragma: keep: the bodies
