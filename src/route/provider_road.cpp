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

std::shared_ptr<Retrier> make_retrier(const ProviderOptions& options, std::shared_ptr<CircuitBreaker> breaker) {
  if (!options.retry) return nullptr;
  RetryOptions retry = *options.retry;
  if (breaker != nullptr) {
    retry.breaker_open = [breaker = std::move(breaker), also = std::move(retry.breaker_open)] {
      const BreakerState state = breaker->state();
      if (state == BreakerState::kForcedOpen) return true;
      // Once the wait is over another attempt would be a probe, and welcome.
      if (state == BreakerState::kOpen && breaker->retry_after() > Duration::zero()) return true;
      return also && also();
    };
  }
  if (options.lease != nullptr) retry.rotates_resources = true;
  return std::make_shared<Retrier>(std::move(retry));
}

}  // namespace

// --- ProviderLife ---

ProviderLife::ProviderLife(Clock& clock) noexcept : clock_(clock), next_due_(kNever) {}

void ProviderLife::notice_overdue() noexcept {
  const Duration::rep next_due = next_due_.load(std::memory_order_relaxed);
  if (next_due == kNever) return;
  const TimePoint now = clock_.now();
  if (now.time_since_epoch().count() < next_due) return;

  struct Overdue {
    Passage::Settlement settlement;
    Duration took{};
  };
  std::array<Overdue, 16> overdue;
  std::size_t size = overdue.size();
  while (size == overdue.size()) {
    size = 0;
    {
      const MutexLock lock(mutex_);
      TimePoint next = TimePoint::max();
      for (Passage* passage = passages_; passage != nullptr; passage = passage->next_) {
        if (!passage->settlement_.is_open()) continue;
        if (passage->due_ <= now && size < overdue.size()) {
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
      overdue[call].settlement.settle(absl::DeadlineExceededError("the function has not returned in time"),
                                      overdue[call].took);
    }
  }
}

void ProviderLife::enter(Passage& passage) noexcept {
  const MutexLock lock(mutex_);
  passage.next_ = passages_;
  if (passages_ != nullptr) passages_->previous_ = &passage;
  passages_ = &passage;
  const Duration::rep due = passage.due_.time_since_epoch().count();
  if (due < next_due_.load(std::memory_order_relaxed)) next_due_.store(due, std::memory_order_relaxed);
}

bool ProviderLife::leave(Passage& passage) noexcept {
  const MutexLock lock(mutex_);
  (passage.previous_ == nullptr ? passages_ : passage.previous_->next_) = passage.next_;
  if (passage.next_ != nullptr) passage.next_->previous_ = passage.previous_;
  return passage.settlement_.is_open();
}

// --- ProviderRoad ---

ProviderRoad::ProviderRoad(const ProviderOptions& options, std::vector<std::shared_ptr<Interceptor>> interceptors,
                           std::shared_ptr<ProviderLife> life, std::shared_ptr<CircuitBreaker> breaker)
    : name_(options.pool.name),
      clock_(*options.pool.clock),
      processing_timeout_(options.pool.processing_timeout),
      interceptors_(std::move(interceptors)),
      life_(std::move(life)),
      breaker_(std::move(breaker)),
      retrier_(make_retrier(options, breaker_)),
      lease_(options.lease) {}

absl::Status ProviderRoad::admit(const std::shared_ptr<const ProviderRoad>& self, const SubmitOptions& options,
                                 CallTicket& ticket) const {
  if (const ProviderLife::Phase phase = life_->phase(); phase != ProviderLife::Phase::kServing) {
    return with_failure_stage(absl::UnavailableError(fmt::format("provider '{}': {}", name_, why_not(phase))), "route");
  }
  if (breaker_ != nullptr) {
    life_->notice_overdue();
    BreakerRefusal why;
    ticket.permit_ = breaker_->try_acquire(why);
    if (!ticket.permit_) return to_status(why, breaker_->name());
  }
  ticket.road_ = self;
  ticket.processing_timeout_ = options.processing_timeout.value_or(processing_timeout_);
  if (&options.context.clock() == &clock_) ticket.deadline_ = options.context.deadline();
  if (lease_ != nullptr && !options.tag.empty()) ticket.tag_ = std::make_unique<const std::string>(options.tag);
  return absl::OkStatus();
}

// --- Passage ---

void Passage::Settlement::settle(const absl::Status& status, Duration took) noexcept {
  if (permit) permit->settle(status, took);
  permit.reset();
}

Passage::Passage(CallTicket& ticket, const JobContext* job) : road_(ticket.road()) {
  if (road_.lease() != nullptr) {
    static const std::string no_tag;
    auto lease = road_.lease()->acquire(ticket.tag_ == nullptr ? no_tag : *ticket.tag_, job->context);
    if (!lease.ok()) {
      refusal_ = std::move(lease).status();
      return;
    }
    lease_ = *std::move(lease);
  }
  running_ = true;
  listed_ = ticket.permit_.has_value();
  timed_ = listed_ || job != nullptr;
  if (!timed_) return;
  started_ = road_.clock().now();
  due_ = job != nullptr ? job->context.deadline()
                        : std::min(ticket.deadline_, saturated_add(started_, ticket.processing_timeout_));
  if (!listed_) return;
  settlement_.permit = std::exchange(ticket.permit_, std::nullopt);
  road_.life().enter(*this);
}

void Passage::end(const absl::Status& status) noexcept {
  if (!std::exchange(running_, false) || !timed_) return;
  const TimePoint now = road_.clock().now();
  took_ = now - started_;
  if (lease_ != nullptr) {
    // One that has outrun its time has kept its resource longer than anybody waited: whatever it says in the end.
    lease_->report(now < due_ ? status : absl::DeadlineExceededError("the function has not returned in time"));
  }
  if (listed_ && road_.life().leave(*this)) settlement_.settle(status, took_);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
