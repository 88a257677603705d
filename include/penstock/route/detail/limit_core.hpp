// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The permits of a concurrency limiter, and the line of those who wait for one.
///
/// Limit and number in flight are one word. While nobody waits and there are no partitions, taking a permit is a
/// compare-and-swap on it and giving one back a subtraction. Else the bit kSlow is set, and then
///
///   - only who holds the mutex adds to the number in flight;
///   - who gives a permit back takes it off, sees the bit, and comes to the mutex to serve the line.
///
/// A waiter sets the bit under the mutex and looks at the word once more before it parks. All changes of one word have
/// one order: a permit that comes back before the bit was set is seen by that look, and who brings one back later sees
/// the bit. So no permit lies idle while somebody who may have it waits, and as nobody adds without the mutex
/// meanwhile, no permit is given to two. Who comes with the mutex serves the line before himself: nobody overtakes.
///
/// Samples go one at a time through the algorithm, but nobody waits for that. Who finds another thread at it leaves his
/// sample, under a lock of a few nanoseconds, and goes; that thread takes what it finds there before it leaves. So an
/// algorithm of the user's runs without a lock, and may itself call the limiter.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/metrics/counter.hpp"
#include "penstock/route/concurrency_limiter_options.hpp"

namespace penstock::inline PENSTOCK_ABI {
class MetricSink;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// The word: in flight | limit | timing | slow.
namespace limit_word {
inline constexpr std::uint64_t kInFlight = (1ULL << 31U) - 1;
inline constexpr unsigned kLimitShift = 31;
inline constexpr std::uint64_t kLimit = (1ULL << 30U) - 1;  // before the shift; likewise below
inline constexpr unsigned kTimingShift = 61;
inline constexpr std::uint64_t kTiming = 3;
inline constexpr std::uint64_t kSlow = 1ULL << 63U;

constexpr std::uint32_t in_flight(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word & kInFlight); }
constexpr std::uint32_t limit(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word >> kLimitShift & kLimit);
}
static_assert(kMaxConcurrencyLimit <= kLimit);
static_assert(2 * kMaxConcurrencyLimit + 200 <= kInFlight, "the limit, and the guarantees of all partitions");
}  // namespace limit_word

/// What is timed, and whether the algorithm wants to know at all.
enum class LimitTiming : std::uint8_t { kNoSamples, kByCaller, kCoarse, kExact };

/// Those who share a share. All but the name is guarded by the core's mutex.
struct LimitShare {
  explicit LimitShare(std::string_view given) : name(given) {}

  const std::string name;
  double share = 0;
  bool retired = false;  // no longer in the options; goes when it is empty
  std::size_t in_flight = 0;
  std::size_t waiting = 0;  // in `line`
  std::uint64_t acquired = 0;
  std::uint64_t rejected = 0;
  WaitList line;
};

/// A permit, or the place in line of who waits for one.
struct LimitGrant {
  LimitShare* share = nullptr;  // null: it was taken without the mutex
  std::uint32_t in_flight = 0;  // with this one
  std::uint64_t place = 0;
  TimePoint since{};  // when it came to wait, on the clock of its context
};

class LimitCore {
 public:
  using Options = ConcurrencyLimiterOptions;

  /// Throws: std::invalid_argument with the text of `options.validate()`; std::bad_alloc; what `make_algorithm` throws.
  explicit LimitCore(Options options);
  LimitCore(const LimitCore&) = delete;
  LimitCore& operator=(const LimitCore&) = delete;
  ~LimitCore();

  /// Takes a permit, if there is one and nothing to look at but the word.
  [[nodiscard]] bool try_take_quickly(LimitGrant& grant) noexcept;
  /// Takes a permit, if it may at once.
  [[nodiscard]] bool try_take(LimitGrant& grant, std::string_view partition) noexcept;
  /// The same; says why not. The refusal is counted if `counts`.
  [[nodiscard]] bool try_take_slowly(LimitGrant& grant, std::string_view partition, LimitRefusal& why,
                                     bool counts) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// After a `try_take` that came to nothing: waits in line, as long as `ctx` lasts.
  [[nodiscard]] bool take(LimitGrant& grant, std::string_view partition, const Context& ctx, LimitRefusal& why)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The parts of `take`.

  /// Whether it was granted, refused, or may wait.
  enum class Look : std::uint8_t { kGranted, kRefused, kMayWait };
  [[nodiscard]] Look look(LimitGrant& grant, std::string_view partition, const Context& ctx, LimitRefusal& why) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  /// How long a wait under `ctx` may last.
  [[nodiscard]] Context bounded(const Context& ctx) const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Looks once more, and puts `node`, whose slot is `grant`, in line. Once that is done somebody may claim it, and it
  /// may be gone when this returns.
  enum class Join : std::uint8_t { kGranted, kRefused, kInLine };
  [[nodiscard]] Join join(LimitGrant& grant, WaitNode& node, std::string_view partition, LimitRefusal& why) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  /// For a wait that was claimed with `outcome`, before its waiter goes: whether it was granted.
  [[nodiscard]] bool leave(LimitGrant& grant, WaitNode& node, const Clock& clock, Waiter::Outcome outcome,
                           LimitRefusal& why) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// Gives a permit back.
  void release(LimitShare* share) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  /// When a call begins, as far as that matters: TimePoint::min() if it does not.
  [[nodiscard]] TimePoint begin() const noexcept;
  /// A call ended; `rtt` is null if it brings no time along. Gives the permit back.
  void report(LimitShare* share, std::uint32_t in_flight, TimePoint began, LimitOutcome outcome,
              const Duration* rtt) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] LimitOutcome classify(const absl::Status& status) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// A permit comes back without a report.
  void abandon(LimitShare* share) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void count_doubled_report() noexcept { counts_.add(Count::kDoubled); }

  absl::Status set_options(Options options) ABSL_LOCKS_EXCLUDED(mutex_, config_mutex_);
  bool close() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_word::limit(word_.value.load(kRelaxed)); }
  [[nodiscard]] std::size_t in_flight() const noexcept { return limit_word::in_flight(word_.value.load(kRelaxed)); }
  [[nodiscard]] bool is_closed() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] Options options() const ABSL_LOCKS_EXCLUDED(config_mutex_);
  [[nodiscard]] ConcurrencyLimiterStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);
  void collect(MetricSink& sink) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  enum class Count : std::uint8_t { kSuccess, kDropped, kIgnored, kAbandoned, kDoubled, kRejected, kCount };

  using Classify = decltype(Options::classify);
  using Shares = std::vector<std::shared_ptr<LimitShare>>;

  static constexpr auto kRelaxed = std::memory_order_relaxed;
  static constexpr std::size_t kMaxPending = 64;

  // The line; all of these with the mutex.
  [[nodiscard]] LimitShare& share_of(std::string_view partition) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] std::size_t guarantee(const LimitShare& share, std::size_t limit) const noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Below the limit, if it `may_use_room`, or by the guarantee of `share`.
  [[nodiscard]] bool take_locked(LimitShare& share, LimitGrant& grant, bool may_use_room) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] LimitShare* next_in_line() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void serve(WakeList& wake) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unlist(LimitShare& share, WaitNode& node) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void mark() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void unmark_if_idle() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void describe(const LimitShare& share, OpStatus status, LimitRefusal& why) const noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <class Kind, class... Ctx>
  bool wait_in_line(LimitGrant& grant, std::string_view partition, const Clock& clock, LimitRefusal& why,
                    const Ctx&... ctx) ABSL_LOCKS_EXCLUDED(mutex_);

  // Samples.
  struct Algorithm {
    std::unique_ptr<LimitAlgorithm> algorithm;
    LimitTiming timing = LimitTiming::kNoSamples;
  };
  [[nodiscard]] Algorithm make(const Options& options) const;
  void measure(std::uint32_t in_flight, TimePoint began, bool dropped, const Duration* rtt) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_, sample_lock_);
  void sample(const LimitSample& sample) noexcept ABSL_LOCKS_EXCLUDED(mutex_, sample_lock_);
  /// Has `algorithm` take over, in `run_samples` of whoever is at it, or comes.
  void replace(Algorithm algorithm) noexcept ABSL_LOCKS_EXCLUDED(sample_lock_);
  void run_samples() noexcept ABSL_LOCKS_EXCLUDED(mutex_, sample_lock_);
  void run_samples(const LimitSample* first) noexcept ABSL_LOCKS_EXCLUDED(mutex_, sample_lock_);
  [[nodiscard]] static constexpr std::uint64_t as_word(std::size_t limit, LimitTiming timing) noexcept {
    return static_cast<std::uint64_t>(limit) << limit_word::kLimitShift | static_cast<std::uint64_t>(timing)
                                                                              << limit_word::kTimingShift;
  }
  void publish_name() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(sample_lock_);
  void set_limit(std::size_t limit, LimitTiming timing) noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Options.
  [[nodiscard]] Shares make_shares(const Options& options) const ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void apply(const Options& options) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::string no_algorithm() const;
  void count_caught_exception() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string name_;
  Clock* const clock_;
  const std::uint64_t seed_;

  // See above. Orders what the holders of a permit do, one after the other:
  //   L2  release by who gives one back -> acquire by who takes one.
  // What is read from it for anything else orders nothing, and may be old.
  CachePadded<world::Atomic<std::uint64_t>> word_;
  Counters<static_cast<std::size_t>(Count::kCount)> counts_;

  // A leaf. Taken to wait, to serve, with partitions, and when the limit changes.
  mutable Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_partitions_ ABSL_GUARDED_BY(mutex_) = false;
  Options::Order order_ ABSL_GUARDED_BY(mutex_) = Options::Order::kFifo;
  std::size_t max_waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  Duration wait_timeout_ ABSL_GUARDED_BY(mutex_) = Duration::max();
  LimitShare default_share_ ABSL_GUARDED_BY(mutex_){""};
  // By name. Changed with config_mutex_, too.
  std::vector<std::shared_ptr<LimitShare>> shares_ ABSL_GUARDED_BY(mutex_);
  std::size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // in all lines
  std::uint64_t places_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t timed_out_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t refused_closed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t limit_changes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t caught_exceptions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const Classify> classify_ ABSL_GUARDED_BY(mutex_);
  world::Atomic<bool> has_classify_{false};  // written under mutex_; a stale one is an old option

  // A leaf, for a few nanoseconds. Who has set `sampling_` alone uses `current_`.
  mutable SpinLock sample_lock_;
  bool sampling_ ABSL_GUARDED_BY(sample_lock_) = false;
  Algorithm replacement_ ABSL_GUARDED_BY(sample_lock_);
  std::array<LimitSample, kMaxPending> pending_ ABSL_GUARDED_BY(sample_lock_){};
  std::uint64_t pending_in_ ABSL_GUARDED_BY(sample_lock_) = 0;
  std::uint64_t pending_out_ ABSL_GUARDED_BY(sample_lock_) = 0;
  std::uint64_t missed_samples_ ABSL_GUARDED_BY(sample_lock_) = 0;
  Duration min_rtt_ ABSL_GUARDED_BY(sample_lock_){};
  Duration window_rtt_ ABSL_GUARDED_BY(sample_lock_){};
  std::array<char, 32> algorithm_name_ ABSL_GUARDED_BY(sample_lock_){};  // its beginning, ends with 0
  Algorithm current_;

  // One `set_options` at a time. Taken before the others.
  mutable Mutex config_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  Options options_ ABSL_GUARDED_BY(config_mutex_);
};

// --- implementation ---

inline bool LimitCore::try_take_quickly(LimitGrant& grant) noexcept {
  std::uint64_t word = word_.value.load(kRelaxed);
  while ((word & limit_word::kSlow) == 0 && limit_word::in_flight(word) < limit_word::limit(word)) {
    if (word_.value.compare_exchange_weak(word, word + 1, std::memory_order_acquire, kRelaxed)) {  // L2 acquire
      grant.in_flight = limit_word::in_flight(word) + 1;
      return true;
    }
  }
  return false;
}

inline bool LimitCore::try_take(LimitGrant& grant, std::string_view partition) noexcept {
  if (try_take_quickly(grant)) [[likely]]
    return true;
  if ((word_.value.load(kRelaxed) & limit_word::kSlow) == 0) {
    counts_.add(Count::kRejected);
    return false;
  }
  LimitRefusal why;
  return try_take_slowly(grant, partition, why, true);
}

inline void LimitCore::release(LimitShare* share) noexcept {
  if (share == nullptr) {
    const std::uint64_t word = word_.value.fetch_sub(1, std::memory_order_release);  // L2 release
    if ((word & limit_word::kSlow) == 0) [[likely]]
      return;
  }
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    if (share != nullptr) {
      --share->in_flight;
      word_.value.fetch_sub(1, std::memory_order_release);  // L2 release
    }
    serve(wake);
    unmark_if_idle();
  }
  wake.wake_all();
}

inline TimePoint LimitCore::begin() const noexcept {
  const auto timing =
      static_cast<LimitTiming>(word_.value.load(kRelaxed) >> limit_word::kTimingShift & limit_word::kTiming);
  if (timing == LimitTiming::kExact) return clock_->now();
  return timing == LimitTiming::kCoarse ? clock_->recent() : TimePoint::min();
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
