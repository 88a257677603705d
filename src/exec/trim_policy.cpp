// SPDX-License-Identifier: MIT
#include "penstock/exec/trim_policy.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "elastic_violations.hpp"
#include "penstock/core/detail/duration_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr int kMaxDelay = 1'000'000;
constexpr double kLeastFraction = 0.01;
constexpr Duration kShortest = std::chrono::milliseconds(1);  // a busy pool asks that often

template <class... Policies>
struct Overloaded : Policies... {
  using Policies::operator()...;
};
template <class... Policies>
Overloaded(Policies...) -> Overloaded<Policies...>;

/// Workers that may go.
constexpr std::size_t above(std::size_t live, std::size_t floor) noexcept { return live > floor ? live - floor : 0; }

/// This part of `idle`, rounded up but for the error of the computation: a tenth of 30 is 3.
std::size_t part_of(std::size_t idle, double fraction) noexcept {
  if (fraction >= 1) return idle;
  const double whole = fraction * static_cast<double>(idle);
  return std::min(static_cast<std::size_t>(std::ceil(whole - 1e-9 * std::max(1.0, whole))), idle);
}

std::uint64_t plus(std::uint64_t a, std::uint64_t b) noexcept {
  return a > std::numeric_limits<std::uint64_t>::max() - b ? std::numeric_limits<std::uint64_t>::max() : a + b;
}

Duration times(Duration period, std::uint64_t count) noexcept {
  const auto most = static_cast<std::uint64_t>(Duration::max() / period);
  return count > most ? Duration::max() : period * static_cast<Duration::rep>(count);
}

Duration period_of(const TrimPolicy& policy) noexcept {
  return std::visit(Overloaded{[](const PoisonPill& pill) { return pill.interval; },
                               [](const IdleTimeout& timeout) { return timeout.timeout; },
                               [](const LowWater& water) { return water.window; }},
                    policy);
}

}  // namespace

void detail::add_violations(const TrimPolicy& policy, std::string_view prefix, OptionViolations& violations) {
  const auto require = [&](bool holds, const char* option, const char* rule, const auto& got) {
    violations.require(holds, fmt::format("{}{}", prefix, option), rule, got);
  };
  const auto require_period = [&](const char* option, Duration value) {
    require(value >= kShortest, option, "at least 1 ms", duration_text(value));
  };
  std::visit(Overloaded{[&](const PoisonPill& pill) {
                          require_period("interval", pill.interval);
                          require(pill.delay >= 0 && pill.delay <= kMaxDelay, "delay", "in [0, 1000000]", pill.delay);
                        },
                        [&](const IdleTimeout& timeout) { require_period("timeout", timeout.timeout); },
                        [&](const LowWater& water) {
                          require_period("window", water.window);
                          // A NaN is in no range.
                          require(water.fraction >= kLeastFraction && water.fraction <= 1, "fraction", "in [0.01, 1]",
                                  water.fraction);
                        }},
             policy);
}

std::string_view to_string(const TrimPolicy& policy) noexcept {
  switch (policy.index()) {
    case 0:
      return "poison_pill";
    case 1:
      return "idle_timeout";
    case 2:
      return "low_water";
    default:
      return "unknown";
  }
}

absl::Status validate(const TrimPolicy& policy) {
  detail::OptionViolations violations;
  detail::add_violations(policy, "", violations);
  return violations.status(fmt::format("trim policy '{}'", to_string(policy)));
}

Duration time_to_floor(const TrimPolicy& policy, std::size_t live) noexcept {
  const auto by_pills = [live](const PoisonPill& pill) {
    const std::size_t surplus = above(live, pill.floor);
    return surplus == 0 ? Duration::zero()
                        : times(pill.interval, plus(surplus, static_cast<std::uint64_t>(pill.delay)));
  };
  const auto by_timeout = [live](const IdleTimeout& timeout) {
    return above(live, timeout.floor) == 0 ? Duration::zero() : timeout.timeout;
  };
  const auto by_windows = [live](const LowWater& water) {
    std::uint64_t windows = 0;
    for (std::size_t left = live; left > water.floor; left -= part_of(left, water.fraction)) ++windows;
    return windows == 0 ? Duration::zero()
                        : times(water.window, windows + 1);  // the window that has begun does not tell
  };
  return std::visit(Overloaded{by_pills, by_timeout, by_windows}, policy);
}

TrimMachine::TrimMachine(const TrimPolicy& policy, TimePoint begin) : policy_(policy), begin_(begin), now_(begin) {
  const absl::Status status = validate(policy);
  if (!status.ok()) throw std::invalid_argument(std::string(detail::text_of(status)));
  period_ = period_of(policy);
}

std::uint64_t TrimMachine::periods() const noexcept {
  // Unsigned, so that no two points are too far from each other.
  const std::uint64_t elapsed = static_cast<std::uint64_t>(now_.time_since_epoch().count()) -
                                static_cast<std::uint64_t>(begin_.time_since_epoch().count());
  return elapsed / static_cast<std::uint64_t>(period_.count());
}

TimePoint TrimMachine::end_of(std::uint64_t period) const noexcept {
  const std::uint64_t left = static_cast<std::uint64_t>(TimePoint::max().time_since_epoch().count()) -
                             static_cast<std::uint64_t>(begin_.time_since_epoch().count());
  const auto length = static_cast<std::uint64_t>(period_.count());
  if (period > left / length) return TimePoint::max();
  const std::uint64_t end = static_cast<std::uint64_t>(begin_.time_since_epoch().count()) + period * length;
  return TimePoint(Duration(static_cast<Duration::rep>(end)));
}

void TrimMachine::restart() noexcept {
  created_at_ = periods();
  done_ = created_at_;
  low_ = 0;
}

void TrimMachine::created(TimePoint now) noexcept {
  now_ = std::max(now_, now);
  ++known_;
  restart();
}

TrimDecision TrimMachine::step(const TrimSample& sample) noexcept {
  now_ = std::max(now_, sample.now);
  if (sample.created != known_) {
    known_ = sample.created;
    restart();
  }
  return std::visit([&](const auto& policy) { return by(policy, sample); }, policy_);
}

TrimDecision TrimMachine::by(const PoisonPill& pill, const TrimSample& sample) noexcept {
  const std::uint64_t tick = periods();
  const std::uint64_t spared =
      plus(created_at_, static_cast<std::uint64_t>(pill.delay));  // up to this tick nobody goes
  const std::uint64_t from = std::max(done_, spared);
  const std::uint64_t pills = tick > from ? tick - from : 0;
  done_ = tick;
  const std::size_t surplus = above(sample.live, pill.floor);
  const std::size_t takers = std::min(surplus, sample.idle);
  TrimDecision decision;
  decision.retire = pills < takers ? static_cast<std::size_t>(pills) : takers;
  if (decision.retire < surplus) decision.next = end_of(plus(std::max(tick, spared), 1));
  return decision;
}

TrimDecision TrimMachine::by(const IdleTimeout& timeout, const TrimSample& sample) const noexcept {
  const std::size_t surplus = above(sample.live, timeout.floor);
  if (surplus == 0) return {};
  // By the sample's own time, for so is what it says of the idle.
  const TimePoint after = saturated_add(sample.now, timeout.timeout);
  if (sample.idle == 0) return {0, after};
  const Duration idle_for = std::max(sample.longest_idle, Duration::zero());
  if (idle_for < timeout.timeout) return {0, saturated_add(sample.now, timeout.timeout - idle_for)};
  if (surplus == 1) return {1, TimePoint::max()};
  return {1, sample.idle == 1 ? after : sample.now};  // only a look at the next one at the bottom tells
}

TrimDecision TrimMachine::by(const LowWater& water, const TrimSample& sample) noexcept {
  const std::uint64_t window = periods();
  const std::size_t surplus = above(sample.live, water.floor);
  std::size_t unused = std::min(sample.idle_low_water, sample.idle);  // since the last step
  low_ = std::min(low_, unused);
  TrimDecision decision;
  if (done_ < window) {
    for (; done_ < window && unused > 0 && decision.retire < surplus; ++done_, low_ = unused) {
      const std::size_t part = std::min(part_of(low_, water.fraction), surplus - decision.retire);
      decision.retire += part;
      unused -= part;
    }
    done_ = window;
    low_ = sample.idle - decision.retire;
  }
  if (decision.retire < surplus) decision.next = end_of(plus(window, 1));
  return decision;
}

}  // namespace penstock::inline PENSTOCK_ABI
