// SPDX-License-Identifier: MIT

// The line of a concurrency limiter. Samples and options are in limit_sampling.cpp, texts in limit_report.cpp.

#include "penstock/route/detail/limit_core.hpp"

#include <algorithm>
#include <cmath>

#include "penstock/core/detail/check.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

LimitShare& LimitCore::share_of(std::string_view partition) noexcept {
  if (!has_partitions_ || partition.empty()) return default_share_;
  const auto at = std::lower_bound(shares_.begin(), shares_.end(), partition,
                                   [](const auto& share, std::string_view name) { return share->name < name; });
  return at == shares_.end() || (*at)->name != partition || (*at)->retired ? default_share_ : **at;
}

std::size_t LimitCore::guarantee(const LimitShare& share, std::size_t limit) const noexcept {
  if (!has_partitions_ || share.share <= 0) return 0;
  return std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(static_cast<double>(limit) * share.share)));
}

bool LimitCore::take_locked(LimitShare& share, LimitGrant& grant, bool may_use_room) noexcept {
  std::uint64_t word = word_.value.load(kRelaxed);
  for (;;) {
    if (!may_use_room || limit_word::in_flight(word) >= limit_word::limit(word)) {
      if (share.in_flight >= guarantee(share, limit_word::limit(word))) return false;
      word = word_.value.fetch_add(1, std::memory_order_acquire);  // L2 acquire
      break;
    }
    if (word_.value.compare_exchange_weak(word, word + 1, std::memory_order_acquire, kRelaxed)) break;  // L2 acquire
  }
  grant.in_flight = limit_word::in_flight(word) + 1;
  grant.share = nullptr;
  if (has_partitions_) {
    grant.share = &share;
    ++share.in_flight;
    ++share.acquired;
  }
  return true;
}

LimitShare* LimitCore::next_in_line() noexcept {
  const std::uint64_t word = word_.value.load(kRelaxed);
  const std::size_t limit = limit_word::limit(word);
  const bool has_room = limit_word::in_flight(word) < limit;
  LimitShare* next = nullptr;
  std::uint64_t place = 0;
  const auto consider = [&](LimitShare& share) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (share.waiting == 0 || (!has_room && share.in_flight >= guarantee(share, limit))) return;
    const std::uint64_t candidate = static_cast<const LimitGrant*>(share.line.front()->slot)->place;
    const bool is_first = order_ == Options::Order::kFifo ? candidate < place : candidate > place;
    if (next != nullptr && !is_first) return;
    next = &share;
    place = candidate;
  };
  consider(default_share_);
  for (const auto& share : shares_) consider(*share);
  return next;
}

void LimitCore::serve(WakeList& wake) noexcept {
  while (waiting_ != 0) {
    LimitShare* const share = next_in_line();
    if (share == nullptr) return;
    WaitNode& node = *share->line.front();
    unlist(*share, node);
    if (!node.waiter->claim(node.served)) continue;  // its context came first
    // Nobody else adds while somebody is in line, so what was there a moment ago still is.
    const bool is_taken = take_locked(*share, *static_cast<LimitGrant*>(node.slot), true);
    PENSTOCK_CHECK(is_taken, "a concurrency limiter has lost a permit");
    wake.push(node);
  }
}

void LimitCore::unlist(LimitShare& share, WaitNode& node) noexcept {
  share.line.remove(node);
  --share.waiting;
  --waiting_;
}

void LimitCore::mark() noexcept {
  if ((word_.value.load(kRelaxed) & limit_word::kSlow) == 0) word_.value.fetch_or(limit_word::kSlow, kRelaxed);
}

void LimitCore::unmark_if_idle() noexcept {
  if (waiting_ != 0 || has_partitions_ || closed_) return;
  if ((word_.value.load(kRelaxed) & limit_word::kSlow) != 0) word_.value.fetch_and(~limit_word::kSlow, kRelaxed);
}

void LimitCore::describe(const LimitShare& share, OpStatus status, LimitRefusal& why) const noexcept {
  const std::uint64_t word = word_.value.load(kRelaxed);
  why.status = status;
  why.limit = limit_word::limit(word);
  why.in_flight = limit_word::in_flight(word);
  why.waiting = waiting_;
  why.has_partition = has_partitions_;
  why.partition_in_flight = share.in_flight;
  why.partition_guarantee = guarantee(share, why.limit);
}

bool LimitCore::try_take_slowly(LimitGrant& grant, std::string_view partition, LimitRefusal& why,
                                bool counts) noexcept {
  WakeList wake;
  bool is_taken = false;
  {
    const MutexLock lock(mutex_);
    LimitShare& share = share_of(partition);
    if (closed_) {
      ++refused_closed_;
      describe(share, OpStatus::kClosed, why);
      return false;
    }
    serve(wake);  // who waits comes first
    unmark_if_idle();
    is_taken = take_locked(share, grant, waiting_ == 0);
    if (!is_taken) {
      describe(share, OpStatus::kFull, why);
      if (counts) ++share.rejected;
    }
  }
  wake.wake_all();
  if (!is_taken && counts) counts_.add(Count::kRejected);
  return is_taken;
}

Context LimitCore::bounded(const Context& ctx) const {
  Duration timeout;
  {
    const MutexLock lock(mutex_);
    timeout = wait_timeout_;
  }
  if (timeout == Duration::max()) return ctx;
  // A context that cannot end has no clock of its own choice.
  return (ctx.can_end() ? ctx : Context(*clock_)).with_timeout(timeout);
}

LimitCore::Look LimitCore::look(LimitGrant& grant, std::string_view partition, const Context& ctx,
                                LimitRefusal& why) noexcept {
  if (try_take_slowly(grant, partition, why, false)) return Look::kGranted;
  if (why.status == OpStatus::kClosed) return Look::kRefused;
  const OpStatus status = ctx.status();
  if (status == OpStatus::kOk) {
    grant.since = ctx.clock().now();
    return Look::kMayWait;
  }
  why.status = status;
  const MutexLock lock(mutex_);
  ++(status == OpStatus::kTimedOut ? timed_out_ : cancelled_);
  return Look::kRefused;
}

LimitCore::Join LimitCore::join(LimitGrant& grant, WaitNode& node, std::string_view partition,
                                LimitRefusal& why) noexcept {
  WakeList wake;
  Join joined = Join::kRefused;
  {
    const MutexLock lock(mutex_);
    LimitShare& share = share_of(partition);
    serve(wake);
    mark();  // from here on who gives back comes to the mutex; what came back before is seen by the next line
    if (closed_) {
      ++refused_closed_;
      describe(share, OpStatus::kClosed, why);
    } else if (take_locked(share, grant, waiting_ == 0)) {
      joined = Join::kGranted;
    } else if (waiting_ >= max_waiting_) {
      ++share.rejected;
      describe(share, OpStatus::kFull, why);
      counts_.add(Count::kRejected);
    } else {
      joined = Join::kInLine;
      grant.share = &share;
      grant.place = ++places_;
      ++share.waiting;
      ++waiting_;
      order_ == Options::Order::kFifo ? share.line.push(node) : share.line.push_front(node);
    }
    unmark_if_idle();
  }
  wake.wake_all();
  return joined;
}

bool LimitCore::leave(LimitGrant& grant, WaitNode& node, const Clock& clock, Waiter::Outcome outcome,
                      LimitRefusal& why) noexcept {
  if (outcome == Waiter::kServed) return true;
  const Duration waited = clock.now() - grant.since;
  const MutexLock lock(mutex_);
  const LimitShare* share = &default_share_;
  if (node.listed) {  // else its share may be gone
    share = grant.share;
    unlist(*grant.share, node);
    unmark_if_idle();
  }
  const OpStatus status = to_op_status(outcome);
  if (status == OpStatus::kTimedOut) ++timed_out_;
  if (status == OpStatus::kCancelled) ++cancelled_;
  if (status == OpStatus::kClosed) ++refused_closed_;
  describe(*share, status, why);
  why.waited = waited;
  return false;
}

template <class Kind, class... Ctx>
bool LimitCore::wait_in_line(LimitGrant& grant, std::string_view partition, const Clock& clock, LimitRefusal& why,
                             const Ctx&... ctx) {
  Kind waiter(ctx...);
  WaitNode node(waiter, &grant);
  const Join joined = join(grant, node, partition, why);
  if (joined != Join::kInLine) return joined == Join::kGranted;
  return leave(grant, node, clock, waiter.wait(), why);
}

bool LimitCore::take(LimitGrant& grant, std::string_view partition, const Context& ctx, LimitRefusal& why) {
  if (try_take_quickly(grant)) return true;
  const Context wait = bounded(ctx);
  const Look seen = look(grant, partition, wait, why);
  if (seen != Look::kMayWait) return seen == Look::kGranted;
  if (!wait.can_end()) return wait_in_line<EndlessWaiter>(grant, partition, wait.clock(), why);
  return wait_in_line<Waiter>(grant, partition, wait.clock(), why, wait);
}

void LimitCore::set_limit(std::size_t limit, LimitTiming timing) noexcept {
  const std::uint64_t wanted = as_word(limit, timing);
  constexpr std::uint64_t kKept = limit_word::kInFlight | limit_word::kSlow;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    std::uint64_t word = word_.value.load(kRelaxed);
    if (limit_word::limit(word) != limit) ++limit_changes_;
    while (!word_.value.compare_exchange_weak(word, (word & kKept) | wanted, kRelaxed, kRelaxed)) {
    }
    serve(wake);
    unmark_if_idle();
  }
  wake.wake_all();
}

bool LimitCore::close() noexcept {
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    if (closed_) return false;
    closed_ = true;
    mark();
    const auto close_line = [&](LimitShare& share) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      share.line.claim_all(Waiter::kClosed, wake);
      waiting_ -= share.waiting;
      share.waiting = 0;
    };
    close_line(default_share_);
    for (const auto& share : shares_) close_line(*share);
  }
  wake.wake_all();
  return true;
}

bool LimitCore::is_closed() const noexcept {
  const MutexLock lock(mutex_);
  return closed_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
