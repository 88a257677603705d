// SPDX-License-Identifier: MIT
#include "penstock/route/detail/provider_road.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include <fmt/format.h>

#include "penstock/core/failure_stage.hpp"
#include "penstock/route/provider_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr Duration::rep kNever = TimePoint::max().time_since_epoch().count();

std::string_view why_not(ProviderLife::Phase phase) noexcept {
  switch (phase) {
    case ProviderLife::Phase::kStarting:
      return "starting";
    case ProviderLife::Phase::kDraining:
      return "draining";
    case ProviderLife::Phase::kStopped:
      return "stopped";
    case ProviderLife::Phase::kServing:
      break;
  }
  return "serving";
}

std::shared_ptr<Retrier> make_retrier(const ProviderOptions& options, const RoadParts& parts) {
  if (!options.retry) return nullptr;
  RetryOptions retry = *options.retry;
  // What refuses all calls for longer than a wait is not waited for: the call may have another provider to go to.
  // Another attempt that would be a probe is welcome.
  retry.breaker_open = [parts, also = std::move(retry.breaker_open)] {
    return parts.state() == ProviderState::kIsolated || (also && also());
  };
  if (options.lease != nullptr) retry.rotates_resources = true;
  return std::make_shared<Retrier>(std::move(retry));
}

}  // namespace

/// A call whose time is up. Its function may end at any moment, and with it all that the road was the last to have.
struct Passage::Overdue {
  std::shared_ptr<const ProviderRoad> road;
  Settlement settlement;
  Duration took{};
};

// --- ProviderLife ---

ProviderLife::ProviderLife(Clock& clock) noexcept : clock_(clock), next_due_(kNever) {}

void ProviderLife::notice_overdue() noexcept {
  const Duration::rep next_due = next_due_.load(std::memory_order_relaxed);
  if (next_due == kNever) return;
  const TimePoint now = clock_.now();
  if (now.time_since_epoch().count() < next_due) return;

  std::array<Passage::Overdue, 16> overdue;
  std::size_t size = overdue.size();
  while (size == overdue.size()) {
    size = 0;
    {
      const MutexLock lock(mutex_);
      TimePoint next = TimePoint::max();
      for (Passage* passage = passages_; passage != nullptr; passage = passage->next_) {
        if (!passage->settlement_.is_open()) continue;
        if (passage->due_ <= now && size < overdue.size()) {
          overdue[size].road = passage->shared_road_;
          overdue[size].settlement = std::exchange(passage->settlement_, {});
          overdue[size].took = passage->due_ - passage->started_;
          ++size;
        } else {
          next = std::min(next, passage->due_);
        }
      }
      next_due_.store(next.time_since_epoch().count(), std::memory_order_relaxed);
    }
    for (std::size_t call = 0; call < size; ++call) {
      overdue[call].settlement.settle(absl::Status(absl::StatusCode::kDeadlineExceeded, ""), overdue[call].took);
      overdue[call].road.reset();
    }
  }
}

void ProviderLife::enter(Passage& passage) noexcept {
  const Duration::rep due = passage.due_.time_since_epoch().count();
  bool someone_waits = false;
  {
    const MutexLock lock(mutex_);
    passage.next_ = passages_;
    if (passages_ != nullptr) passages_->previous_ = &passage;
    passages_ = &passage;
    if (due < next_due_.load(std::memory_order_relaxed)) {
      next_due_.store(due, std::memory_order_relaxed);
      someone_waits = slot_waits_ != nullptr;
    }
  }
  if (someone_waits) wake_slot_waits();
}

void ProviderLife::wake_slot_waits() noexcept {
  std::array<std::optional<CancelSource>, 16> woken;
  std::size_t size = woken.size();
  while (size == woken.size()) {
    size = 0;
    {
      const MutexLock lock(mutex_);
      for (; slot_waits_ != nullptr && size < woken.size(); ++size) {
        LimiterWait& wait = *slot_waits_;
        slot_waits_ = wait.next_;
        if (slot_waits_ != nullptr) slot_waits_->previous_ = nullptr;
        wait.listed_ = false;
        wait.woken_ = true;
        woken[size].emplace(wait.source_);
      }
    }
    for (std::size_t index = 0; index < size; ++index) std::exchange(woken[index], std::nullopt)->cancel();
  }
}

bool ProviderLife::leave(Passage& passage) noexcept {
  const MutexLock lock(mutex_);
  (passage.previous_ == nullptr ? passages_ : passage.previous_->next_) = passage.next_;
  if (passage.next_ != nullptr) passage.next_->previous_ = passage.previous_;
  return passage.settlement_.is_open();
}

// --- RoadParts ---

ProviderState RoadParts::state() const noexcept {
  if (health != nullptr && !health->is_healthy()) return ProviderState::kIsolated;
  if (breaker == nullptr) return ProviderState::kReady;
  switch (breaker->state()) {
    case BreakerState::kHalfOpen:
      return ProviderState::kDegraded;
    case BreakerState::kOpen:
      // Once the wait is over the next job is a probe.
      return breaker->retry_after() > Duration::zero() ? ProviderState::kIsolated : ProviderState::kDegraded;
    case BreakerState::kForcedOpen:
      return ProviderState::kIsolated;
    case BreakerState::kClosed:
    case BreakerState::kDisabled:
    case BreakerState::kMetricsOnly:
      break;
  }
  return ProviderState::kReady;
}

// --- LimiterWait ---

LimiterWait::LimiterWait(ProviderLife& life, CancelSource source) noexcept : life_(life), source_(std::move(source)) {
  const MutexLock lock(life_.mutex_);
  next_ = life_.slot_waits_;
  if (next_ != nullptr) next_->previous_ = this;
  life_.slot_waits_ = this;
  due_ = TimePoint(Duration(life_.next_due_.load(std::memory_order_relaxed)));
}

bool LimiterWait::end() noexcept {
  const MutexLock lock(life_.mutex_);
  if (std::exchange(listed_, false)) {
    (previous_ == nullptr ? life_.slot_waits_ : previous_->next_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
  }
  return woken_;
}

// --- ProviderRoad ---

ProviderRoad::ProviderRoad(const ProviderOptions& options, std::vector<std::shared_ptr<Interceptor>> interceptors,
                           std::shared_ptr<ProviderLife> life, RoadParts parts)
    : name_(options.pool.name),
      clock_(*options.pool.clock),
      processing_timeout_(options.pool.processing_timeout),
      interceptors_(std::move(interceptors)),
      life_(std::move(life)),
      parts_(std::move(parts)),
      retrier_(make_retrier(options, parts_)),
      lease_(options.lease),
      health_interval_(options.health ? options.health->interval : Duration::zero()),
      slot_timeout_(options.limiter ? options.limiter->wait_timeout : Duration::max()) {}

absl::Status ProviderRoad::admit(const std::shared_ptr<const ProviderRoad>& self, const SubmitOptions& options,
                                 CallTicket& ticket) const {
  if (const ProviderLife::Phase phase = life_->phase(); phase != ProviderLife::Phase::kServing) {
    return with_failure_stage(absl::UnavailableError(fmt::format("provider '{}': {}", name_, why_not(phase))), "route");
  }
  if (!is_healthy()) {
    return with_retry_after(
        with_failure_stage(
            absl::UnavailableError(fmt::format("provider '{}': isolated, its health check fails", name_)), "route"),
        health_interval_);
  }
  if (breaker() != nullptr || parts_.limiter != nullptr) life_->notice_overdue();
  if (breaker() != nullptr) {
    BreakerRefusal why;
    ticket.permit_ = breaker()->try_acquire(why);
    if (!ticket.permit_) return to_status(why, name_);
  }
  ticket.road_ = self;
  ticket.processing_timeout_ = options.processing_timeout.value_or(processing_timeout_);
  if (&options.context.clock() == &clock_) ticket.deadline_ = options.context.deadline();
  if ((lease_ != nullptr || parts_.limiter != nullptr) && !options.tag.empty())
    ticket.tag_ = std::make_unique<const std::string>(options.tag);
  return absl::OkStatus();
}

// --- Passage ---

void Passage::Settlement::settle(const absl::Status& status, Duration took) noexcept {
  // The slot first: a breaker's listener may submit.
  if (slot) slot->settle(status, took);
  slot.reset();
  if (permit) permit->settle(status, took);
  permit.reset();
}

Passage::Passage(CallTicket& ticket, const JobContext* job) : shared_road_(ticket.shared_road()), road_(*shared_road_) {
  if (job != nullptr) {
    refusal_ = take_what_it_needs(ticket, *job);
    if (!refusal_.ok()) return;
  }
  running_ = true;
  listed_ = ticket.permit_.has_value() || settlement_.slot.has_value();
  timed_ = listed_ || job != nullptr;
  if (!timed_) return;
  started_ = road_.clock().now();
  due_ = job != nullptr ? job->context.deadline()
                        : std::min(ticket.deadline_, saturated_add(started_, ticket.processing_timeout_));
  if (!listed_) return;
  settlement_.permit = std::exchange(ticket.permit_, std::nullopt);
  road_.life().enter(*this);
}

absl::Status Passage::take_what_it_needs(const CallTicket& ticket, const JobContext& job) {
  static const std::string no_tag;
  const std::string& tag = ticket.tag_ == nullptr ? no_tag : *ticket.tag_;
  if (road_.lease() != nullptr) {
    auto lease = road_.lease()->acquire(tag, job.context);
    if (!lease.ok()) return std::move(lease).status();
    lease_ = *std::move(lease);
  }
  if (RateLimiter* const rate = road_.parts().rate_limit.get()) {
    RateRefusal why;
    if (rate->acquire(job.context, 1, why) != OpStatus::kOk) return to_status(why, road_.name());
  }
  if (ConcurrencyLimiter* const limiter = road_.parts().limiter.get()) {
    return take_slot(*limiter, tag, job.context);
  }
  return absl::OkStatus();
}

absl::Status Passage::take_slot(ConcurrencyLimiter& limiter, const std::string& tag, const Context& ctx) {
  road_.life().notice_overdue();
  if (std::optional<ConcurrencyLimiter::Slot> slot = limiter.try_acquire_uncounted()) {
    settlement_.slot = std::move(slot);
    return absl::OkStatus();
  }
  const Clock& clock = road_.clock();
  const TimePoint end = std::min(ctx.deadline(), saturated_add(clock.now(), road_.slot_timeout()));
  for (;;) {
    const Context::Cancellable scope = ctx.with_cancel();
    LimiterWait wait(road_.life(), scope.source);
    auto slot = limiter.acquire(scope.context.with_deadline(std::min(end, wait.due())), tag);
    const bool woken = wait.end();
    if (slot.ok()) {
      settlement_.slot.emplace(*std::move(slot));
      return absl::OkStatus();
    }
    const TimePoint now = clock.now();
    const bool looks_again = woken || (absl::IsDeadlineExceeded(slot.status()) && wait.due() <= now);
    if (!looks_again || ctx.is_done() || now >= end) return std::move(slot).status();
    road_.life().notice_overdue();
  }
}

void Passage::end(const absl::Status& status) noexcept {
  if (!std::exchange(running_, false) || !timed_) return;
  const TimePoint now = road_.clock().now();
  took_ = now - started_;
  if (lease_ != nullptr) {
    // One that has outrun its time has kept its resource longer than anybody waited: whatever it says in the end.
    lease_->report(now < due_ ? status : absl::Status(absl::StatusCode::kDeadlineExceeded, ""));
  }
  if (listed_ && road_.life().leave(*this)) settlement_.settle(status, took_);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
