// SPDX-License-Identifier: MIT
#include "penstock/route/circuit_breaker.hpp"

#include <array>
#include <stdexcept>
#include <utility>

#include "penstock/core/mutex.hpp"
#include "penstock/route/detail/breaker_machine.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What the machine lacks: a lock, a clock, listeners and a timer.
///
/// Every event reads the clock, locks, lets the machine decide, publishes its state and generation in the word, and
/// queues the changes for the listeners; after unlocking it runs what is queued. Whoever finds another thread in that
/// loop leaves its changes to it: so they are told in their order, and a listener that causes a change does not meet
/// itself.
class CircuitBreaker::Driver {
 public:
  Driver(CircuitBreakerOptions given, detail::world::Atomic<std::uint64_t>& word)
      : options(std::move(given)),
        word_(word),
        machine_(
            options, options.clock->now(),
            (std::uint64_t{detail::world::random_below(1U << 31U)} << 32U) | detail::world::random_below(1U << 31U)),
        timer_(*this) {
    if (options.auto_half_open) options.clock->start_timers();
    const MutexLock lock(mutex_);
    publish();
  }

  ~Driver() {
    if (options.auto_half_open) options.clock->disarm(timer_);
    Node* node = first_listener_;
    while (node != nullptr) delete std::exchange(node, node->next);
  }

  std::uint64_t acquire(BreakerRefusal* why) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    const TimePoint now = options.clock->now();
    std::uint64_t generation = 0;
    bool changed = false;
    {
      const MutexLock lock(mutex_);
      generation = machine_.acquire(now);
      if (generation == detail::BreakerMachine::kRefused && why != nullptr) *why = machine_.refusal(now);
      changed = queue();
    }
    if (changed) tell_all();
    return generation;
  }

  void report(std::uint64_t generation, CallOutcome outcome, Duration took) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    if (outcome == CallOutcome::kSuccess && took <= options.slow_call) {
      const MutexLock lock(mutex_);
      if (machine_.report_success(generation)) return;
    }
    const TimePoint now = options.clock->now();
    bool changed = false;
    {
      const MutexLock lock(mutex_);
      machine_.report(now, generation, outcome, took > options.slow_call);
      changed = queue();
    }
    if (changed) tell_all();
  }

  void abandon(std::uint64_t generation) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    const TimePoint now = options.clock->now();
    bool changed = false;
    {
      const MutexLock lock(mutex_);
      machine_.abandon(now, generation);
      changed = queue();
    }
    if (changed) tell_all();
  }

  void set(BreakerState state) noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    const TimePoint now = options.clock->now();
    bool changed = false;
    {
      const MutexLock lock(mutex_);
      machine_.set(now, state);
      changed = queue();
    }
    if (changed) tell_all();
  }

  CallOutcome classify(const absl::Status& status) noexcept {
    if (options.classify) {
      try {
        return options.classify(status);
      } catch (...) {
        const MutexLock lock(mutex_);
        ++caught_exceptions_;
      }
    }
    return classify_call(status);
  }

  void count_doubled_report() noexcept {
    const MutexLock lock(mutex_);
    ++doubled_reports_;
  }

  void add_listener(Listener listener) {
    auto* const node = new Node{std::move(listener), nullptr, 0};
    const MutexLock lock(mutex_);
    node->first_change = changes_seen_;
    (last_listener_ == nullptr ? first_listener_ : last_listener_->next) = node;
    last_listener_ = node;
  }

  BreakerRefusal refusal() const noexcept {
    const TimePoint now = options.clock->now();
    const MutexLock lock(mutex_);
    return machine_.refusal(now);
  }

  CircuitBreakerStats stats() const noexcept {
    const TimePoint now = options.clock->now();
    const MutexLock lock(mutex_);
    CircuitBreakerStats stats = machine_.stats(now);
    stats.doubled_reports += doubled_reports_;
    stats.caught_exceptions = caught_exceptions_;
    stats.missed_transitions = missed_transitions_;
    stats.transitions = transitions_;
    return stats;
  }

  const CircuitBreakerOptions options;

 private:
  static constexpr std::size_t kMaxQueued = 64;

  /// Listeners are never taken out, so a node may be read without the lock once it was seen in the list.
  struct Node {
    Listener listener;
    Node* next;
    std::uint64_t first_change;  // how many changes there had been when it came
  };

  struct OpenTimer : Timer {
    explicit OpenTimer(Driver& owner)
        : Timer([](Timer& timer) noexcept { static_cast<OpenTimer&>(timer).driver.on_timer(); }), driver(owner) {}
    Driver& driver;
  };

  /// Publishes what the machine has decided, and queues its changes for the listeners. Returns whether there are any.
  bool queue() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    publish();
    for (const BreakerTransition& change : machine_.changes()) {
      ++transitions_[static_cast<std::size_t>(change.from)][static_cast<std::size_t>(change.to)];
      if (first_listener_ == nullptr) continue;
      if (changes_seen_ - changes_told_ == kMaxQueued) {
        ++changes_told_;  // the oldest: who lags behind wants to know where things are now
        ++missed_transitions_;
      }
      queue_[changes_seen_++ % kMaxQueued] = change;
    }
    return !machine_.changes().empty();
  }

  void tell_all() noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    if (options.auto_half_open) set_timer();
    tell();
  }

  void publish() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::uint64_t word = machine_.generation() << 3U | static_cast<std::uint64_t>(machine_.state());
    // Looked at first: the line stays with all who read it for as long as nothing changes.
    if (word_.load(std::memory_order_relaxed) != word) word_.store(word, std::memory_order_relaxed);
  }

  /// Runs the listeners on what is queued, unless another thread does.
  void tell() noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    std::uint64_t thrown = 0;
    for (bool telling = false;; telling = true) {
      BreakerTransition change;
      std::uint64_t number = 0;
      Node* node = nullptr;
      Node* last = nullptr;
      {
        const MutexLock lock(mutex_);
        caught_exceptions_ += std::exchange(thrown, 0);
        if (!telling && telling_) return;
        telling_ = changes_told_ != changes_seen_;
        if (!telling_) return;
        number = changes_told_++;
        change = queue_[number % kMaxQueued];
        node = first_listener_;
        last = last_listener_;
      }
      for (;; node = node->next) {
        if (node->first_change <= number) {
          try {
            node->listener(change);
          } catch (...) {
            ++thrown;
          }
        }
        if (node == last) break;  // its `next` may be being written
      }
    }
  }

  void on_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    const TimePoint now = options.clock->now();
    {
      const MutexLock lock(mutex_);
      timer_fired_ = true;
      if (timer_taken_) return;
      timer_taken_ = true;
      machine_.advance(now);
      queue();
    }
    tell();  // the timer stays taken: nobody may come to wait, in `disarm`, for a listener
    keep_timer();
  }

  void set_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      const MutexLock lock(mutex_);
      if (timer_taken_) return;  // the one who has it will see what is due now
      timer_taken_ = true;
    }
    keep_timer();
  }

  /// Sees to it that the timer fires when the machine's next change is due, or earlier. For who has taken the timer.
  void keep_timer() noexcept ABSL_LOCKS_EXCLUDED(mutex_) {
    for (bool armed = true;;) {
      TimePoint due;
      if (!armed) {
        const TimePoint now = options.clock->now();
        {
          const MutexLock lock(mutex_);
          machine_.advance(now);
          queue();
        }
        tell();
      }
      {
        const MutexLock lock(mutex_);
        if (std::exchange(timer_fired_, false)) armed_for_ = TimePoint::max();
        due = machine_.due();
        if (due >= armed_for_) {
          timer_taken_ = false;
          return;
        }
        armed_for_ = due;
      }
      options.clock->disarm(timer_);  // a callback that is running finds the timer taken, and leaves
      armed = options.clock->arm(timer_, due);
      if (!armed) {
        const MutexLock lock(mutex_);
        timer_fired_ = true;
      }
    }
  }

  detail::world::Atomic<std::uint64_t>& word_;  // written under mutex_

  mutable Mutex mutex_;  // leaf
  detail::BreakerMachine machine_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t doubled_reports_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t caught_exceptions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t missed_transitions_ ABSL_GUARDED_BY(mutex_) = 0;
  decltype(CircuitBreakerStats::transitions) transitions_ ABSL_GUARDED_BY(mutex_){};
  // Those that are to be told, for as long as there are listeners: a ring of what was seen but not yet told.
  std::array<BreakerTransition, kMaxQueued> queue_ ABSL_GUARDED_BY(mutex_){};
  std::uint64_t changes_seen_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t changes_told_ ABSL_GUARDED_BY(mutex_) = 0;
  bool telling_ ABSL_GUARDED_BY(mutex_) = false;
  Node* first_listener_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Node* last_listener_ ABSL_GUARDED_BY(mutex_) = nullptr;
  OpenTimer timer_;  // belongs to who has set timer_taken_
  bool timer_taken_ ABSL_GUARDED_BY(mutex_) = false;
  bool timer_fired_ ABSL_GUARDED_BY(mutex_) = false;  // since it was last armed, perhaps
  TimePoint armed_for_ ABSL_GUARDED_BY(mutex_) = TimePoint::max();
};

CircuitBreaker::CircuitBreaker(CircuitBreakerOptions options) {
  if (const absl::Status status = options.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(status.message()));
  }
  driver_ = std::make_unique<Driver>(std::move(options), word_.value);
}

CircuitBreaker::~CircuitBreaker() = default;

void CircuitBreaker::reset() noexcept { driver_->set(BreakerState::kClosed); }
void CircuitBreaker::force_open() noexcept { driver_->set(BreakerState::kForcedOpen); }
void CircuitBreaker::disable() noexcept { driver_->set(BreakerState::kDisabled); }
void CircuitBreaker::metrics_only() noexcept { driver_->set(BreakerState::kMetricsOnly); }

void CircuitBreaker::on_transition(Listener listener) {
  if (!listener) {
    throw std::invalid_argument("circuit breaker '" + name() + "': on_transition needs a listener, got an empty one");
  }
  driver_->add_listener(std::move(listener));
}

BreakerState CircuitBreaker::state() const noexcept {
  const auto state = static_cast<BreakerState>(word_.value.load(std::memory_order_relaxed) & 7U);
  const bool time_may_change_it = state == BreakerState::kOpen || state == BreakerState::kHalfOpen;
  return time_may_change_it ? driver_->refusal().state : state;
}

Duration CircuitBreaker::retry_after() const noexcept { return driver_->refusal().retry_after; }
const std::string& CircuitBreaker::name() const noexcept { return driver_->options.name; }
const CircuitBreakerOptions& CircuitBreaker::options() const noexcept { return driver_->options; }
CircuitBreakerStats CircuitBreaker::stats() const noexcept { return driver_->stats(); }

std::uint64_t CircuitBreaker::acquire_slowly(BreakerRefusal* why) noexcept { return driver_->acquire(why); }

void CircuitBreaker::report(std::uint64_t generation, CallOutcome outcome, Duration took) noexcept {
  driver_->report(generation, outcome, took);
}

void CircuitBreaker::report(std::uint64_t generation, const absl::Status& status, Duration took) noexcept {
  driver_->report(generation, driver_->classify(status), took);
}

void CircuitBreaker::abandon(std::uint64_t generation) noexcept { driver_->abandon(generation); }
void CircuitBreaker::count_doubled_report() noexcept { driver_->count_doubled_report(); }

}  // namespace penstock::inline PENSTOCK_ABI
