// SPDX-License-Identifier: MIT

// Taking tokens, at once or in turn. The line and its timer are in rate_line.cpp, texts and figures in
// rate_limiter.cpp.

#include "penstock/route/detail/rate_core.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::uint64_t kMostTokens = 1'000'000'000;  // the largest burst

RateLimiterOptions checked(RateLimiterOptions options) {
  if (const absl::Status bad = options.validate(); !bad.ok()) throw std::invalid_argument(std::string(bad.message()));
  return options;
}

/// Whether it was only that there are too few now.
bool is_for_now(RateReason reason) noexcept {
  return reason == RateReason::kUsedUp || reason == RateReason::kLineFull || reason == RateReason::kTooLate;
}

}  // namespace

RateCore::Shut::Shut(RateCore& core) noexcept : core_(core) {
  core_.lock_.lock();
  core_.shut();
}
RateCore::Shut::~Shut() {
  core_.open();
  core_.lock_.unlock();
}

RateCore::RateCore(RateLimiterOptions given)
    : name_(checked(given).name),
      clock_(*given.clock),
      epoch_(clock_.now()),
      machine_(given.algorithm, RateRule(given.rate_per_second, given.burst), 0),
      max_waiting_(given.max_waiting),
      timer_(*this) {
  const Shut shut(*this);
  publish_rule();
}

RateCore::~RateCore() {
  EndlessWaiter waiter;
  WaitNode node(waiter, nullptr);
  bool has_keeper = false;
  {
    const Shut shut(*this);
    PENSTOCK_CHECK(line_.empty(), "a rate limiter was destroyed while somebody waits in its line");
    has_keeper = timer_taken_;
    if (has_keeper) destroyer_.push(node);
  }
  // Nobody is in line, so after this keeper there comes none but the timer itself, for which `disarm` waits.
  if (has_keeper) waiter.wait();
  if (has_timers_.load(std::memory_order_relaxed)) clock_.disarm(timer_);
}

// --- the word ---

RateCore::Quick RateCore::take_quickly(Ticks time, std::uint64_t n) noexcept {
  if (n > kMostTokens) return Quick::kShut;
  for (;;) {
    // The version first: so the word and the rule are of one time, and if a change, and another one back, come before
    // the exchange, this is a take from before both.
    const std::uint64_t version = rule_.value.version.load(std::memory_order_acquire);  // R2 acquire
    std::uint64_t word = hot_.value.word.load(std::memory_order_acquire);               // R1 acquire
    if ((word & kShutBit) != 0) return Quick::kShut;
    const Ticks capacity = rule_.value.capacity.load(std::memory_order_acquire);  // R2 acquire
    const Ticks cost = n == 1
                           ? rule_.value.cost_of_one.load(std::memory_order_acquire)  // R2 acquire
                           : RateRule::cost(static_cast<double>(n), std::bit_cast<double>(rule_.value.per_second.load(
                                                                        std::memory_order_acquire)));  // R2 acquire
    if (version % 2 != 0 || rule_.value.version.load(std::memory_order_relaxed) != version) return Quick::kShut;
    if (cost > capacity) return Quick::kShut;  // more than the bucket holds
    const Ticks latest = hot_.value.latest.load(std::memory_order_relaxed);
    const Ticks full_at = gcra_take(word >> 1U, std::max(time, latest), cost, capacity);
    if (full_at == 0) return Quick::kRefused;
    if (hot_.value.word.compare_exchange_weak(word, full_at << 1U, std::memory_order_relaxed,
                                              std::memory_order_relaxed)) {
      if (time > latest) hot_.value.latest.store(time, std::memory_order_relaxed);
      return Quick::kTaken;
    }
  }
}

void RateCore::shut() noexcept {
  const std::uint64_t word = hot_.value.word.fetch_or(kShutBit, std::memory_order_relaxed);
  if ((word & kShutBit) == 0) machine_.set_full_at(word >> 1U);
}

void RateCore::open() noexcept {
  if (machine_.algorithm() != RateAlgorithm::kGcra || !line_.empty() || closed_) return;
  hot_.value.word.store(machine_.full_at() << 1U, std::memory_order_release);  // R1 release
}

void RateCore::publish_rule() noexcept {
  const RateRule& rule = machine_.rule();
  const std::uint64_t version = rule_.value.version.load(std::memory_order_relaxed);
  rule_.value.version.store(version + 1, std::memory_order_relaxed);
  rule_.value.per_second.store(std::bit_cast<std::uint64_t>(rule.per_second()),
                               std::memory_order_release);                 // R2 release
  rule_.value.cost_of_one.store(rule.cost(1), std::memory_order_release);  // R2 release
  rule_.value.capacity.store(rule.capacity(), std::memory_order_release);  // R2 release
  rule_.value.version.store(version + 2, std::memory_order_release);
}

Ticks RateCore::pass(Ticks time) noexcept {
  const Ticks latest = hot_.value.latest.load(std::memory_order_relaxed);
  // Somebody may have taken since `time` was read, and not have written down when. But it was not before the tokens
  // were there.
  const Ticks now = std::max({time, latest, machine_.due(0)});
  if (now > latest) hot_.value.latest.store(now, std::memory_order_relaxed);
  return now;
}

// --- acquiring ---

void RateCore::count(std::uint64_t n) noexcept {
  counters_.add(kTokens, n);
  counters_.add(kAcquired);
}

OpStatus RateCore::count(RateReason reason) noexcept {
  counters_.add(kFirstReason + static_cast<std::size_t>(reason));
  switch (reason) {
    case RateReason::kTimedOut:
      return OpStatus::kTimedOut;
    case RateReason::kCancelled:
      return OpStatus::kCancelled;
    case RateReason::kClosed:
      return OpStatus::kClosed;
    case RateReason::kUsedUp:
    case RateReason::kLineFull:
    case RateReason::kTooLate:
    case RateReason::kTooMany:
      break;
  }
  return OpStatus::kFull;
}

Duration RateCore::wait_for(Ticks now, std::uint64_t n) const noexcept {
  // Each in line is rounded up by itself.
  const Ticks due = machine_.due(queued_ + static_cast<double>(n)) + waiting_;
  return due <= now ? Duration::zero() : time_of(TimePoint(), due - now).time_since_epoch();
}

RateCore::Patience::Patience(const Context& ctx) noexcept : ended(ctx.status()) {
  if (ended != OpStatus::kOk) return;
  left = ctx.deadline() == TimePoint::max() ? Duration::max() : ctx.deadline() - ctx.clock().now();
}

RateCore::Look RateCore::look(Ticks now, std::uint64_t n, const Patience& patience, Effects& effects) noexcept {
  serve(now, effects);  // those in line come first
  Look look;
  if (closed_) {
    look.refused = RateReason::kClosed;
  } else if (static_cast<double>(n) > machine_.rule().burst()) {
    look.refused = RateReason::kTooMany;
  } else if (line_.empty() && machine_.take(now, n)) {
    look.has_taken = true;
  } else {
    look.wait = wait_for(now, n);
    if (patience.ended != OpStatus::kOk) {
      look.refused = patience.ended == OpStatus::kTimedOut ? RateReason::kTimedOut : RateReason::kCancelled;
    } else if (waiting_ >= max_waiting_) {
      look.refused = RateReason::kLineFull;
    } else if (look.wait >= patience.left && patience.left != Duration::max()) {
      look.refused = RateReason::kTooLate;
    }
  }
  return look;
}

void RateCore::explain(RateRefusal* why, RateReason reason, std::uint64_t n, Duration wait,
                       Duration patience) const noexcept {
  if (why == nullptr) return;
  *why = {.reason = reason,
          .retry_after = wait,
          .asked = n,
          .rate_per_second = machine_.rule().per_second(),
          .burst = machine_.rule().burst(),
          .waiting = waiting_,
          .patience = patience};
}

bool RateCore::try_acquire(std::uint64_t n, RateRefusal* why) noexcept {
  if (n == 0) return true;
  const Ticks time = read_clock();
  const Quick quick = take_quickly(time, n);
  if (quick == Quick::kTaken) {
    count(n);
    return true;
  }
  if (quick == Quick::kRefused && why == nullptr) {
    static_cast<void>(count(RateReason::kUsedUp));
    return false;
  }
  Look seen;
  Effects effects;
  {
    const Shut shut(*this);
    seen = look(pass(time), n, Patience(), effects);
    if (!seen.has_taken) {
      if (is_for_now(*seen.refused)) seen.refused = RateReason::kUsedUp;
      explain(why, *seen.refused, n, seen.wait, Duration::zero());
    }
    want_timer(effects);
  }
  static_cast<void>(conclude(seen, n));
  apply(effects);
  return seen.has_taken;
}

std::optional<OpStatus> RateCore::conclude(const Look& seen, std::uint64_t n) noexcept {
  if (seen.refused) return count(*seen.refused);
  if (!seen.has_taken) return std::nullopt;
  count(n);
  return OpStatus::kOk;
}

std::optional<OpStatus> RateCore::begin(const Context& ctx, std::uint64_t n, RateRefusal* why) {
  if (n == 0) return OpStatus::kOk;
  const Ticks time = read_clock();
  if (take_quickly(time, n) == Quick::kTaken) {
    count(n);
    return OpStatus::kOk;
  }
  if (has_timers_.load(std::memory_order_relaxed)) return std::nullopt;
  Look seen;
  Effects effects;
  const Patience patience(ctx);
  {
    const Shut shut(*this);
    seen = look(pass(time), n, patience, effects);
    if (seen.refused) explain(why, *seen.refused, n, seen.wait, patience.left);
    want_timer(effects);
  }
  const std::optional<OpStatus> result = conclude(seen, n);
  apply(effects);
  if (!result) {
    clock_.start_timers();
    has_timers_.store(true, std::memory_order_relaxed);
  }
  return result;
}

std::optional<OpStatus> RateCore::join(RateWait& wait, WaitNode& node, const Context& ctx, RateRefusal* why) noexcept {
  Look seen;
  Effects effects;
  const std::uint64_t n = wait.n;
  const Patience patience(ctx);
  const TimePoint since = clock_.now();
  {
    const Shut shut(*this);
    seen = look(pass(ticks_between(epoch_, since)), n, patience, effects);
    if (seen.refused) {
      explain(why, *seen.refused, n, seen.wait, patience.left);
    } else if (!seen.has_taken) {
      wait.since = since;
      line_.push(node);
      ++waiting_;
      queued_ += static_cast<double>(n);
    }
    want_timer(effects);
  }
  // If it is listed, it may have been served, and nothing of it may be there any more; nor of the limiter, unless this
  // is the keeper of its timer.
  const std::optional<OpStatus> result = conclude(seen, n);
  apply(effects);
  return result;
}

OpStatus RateCore::finish(const RateWait& wait, WaitNode& node, Waiter::Outcome outcome, RateRefusal* why) noexcept {
  if (outcome == Waiter::kServed) return OpStatus::kOk;
  const RateReason reason = outcome == Waiter::kClosed     ? RateReason::kClosed
                            : outcome == Waiter::kTimedOut ? RateReason::kTimedOut
                                                           : RateReason::kCancelled;
  Effects effects;
  const TimePoint end = clock_.now();
  {
    const Shut shut(*this);
    unlist(node);
    const Ticks now = pass(ticks_between(epoch_, end));
    serve(now, effects);  // the next one may ask for less
    explain(why, reason, wait.n, closed_ ? Duration::zero() : wait_for(now, wait.n), Duration::zero());
    if (why != nullptr) why->waited = std::max(end - wait.since, Duration::zero());
    want_timer(effects);
  }
  const OpStatus status = count(reason);
  apply(effects);
  return status;
}

OpStatus RateCore::acquire(const Context& ctx, std::uint64_t n, RateRefusal* why) {
  if (const std::optional<OpStatus> done = begin(ctx, n, why)) return *done;
  RateWait wait{n, {}};
  const auto wait_in_line = [&](auto&& waiter) {
    WaitNode node(waiter, &wait);
    if (const std::optional<OpStatus> done = join(wait, node, ctx, why)) return *done;
    return finish(wait, node, waiter.wait(), why);
  };
  return ctx.can_end() ? wait_in_line(Waiter(ctx)) : wait_in_line(EndlessWaiter());
}

RateAwaiter::~RateAwaiter() {
  if (!wait_ || result_) return;
  const Waiter::Outcome outcome = wait_->call_off();
  if (outcome != Waiter::kServed) static_cast<void>(core_.finish(place_, wait_->node(), outcome, nullptr));
}

bool RateAwaiter::suspend() noexcept {
  // From the listing on nothing of this may be touched, unless it came to nothing.
  return wait_->suspend([this] {
    std::optional<OpStatus> result = core_.join(place_, wait_->node(), ctx_, why_);
    if (result) result_ = result;
    return !result;
  });
}

OpStatus RateAwaiter::await_resume() noexcept {
  if (!result_) result_ = core_.finish(place_, wait_->node(), wait_->resume(), why_);
  return *result_;
}

// --- administration ---

absl::Status RateCore::set_options(const RateLimiterOptions& options) {
  if (absl::Status bad = options.validate(); !bad.ok()) return bad;
  const RateRule rule(options.rate_per_second, options.burst);
  Effects effects;
  const Ticks time = read_clock();
  {
    const Shut shut(*this);
    const Ticks now = pass(time);
    serve(now, effects);
    machine_.change(now, options.algorithm, rule);
    publish_rule();
    max_waiting_ = options.max_waiting;
    serve(now, effects);
    want_timer(effects);
  }
  apply(effects);
  return absl::OkStatus();
}

bool RateCore::close() noexcept {
  Effects effects;
  {
    const Shut shut(*this);
    if (std::exchange(closed_, true)) return false;
    line_.claim_all(Waiter::kClosed, effects.wake);
    waiting_ = 0;
    queued_ = 0;
  }
  apply(effects);
  return true;
}

bool RateCore::is_closed() const noexcept {
  const SpinLockGuard lock(lock_);
  return closed_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
