// SPDX-License-Identifier: MIT
#include "penstock/route/circuit_breaker.hpp"

#include <stdexcept>
#include <utility>

#include "breaker_driver.hpp"

namespace penstock::inline PENSTOCK_ABI {

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
const std::string& CircuitBreaker::name() const noexcept { return driver_->name; }
CircuitBreakerOptions CircuitBreaker::options() const { return *driver_->options(); }

absl::Status CircuitBreaker::set_options(CircuitBreakerOptions options) {
  options.name = name();
  options.clock = &driver_->clock;
  absl::Status status = options.validate();
  if (status.ok()) driver_->set_options(std::move(options));
  return status;
}

CircuitBreakerStats CircuitBreaker::stats() const noexcept { return driver_->stats(); }

std::uint64_t CircuitBreaker::acquire_slowly(BreakerRefusal* why) noexcept { return driver_->acquire(why); }

void CircuitBreaker::report(std::uint64_t generation, CallOutcome outcome, Duration took) noexcept {
  driver_->report(generation, outcome, took, absl::StatusCode::kUnknown);
}

void CircuitBreaker::report(std::uint64_t generation, const absl::Status& status, Duration took) noexcept {
  driver_->report(generation, driver_->classify(status), took, status.code());
}

void CircuitBreaker::abandon(std::uint64_t generation) noexcept { driver_->abandon(generation); }
void CircuitBreaker::count_doubled_report() noexcept { driver_->count_doubled_report(); }

}  // namespace penstock::inline PENSTOCK_ABI
