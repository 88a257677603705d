// SPDX-License-Identifier: MIT
#include "breaker_driver.hpp"

#include <utility>

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr int kRecentEnough = 32;  // a bucket so many times as long as the cheap clock is late is told right by it

std::uint64_t random_seed() noexcept {
  const std::uint64_t high = detail::world::random_below(1U << 31U);
  return high << 32U | detail::world::random_below(1U << 31U);
}

}  // namespace

CircuitBreaker::Driver::Driver(CircuitBreakerOptions given, detail::world::Atomic<std::uint64_t>& word)
    : name(given.name),
      clock(*given.clock),
      word_(word),
      machine_(std::make_shared<const CircuitBreakerOptions>(std::move(given)), clock.now(), random_seed()),
      timer_(*this) {
  const auto options = this->options();
  if (options->auto_half_open) clock.start_timers();
  Classifiers classifiers = classifiers_of(options);
  const MutexLock lock(mutex_);
  apply_options(classifiers);
  publish();
}

CircuitBreaker::Driver::~Driver() {
  bool was_used = false;
  {
    const MutexLock lock(mutex_);
    was_used = timer_used_;
  }
  if (was_used) clock.disarm(timer_);
}

// --- successes that need no lock ---

/// The row that the calling thread uses in every breaker: threads take turns.
std::size_t CircuitBreaker::Driver::row_of_this_thread() noexcept {
  auto& mine = detail::world::thread_local_value<detail::SuccessRowTag, std::uint32_t>();
#if !defined(PENSTOCK_MODEL)  // where nothing may be left behind by one execution for the next
  // A number and nothing else: it orders nothing, and no harm is done when it wraps around.
  static detail::world::Atomic<std::uint32_t> last{0};
  if (mine == 0) mine = last.fetch_add(1, std::memory_order_relaxed) + 1;
#endif
  return mine % kRows;
}

bool CircuitBreaker::Driver::count_success(std::uint64_t generation, Duration took) noexcept {
  if (took.count() > published_.slow_call.load(std::memory_order_relaxed)) return false;
  const TimePoint until{Duration(published_.until.load(std::memory_order_acquire))};  // B1 acquire
  if (until != TimePoint::max()) {
    const TimePoint now = published_.recent.load(std::memory_order_relaxed) ? clock.recent() : clock.now();
    if (now >= until) return false;
    if (now < saturated_add(until, Duration(-published_.reach.load(std::memory_order_relaxed)))) return false;
  }
  return rows_[row_of_this_thread()].successes.count(generation);
}

/// Hands the machine what is in the rows. Returns those that were open; until they are opened nothing is counted.
CircuitBreaker::Driver::Rows CircuitBreaker::Driver::shut_rows() noexcept {
  Rows open = 0;
  std::uint64_t count = 0;
  for (std::size_t row = 0; row < kRows; ++row) {
    if (rows_[row].successes.is_shut()) continue;
    open |= Rows{1} << row;
    count += rows_[row].successes.shut();
  }
  machine_.add_successes(count);
  return open;
}

/// Opens `rows`, which are shut, if successes may wait.
void CircuitBreaker::Driver::open_rows(Rows rows, TimePoint now) noexcept {
  const TimePoint until = machine_.successes_may_wait_until(now);
  if (until == TimePoint::min()) return;
  const TimePoint::rep ticks = until.time_since_epoch().count();
  if (published_.until.load(std::memory_order_relaxed) != ticks) {
    published_.until.store(ticks, std::memory_order_release);  // B1 release
  }
  for (std::size_t row = 0; row < kRows; ++row) {
    if ((rows >> row & 1U) != 0) rows_[row].successes.open(machine_.generation());
  }
}

// --- events ---

std::uint64_t CircuitBreaker::Driver::acquire(BreakerRefusal* why) noexcept {
  const TimePoint now = clock.now();
  std::uint64_t generation = 0;
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    // No row is open, or the breaker has closed just now and nothing changes.
    generation = machine_.acquire(now);
    if (generation == detail::BreakerMachine::kRefused && why != nullptr) *why = machine_.refusal(now);
    changed = queue();
  }
  if (changed) tell_all();
  return generation;
}

void CircuitBreaker::Driver::report(std::uint64_t generation, CallOutcome outcome, Duration took,
                                    absl::StatusCode code) noexcept {
  const bool success = outcome == CallOutcome::kSuccess;
  if (success && count_success(generation, took)) return;
  if (word_.load(std::memory_order_relaxed) == word_of(BreakerState::kDisabled, generation)) return;
  const TimePoint now = clock.now();
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    const bool slow = took > machine_.options()->slow_call;
    Rows rows = 0;
    if (outcome != CallOutcome::kIgnored) rows = shut_rows();  // else nothing is recorded
    machine_.report(now, generation, outcome, slow, code);
    if (success && !slow) rows |= Rows{1} << row_of_this_thread();
    if (rows != 0) open_rows(rows, now);
    changed = queue();
  }
  if (changed) tell_all();
}

void CircuitBreaker::Driver::abandon(std::uint64_t generation) noexcept {
  const TimePoint now = clock.now();
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    machine_.abandon(now, generation);
    changed = queue();
  }
  if (changed) tell_all();
}

void CircuitBreaker::Driver::set(BreakerState state) noexcept {
  const TimePoint now = clock.now();
  bool changed = false;
  {
    const MutexLock lock(mutex_);
    shut_rows();
    machine_.set(now, state);
    changed = queue();
  }
  if (changed) tell_all();
}

CallOutcome CircuitBreaker::Driver::classify(const absl::Status& status) noexcept {
  if (published_.classifies.load(std::memory_order_relaxed)) {
    std::shared_ptr<const Classifier> classifier;
    {
      Row& row = rows_[row_of_this_thread()];
      const detail::SpinLockGuard lock(row.lock);
      classifier = row.classify;
    }
    try {
      if (classifier != nullptr) return (*classifier)(status);
    } catch (...) {
      const MutexLock lock(mutex_);
      ++caught_exceptions_;
    }
  }
  return classify_call(status);
}

void CircuitBreaker::Driver::count_doubled_report() noexcept {
  const MutexLock lock(mutex_);
  ++doubled_reports_;
}

// --- options ---

CircuitBreaker::Driver::Classifiers CircuitBreaker::Driver::classifiers_of(
    const std::shared_ptr<const CircuitBreakerOptions>& options) {
  Classifiers classifiers;
  if (!options->classify) return classifiers;
  for (auto& classifier : classifiers) {
    const auto counted_apart = std::make_shared<const std::shared_ptr<const CircuitBreakerOptions>>(options);
    classifier = std::shared_ptr<const Classifier>(counted_apart, &options->classify);
  }
  return classifiers;
}

/// Publishes what calls need to know of the machine's options. `classifiers` gets those of before.
void CircuitBreaker::Driver::apply_options(Classifiers& classifiers) noexcept {
  const CircuitBreakerOptions& options = *machine_.options();
  if (options.auto_half_open) timer_used_ = true;
  published_.slow_call.store(options.slow_call.count(), std::memory_order_relaxed);
  published_.recent.store(clock.recent_lag() <= options.bucket / kRecentEnough, std::memory_order_relaxed);
  const std::chrono::duration<long double, std::nano> buckets = options.bucket;
  const Duration reach = saturated(buckets * static_cast<long double>(options.window_size));
  published_.reach.store(reach.count(), std::memory_order_relaxed);
  for (std::size_t row = 0; row < kRows; ++row) {
    const detail::SpinLockGuard lock(rows_[row].lock);
    rows_[row].classify.swap(classifiers[row]);
  }
  published_.classifies.store(bool{options.classify}, std::memory_order_relaxed);
}

void CircuitBreaker::Driver::set_options(CircuitBreakerOptions given) {
  if (given.auto_half_open) clock.start_timers();
  auto options = std::make_shared<const CircuitBreakerOptions>(std::move(given));
  detail::OutcomeWindow window(options->window, options->window_size, options->bucket);
  Classifiers classifiers = classifiers_of(options);
  const TimePoint now = clock.now();
  {
    const MutexLock lock(mutex_);
    shut_rows();
    machine_.set_options(now, options, window);
    apply_options(classifiers);
    queue();
  }
  tell_all();  // and not only if something changed: what is due may be due at another time
}

std::shared_ptr<const CircuitBreakerOptions> CircuitBreaker::Driver::options() const noexcept {
  const MutexLock lock(mutex_);
  return machine_.options();
}

// --- what is told ---

BreakerRefusal CircuitBreaker::Driver::refusal() const noexcept {
  const TimePoint now = clock.now();
  const MutexLock lock(mutex_);
  return machine_.refusal(now);
}

CircuitBreakerStats CircuitBreaker::Driver::stats() const noexcept {
  const TimePoint now = clock.now();
  const MutexLock lock(mutex_);
  std::uint64_t count = 0;
  for (Row& row : rows_) count += row.successes.take();
  machine_.add_successes(count);
  CircuitBreakerStats stats = machine_.stats(now);
  const detail::BreakerListeners::Counts of_listeners = listeners_.counts();
  stats.doubled_reports += doubled_reports_;
  stats.caught_exceptions = caught_exceptions_ + of_listeners.exceptions;
  stats.missed_transitions = of_listeners.missed;
  stats.transitions = transitions_;
  return stats;
}

/// Publishes what the machine has decided, and queues its changes for the listeners. Returns whether there are any.
bool CircuitBreaker::Driver::queue() noexcept {
  publish();
  for (const BreakerTransition& change : machine_.changes()) {
    ++transitions_[static_cast<std::size_t>(change.from)][static_cast<std::size_t>(change.to)];
    listeners_.queue(change);
  }
  return !machine_.changes().empty();
}

void CircuitBreaker::Driver::publish() noexcept {
  const std::uint64_t word = word_of(machine_.state(), machine_.generation());
  // Looked at first: the line stays with all who read it for as long as nothing changes.
  if (word_.load(std::memory_order_relaxed) != word) word_.store(word, std::memory_order_relaxed);
}

void CircuitBreaker::Driver::tell_all() noexcept {
  set_timer();
  listeners_.tell();
}

// --- the timer ---

void CircuitBreaker::Driver::on_timer() noexcept {
  const TimePoint now = clock.now();
  {
    const MutexLock lock(mutex_);
    timer_fired_ = true;
    if (timer_taken_) return;
    timer_taken_ = true;
    machine_.advance(now);
    queue();
  }
  listeners_.tell();  // the timer stays taken: nobody may come to wait, in `disarm`, for a listener
  keep_timer();
}

void CircuitBreaker::Driver::set_timer() noexcept {
  {
    const MutexLock lock(mutex_);
    if (!machine_.options()->auto_half_open || timer_taken_) return;  // who has it will see what is due now
    timer_taken_ = true;
  }
  keep_timer();
}

/// Sees to it that the timer fires when the machine's next change is due, or earlier. For who has taken the timer.
void CircuitBreaker::Driver::keep_timer() noexcept {
  for (bool armed = true;;) {
    TimePoint due;
    if (!armed) {
      const TimePoint now = clock.now();
      {
        const MutexLock lock(mutex_);
        machine_.advance(now);
        queue();
      }
      listeners_.tell();
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
    clock.disarm(timer_);  // a callback that is running finds the timer taken, and leaves
    armed = clock.arm(timer_, due);
    if (!armed) {
      const MutexLock lock(mutex_);
      timer_fired_ = true;
    }
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
