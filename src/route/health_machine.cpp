// SPDX-License-Identifier: MIT
#include "penstock/route/detail/health_machine.hpp"

#include <utility>

#include "penstock/core/detail/periodic_due.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

std::uint64_t HealthMachine::begin(TimePoint now, TimePoint deadline) noexcept {
  is_checking_ = true;
  began_ = now;
  due_ = deadline;
  return ++counts_.checks;
}

HealthVerdict HealthMachine::end(std::uint64_t number, TimePoint now, bool passed) noexcept {
  if (number != counts_.checks || !is_checking_) {
    ++counts_.late_results;
    return {.from = health_, .to = health_, .at = now};
  }
  HealthVerdict verdict = advance(now);
  is_checking_ = false;
  if (known_ == number) {
    ++counts_.late_results;
    return verdict;
  }
  known_ = number;
  verdict.kind = passed ? HealthVerdict::Kind::kPassed : HealthVerdict::Kind::kFailed;
  if (passed) {
    ++counts_.passed;
    pass(verdict);
  } else {
    ++counts_.failed;
    fail(verdict, 1, now);
  }
  return verdict;
}

HealthVerdict HealthMachine::advance(TimePoint now) noexcept {
  HealthVerdict verdict{.from = health_, .to = health_, .at = now};
  if (!is_checking_ || now < due_) return verdict;
  const PeriodicDue overdue = periodic_due(due_, now, rules_.interval, 0, 0);
  const TimePoint first = std::exchange(due_, overdue.next);
  const bool is_new = std::exchange(known_, counts_.checks) != counts_.checks;
  counts_.timed_out += is_new ? 1 : 0;
  counts_.overdue += overdue.times - (is_new ? 1 : 0);
  verdict.kind = HealthVerdict::Kind::kTimedOut;
  verdict.times = overdue.times;
  verdict.is_first = is_new;
  verdict.at = overdue.last;
  fail(verdict, overdue.times, first);
  return verdict;
}

void HealthMachine::pass(HealthVerdict& verdict) noexcept {
  failures_ = 0;
  ++successes_;
  const bool decides = std::exchange(first_decides_, false);
  if (decides || successes_ >= rules_.healthy_after) enter(Health::kHealthy, verdict.at, verdict);
}

void HealthMachine::fail(HealthVerdict& verdict, std::uint64_t times, TimePoint first) noexcept {
  const bool decides = std::exchange(first_decides_, false);
  const std::uint64_t before = failures_;
  successes_ = 0;
  failures_ += times;
  if (!decides && failures_ < rules_.unhealthy_after) return;
  // The failure that made the difference: the first one, or the one that reached the threshold.
  const std::uint64_t short_of = decides || before >= rules_.unhealthy_after ? 0 : rules_.unhealthy_after - before - 1;
  enter(Health::kUnhealthy, first + static_cast<Duration::rep>(short_of) * rules_.interval, verdict);
}

void HealthMachine::enter(Health health, TimePoint at, HealthVerdict& verdict) noexcept {
  verdict.to = health;
  if (std::exchange(health_, health) != health) since_ = at;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
