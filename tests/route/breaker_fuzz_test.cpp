// SPDX-License-Identifier: MIT

// The machine against a reference that keeps a list of everything that ever happened, and computes each answer from it
// anew: slow, plain, and written without a look at the machine's rings, totals and early verdicts.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "penstock/route/detail/breaker_machine.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::CallTally;
using penstock::CircuitBreakerOptions;
using penstock::Duration;
using penstock::TimePoint;
using penstock::detail::BreakerMachine;
using penstock::detail::OutcomeWindow;

namespace {

class Reference {
 public:
  Reference(const CircuitBreakerOptions& options, TimePoint now) : options_(options), since_(now) {}

  std::uint64_t acquire(TimePoint now) {
    pass(now);
    if (state == BreakerState::kOpen && now > until_) become(BreakerState::kHalfOpen, now);
    const bool probe = state == BreakerState::kHalfOpen && out_ + outcomes_.size() < options_.half_open_permits;
    if (state == BreakerState::kOpen || state == BreakerState::kForcedOpen ||
        (state == BreakerState::kHalfOpen && !probe)) {
      ++not_permitted;
      return 0;
    }
    if (probe) {
      ++out_;
      if (!first_probe_) {
        first_probe_ = now;
        lost_at_ = now + options_.half_open_max_wait;
      }
    }
    return generation;
  }

  void report(TimePoint now, std::uint64_t permit, std::optional<CallOutcome> outcome, bool slow) {
    pass(now);
    if (permit != generation) {
      ++late;
      return;
    }
    if (state == BreakerState::kDisabled) {
      if (!outcome) ++abandoned;
      return;
    }
    if (state == BreakerState::kHalfOpen) --out_;
    if (!outcome) {
      ++abandoned;
    } else if (*outcome == CallOutcome::kIgnored) {
      ++ignored;
    } else {
      outcomes_.push_back({now, *outcome == CallOutcome::kFailure, slow});
      ++recorded;
      if (state == BreakerState::kClosed && verdict_of_window(now)) become(BreakerState::kOpen, now);
      if (state == BreakerState::kHalfOpen) judge_probes(now);
    }
  }

  void set(TimePoint now, BreakerState to) {
    pass(now);
    become(to, now);
  }

  void set_options(TimePoint now, const CircuitBreakerOptions& options) {
    pass(now);
    forget(options);
    options_ = options;
    // What these options would have ended before now ends now; what was over already, was over already.
    if (state == BreakerState::kOpen) until_ = std::max(since_ + wait(), std::min(until_, now));
    if (first_probe_) lost_at_ = std::max(*first_probe_ + options_.half_open_max_wait, std::min(lost_at_, now));
    if (state == BreakerState::kClosed && !outcomes_.empty() && verdict_of_window(now))
      become(BreakerState::kOpen, now);
    if (state == BreakerState::kHalfOpen && !outcomes_.empty()) judge_probes(now);
  }

  void pass(TimePoint now) {
    if (state == BreakerState::kHalfOpen && first_probe_ && now > lost_at_) become(BreakerState::kOpen, lost_at_);
    if (state == BreakerState::kOpen && options_.auto_half_open && now > until_) {
      become(BreakerState::kHalfOpen, until_);
    }
  }

  CallTally window(TimePoint now) const {
    const bool records = state == BreakerState::kClosed || state == BreakerState::kMetricsOnly;
    if (!records && state != BreakerState::kHalfOpen) return found_;
    CallTally tally;
    for (std::size_t call = 0; call < outcomes_.size(); ++call) {
      if (records && options_.window == CircuitBreakerOptions::Window::kCount) {
        if (outcomes_.size() - call > options_.window_size) continue;
      } else if (records) {
        const auto age =
            now.time_since_epoch() / options_.bucket - outcomes_[call].at.time_since_epoch() / options_.bucket;
        if (age >= static_cast<std::int64_t>(options_.window_size)) continue;
      }
      ++tally.calls;
      if (outcomes_[call].failed) ++tally.failed;
      if (outcomes_[call].slow) ++tally.slow;
    }
    return tally;
  }

  Duration retry_after(TimePoint now) const {
    if (state == BreakerState::kForcedOpen) return Duration::max();
    return state == BreakerState::kOpen && until_ > now ? until_ - now : Duration::zero();
  }

  std::size_t probes() const { return state == BreakerState::kHalfOpen ? out_ : 0; }
  Duration time_in_state(TimePoint now) const { return now - since_; }

  BreakerState state = BreakerState::kClosed;
  std::uint64_t generation = 1;
  std::uint32_t attempts = 0;
  std::uint64_t not_permitted = 0, late = 0, ignored = 0, abandoned = 0, recorded = 0;

 private:
  struct Outcome {
    TimePoint at;
    bool failed;
    bool slow;
  };

  void become(BreakerState to, TimePoint at) {
    found_ = window(at);
    if (to == BreakerState::kOpen) {
      ++attempts;
      until_ = at + wait();
    }
    if (to == BreakerState::kClosed) attempts = 0;
    outcomes_.clear();
    out_ = 0;
    first_probe_.reset();
    ++generation;
    if (to != state) since_ = at;
    state = to;
  }

  Duration wait() const {
    long double wait = static_cast<long double>(options_.open_for.count());
    for (std::uint32_t attempt = 1; attempt < attempts; ++attempt) wait *= options_.open_backoff;
    return Duration(
        static_cast<Duration::rep>(std::min(wait, static_cast<long double>(options_.open_for_max.count()))));
  }

  /// Leaves out what a window that has been as `options_` says, and is as `next` says from now on, has lost.
  void forget(const CircuitBreakerOptions& next) {
    if (state != BreakerState::kClosed && state != BreakerState::kMetricsOnly) return;
    const bool by_count = options_.window == CircuitBreakerOptions::Window::kCount;
    if (next.window != options_.window || (!by_count && next.bucket != options_.bucket)) {
      outcomes_.clear();
    } else if (by_count && outcomes_.size() > options_.window_size) {
      outcomes_.erase(outcomes_.begin(), outcomes_.end() - static_cast<std::ptrdiff_t>(options_.window_size));
    } else if (!by_count && !outcomes_.empty()) {
      const auto newest = outcomes_.back().at.time_since_epoch() / options_.bucket;
      std::erase_if(outcomes_, [&](const Outcome& outcome) {
        return newest - outcome.at.time_since_epoch() / options_.bucket >=
               static_cast<std::int64_t>(options_.window_size);
      });
    }
  }

  bool bad(std::uint64_t failed, std::uint64_t slow, std::uint64_t calls) const {
    const auto all = static_cast<double>(calls);
    return 100.0 * static_cast<double>(failed) / all >= options_.failure_rate_pct ||
           100.0 * static_cast<double>(slow) / all >= options_.slow_rate_pct;
  }

  bool verdict_of_window(TimePoint now) const {
    const CallTally tally = window(now);
    const bool full = options_.window == CircuitBreakerOptions::Window::kCount && tally.calls == options_.window_size;
    return (full || tally.calls >= options_.minimum_calls) && bad(tally.failed, tally.slow, tally.calls);
  }

  /// Tries every way the rest of the probes can end.
  std::optional<bool> verdict_of_probes() const {
    const CallTally tally = window({});
    const std::uint64_t needed =
        std::max<std::uint64_t>(std::min(options_.minimum_calls, options_.half_open_permits), tally.calls);
    bool can_open = false;
    bool can_close = false;
    for (std::uint64_t failed = 0; failed <= needed - tally.calls; ++failed) {
      for (std::uint64_t slow = 0; slow <= needed - tally.calls; ++slow) {
        (bad(tally.failed + failed, tally.slow + slow, needed) ? can_open : can_close) = true;
      }
    }
    if (can_open && can_close) return std::nullopt;
    return can_open;
  }

  void judge_probes(TimePoint now) {
    if (const auto opens = verdict_of_probes()) become(*opens ? BreakerState::kOpen : BreakerState::kClosed, now);
  }

  CircuitBreakerOptions options_;
  std::vector<Outcome> outcomes_;  // of this state
  std::size_t out_ = 0;            // probes on their way
  std::optional<TimePoint> first_probe_;
  TimePoint lost_at_{};
  TimePoint since_;
  TimePoint until_{};
  CallTally found_;
};

class Fuzz {
 public:
  explicit Fuzz(std::uint64_t seed)
      : random_(seed),
        options_(random_options()),
        machine_(std::make_shared<const CircuitBreakerOptions>(options_), now_),
        reference_(options_, now_) {}

  /// What differs after a random event; empty if nothing does.
  std::string step() {
    switch (below(12)) {
      case 0:
      case 1:
      case 2: {
        if (std::string wrong = compare(); !wrong.empty()) return wrong;
        const std::uint64_t got = machine_.acquire(now_);
        const std::uint64_t wanted = reference_.acquire(now_);
        if (got != wanted) return "acquire gave " + std::to_string(got) + ", not " + std::to_string(wanted);
        if (got != 0) permits_.push_back(got);
        break;
      }
      case 3:
        now_ += time_step();
        break;
      case 4:
        operate();
        break;
      default:
        if (!permits_.empty()) finish_a_call();
    }
    for (const auto& change : machine_.changes())
      seen_[static_cast<std::size_t>(change.from)][static_cast<std::size_t>(change.to)] = true;
    return compare();
  }

  std::uint64_t waited() const { return waited_; }
  std::uint64_t changed_options() const { return changed_options_; }
  bool saw(BreakerState from, BreakerState to) const {
    return seen_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }

 private:
  void operate() {
    const std::size_t what = below(40);
    if (what > 3) {
      machine_.advance(now_);
      reference_.pass(now_);
      return;
    }
    bring_in();
    may_wait_until_ = TimePoint::min();
    if (what == 0) {
      constexpr BreakerState kSettable[] = {BreakerState::kClosed, BreakerState::kClosed, BreakerState::kForcedOpen,
                                            BreakerState::kDisabled, BreakerState::kMetricsOnly};
      const BreakerState to = kSettable[below(5)];
      machine_.set(now_, to);
      reference_.set(now_, to);
    } else {
      options_ = changed(options_);
      auto options = std::make_shared<const CircuitBreakerOptions>(options_);
      OutcomeWindow window(options->window, options->window_size, options->bucket);
      machine_.set_options(now_, options, window);
      reference_.set_options(now_, options_);
      ++changed_options_;
    }
  }

  void finish_a_call() {
    // The newest more often than the oldest, which are late.
    const std::size_t which = permits_.size() - 1 - std::min(below(permits_.size()), below(permits_.size()));
    const std::uint64_t permit = permits_[which];
    permits_.erase(permits_.begin() + static_cast<std::ptrdiff_t>(which));
    const bool slow = below(100) < slow_pct_;
    const std::size_t how = below(100);
    if (how < 5) {
      machine_.abandon(now_, permit);
      reference_.report(now_, permit, std::nullopt, false);
      return;
    }
    const CallOutcome outcome = how < 10                    ? CallOutcome::kIgnored
                                : below(100) < failure_pct_ ? CallOutcome::kFailure
                                                            : CallOutcome::kSuccess;
    reference_.report(now_, permit, outcome, slow);
    if (outcome == CallOutcome::kSuccess && !slow && permit == machine_.generation() && now_ < may_wait_until_) {
      ++waiting_;
      ++waited_;
      return;
    }
    if (outcome != CallOutcome::kIgnored) bring_in();
    machine_.report(now_, permit, outcome, slow);
    if (outcome != CallOutcome::kIgnored) may_wait_until_ = machine_.successes_may_wait_until(now_);
  }

  void bring_in() {
    machine_.add_successes(waiting_);
    waiting_ = 0;
  }

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }

  /// `options` with another value of some of them.
  CircuitBreakerOptions changed(CircuitBreakerOptions options) {
    const CircuitBreakerOptions other = random_options();
    if (below(4) == 0) options.window = other.window;
    if (below(3) == 0) options.window_size = other.window_size;
    if (below(6) == 0) options.bucket = other.bucket;
    if (below(3) == 0) options.minimum_calls = other.minimum_calls;
    if (below(3) == 0) options.failure_rate_pct = other.failure_rate_pct;
    if (below(3) == 0) options.slow_rate_pct = other.slow_rate_pct;
    if (below(3) == 0) {
      options.open_for = other.open_for;
      options.open_backoff = other.open_backoff;
      options.open_for_max = other.open_for_max;
    }
    if (below(3) == 0) options.half_open_permits = other.half_open_permits;
    if (below(3) == 0) options.half_open_max_wait = other.half_open_max_wait;
    if (below(3) == 0) options.auto_half_open = other.auto_half_open;
    return options;
  }

  CircuitBreakerOptions random_options() {
    CircuitBreakerOptions options;
    options.window = below(2) == 0 ? CircuitBreakerOptions::Window::kCount : CircuitBreakerOptions::Window::kTime;
    options.window_size = 1 + below(12);
    options.bucket = Duration(1 + below(100));
    options.minimum_calls = 1 + below(16);
    constexpr double kRates[] = {1, 25, 100.0 / 3, 50, 200.0 / 3, 75, 100};
    options.failure_rate_pct = kRates[below(7)];
    options.slow_rate_pct = kRates[below(7)];
    options.open_for = Duration(1 + below(300));
    constexpr double kBackoffs[] = {1, 1, 1.5, 2, 3};
    options.open_backoff = kBackoffs[below(5)];
    options.open_for_max = options.open_for * static_cast<int>(1 + below(8));
    options.half_open_permits = 1 + below(6);
    options.half_open_max_wait = Duration(1 + below(300));
    options.auto_half_open = below(3) == 0;
    failure_pct_ = below(below(3) == 0 ? 10 : 101);
    slow_pct_ = below(below(3) == 0 ? 10 : 101);
    return options;
  }

  /// Often to exactly the time at which something is due, or one tick beside it.
  Duration time_step() {
    const auto stats = machine_.stats(now_);  // of this only what no success changes
    if (below(2) == 0 && stats.retry_after != Duration::max()) {
      return std::max(stats.retry_after + Duration(below(3)) - 1ns, Duration::zero());
    }
    if (below(4) == 0) return options_.half_open_max_wait - Duration(below(2)) + Duration(below(2));
    return Duration(below(static_cast<std::size_t>(options_.bucket.count()) * (below(8) == 0 ? 20 : 2)));
  }

  std::string compare() {
    if (waiting_ != 0 && below(4) != 0) return "";
    bring_in();
    const auto stats = machine_.stats(now_);
    Reference wanted = reference_;
    wanted.pass(now_);  // an observer sees what is due
    const auto differ = [](const char* what, auto got, auto reference) {
      return got == reference
                 ? std::string()
                 : std::string(what) + " is " + std::to_string(got) + ", not " + std::to_string(reference) + "; ";
    };
    return differ("state", static_cast<int>(stats.state), static_cast<int>(wanted.state)) +
           differ("generation", stats.generation, wanted.generation) +
           differ("attempts", stats.attempts, wanted.attempts) + differ("probes", stats.probes, wanted.probes()) +
           differ("calls", stats.window.calls, wanted.window(now_).calls) +
           differ("failed", stats.window.failed, wanted.window(now_).failed) +
           differ("slow", stats.window.slow, wanted.window(now_).slow) +
           differ("retry_after", stats.retry_after.count(), wanted.retry_after(now_).count()) +
           differ("time_in_state", stats.time_in_state.count(), wanted.time_in_state(now_).count()) +
           differ("not_permitted", stats.not_permitted, wanted.not_permitted) +
           differ("late", stats.late_results, wanted.late) + differ("ignored", stats.ignored, wanted.ignored) +
           differ("abandoned", stats.abandoned, wanted.abandoned) +
           differ("recorded", stats.succeeded + stats.failed, wanted.recorded) +
           differ("doubled", stats.doubled_reports, std::uint64_t{0});
  }

  std::mt19937_64 random_;
  std::size_t failure_pct_ = 0;
  std::size_t slow_pct_ = 0;
  CircuitBreakerOptions options_;
  TimePoint now_{1h};
  BreakerMachine machine_;
  Reference reference_;
  std::vector<std::uint64_t> permits_;
  // As the driver does it: successes that need no machine, until one is needed.
  std::uint64_t waiting_ = 0;
  TimePoint may_wait_until_ = TimePoint::min();
  std::uint64_t waited_ = 0;
  std::uint64_t changed_options_ = 0;
  bool seen_[penstock::kBreakerStates][penstock::kBreakerStates] = {};
};

}  // namespace

TEST_CASE("BreakerMachine: a million random events go as the list of all outcomes says", "[route][circuit_breaker]") {
  constexpr int kRuns = 3500;
  constexpr int kSteps = 300;
  int opened = 0;
  int closed = 0;
  int reopened = 0;
  std::uint64_t waited = 0;
  std::uint64_t changed_options = 0;
  for (int run = 0; run < kRuns; ++run) {
    Fuzz fuzz(static_cast<std::uint64_t>(run));
    for (int step = 0; step < kSteps; ++step) {
      if (const std::string wrong = fuzz.step(); !wrong.empty())
        FAIL("seed " << run << ", step " << step << ": " << wrong);
    }
    opened += fuzz.saw(BreakerState::kClosed, BreakerState::kOpen);
    closed += fuzz.saw(BreakerState::kHalfOpen, BreakerState::kClosed);
    reopened += fuzz.saw(BreakerState::kHalfOpen, BreakerState::kOpen);
    waited += fuzz.waited();
    changed_options += fuzz.changed_options();
  }
  // It has been where it should be.
  CHECK(opened > kRuns / 2);
  CHECK(closed > kRuns / 4);
  CHECK(reopened > kRuns / 4);
  CHECK(waited > kRuns * 5);
  CHECK(changed_options > kRuns);
}
