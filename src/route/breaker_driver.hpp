// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a breaker's machine lacks: a lock, a clock, listeners and a timer.
///
/// Every event reads the clock, locks, lets the machine decide, publishes its state and generation in the word, and
/// queues the changes for the listeners; after unlocking it runs what is queued.
///
/// But a success that is not slow is, while it cannot change the verdict, only counted in the row of the calling
/// thread. An event for which these matter (whatever is recorded in the window, and whatever may change state or
/// options) shuts all rows first and hands their counts to the machine; if successes may wait then, it opens them
/// again. So within the lock all is as if each success had come in by itself.
///
/// Memory: 4 KiB, of which 2 are rows.

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/detail/cache_padded.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/detail/breaker_machine.hpp"
#include "penstock/route/detail/success_count.hpp"

#include "breaker_listeners.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Threads: any member, from any thread.
class CircuitBreaker::Driver {
 public:
  Driver(CircuitBreakerOptions given, detail::world::Atomic<std::uint64_t>& word);
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  ~Driver();

  std::uint64_t acquire(BreakerRefusal* why) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void report(std::uint64_t generation, CallOutcome outcome, Duration took, absl::StatusCode code) noexcept
      ABSL_LOCKS_EXCLUDED(mutex_);
  void abandon(std::uint64_t generation) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void set(BreakerState state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void set_options(CircuitBreakerOptions given) ABSL_LOCKS_EXCLUDED(mutex_);
  CallOutcome classify(const absl::Status& status) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void count_doubled_report() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void add_listener(Listener listener) { listeners_.add(std::move(listener)); }

  [[nodiscard]] BreakerRefusal refusal() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] CircuitBreakerStats stats() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::shared_ptr<const CircuitBreakerOptions> options() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string name;
  Clock& clock;

 private:
#if defined(PENSTOCK_MODEL)
  static constexpr std::size_t kRows = 2;  // each is steps to explore
#else
  static constexpr std::size_t kRows = 16;
#endif
  using Rows = std::uint32_t;  // by number, as bits
  using Classifier = std::function<CallOutcome(const absl::Status&)>;
  using Classifiers = std::array<std::shared_ptr<const Classifier>, kRows>;

  /// What few threads use: those whose number has the same remainder.
  struct alignas(detail::kCachePadding) Row {
    detail::SuccessCount successes;
    detail::SpinLock lock;  // after mutex_; for copying and swapping the pointer
    // Null if there is none. All rows call the same function, which lives in the options, but count their references to
    // it apart.
    std::shared_ptr<const Classifier> classify ABSL_GUARDED_BY(lock);
  };

  /// What every success reads. Written under mutex_, seldom.
  struct alignas(detail::kCachePadding) Published {
    // The options', in nanoseconds. Who reads one that has just changed reports as if he had come earlier.
    detail::world::Atomic<Duration::rep> slow_call{0};
    // Until when successes may be counted in the rows that are open, in nanoseconds of the clock.
    //   B1  release in open_rows() -> acquire in count_success(): who counts because of the end of a new bucket counts
    //       after the holder of the lock has looked at his row, so not in the bucket before.
    // Who finds an old one takes the lock; who has looked and counts late, in the next bucket, might as well have read
    // the clock late.
    detail::world::Atomic<TimePoint::rep> until{0};
    // How long before that they may be, in nanoseconds: a clock that is further back has stepped back.
    detail::world::Atomic<Duration::rep> reach{0};
    detail::world::Atomic<bool> recent{false};      // whether the cheap clock is exact enough for the buckets
    detail::world::Atomic<bool> classifies{false};  // whether there is a function to call
  };

  struct OpenTimer : Timer {
    explicit OpenTimer(Driver& owner)
        : Timer([](Timer& timer) noexcept { static_cast<OpenTimer&>(timer).driver.on_timer(); }), driver(owner) {}
    Driver& driver;
  };

  static std::size_t row_of_this_thread() noexcept;
  bool count_success(std::uint64_t generation, Duration took) noexcept;
  Rows shut_rows() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void open_rows(Rows rows, TimePoint now) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void apply_options(Classifiers& classifiers) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static Classifiers classifiers_of(const std::shared_ptr<const CircuitBreakerOptions>& options);

  bool queue() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void publish() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void tell_all() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  void on_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void set_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void keep_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  detail::world::Atomic<std::uint64_t>& word_;  // written under mutex_
  Published published_;
  mutable std::array<Row, kRows> rows_;

  mutable Mutex mutex_;  // only the listeners' and a row's are locked while it is held
  mutable detail::BreakerMachine machine_ ABSL_GUARDED_BY(mutex_);  // mutable: stats() brings in what is in the rows
  std::uint64_t doubled_reports_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t caught_exceptions_ ABSL_GUARDED_BY(mutex_) = 0;  // of the classifier
  decltype(CircuitBreakerStats::transitions) transitions_ ABSL_GUARDED_BY(mutex_){};
  detail::BreakerListeners listeners_;
  OpenTimer timer_;                                  // belongs to who has set timer_taken_
  bool timer_used_ ABSL_GUARDED_BY(mutex_) = false;  // options have asked for it
  bool timer_taken_ ABSL_GUARDED_BY(mutex_) = false;
  bool timer_fired_ ABSL_GUARDED_BY(mutex_) = false;  // since it was last armed, perhaps
  TimePoint armed_for_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();
};

}  // namespace penstock::inline PENSTOCK_ABI
