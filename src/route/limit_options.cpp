// SPDX-License-Identifier: MIT

// What is wrong with the options of limits.

#include <cmath>
#include <string>

#include <fmt/format.h>

#include "limit_violations.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// The rules that the options have in common. A NaN breaks each of them.
class Rules {
 public:
  Rules(std::string_view prefix, detail::OptionViolations& violations) : prefix_(prefix), violations_(violations) {}

  void within(const char* option, std::size_t got, std::size_t low, std::size_t high) {
    require(got >= low && got <= high, option, fmt::format("in [{}, {}]", low, high), got);
  }
  void limits(std::size_t initial, std::size_t min, std::size_t max) {
    within("max", max, 1, kMaxConcurrencyLimit);
    require(min >= 1 && min <= max, "min", fmt::format("in [1, max ({})]", max), min);
    require(initial >= min && initial <= max, "initial", fmt::format("in [min ({}), max ({})]", min, max), initial);
  }
  void at_least_one(const char* option, std::size_t got) { require(got >= 1, option, "at least 1", got); }
  void smoothing(double got) { require(got > 0 && got <= 1, "smoothing", "in (0, 1]", got); }
  void backoff(double got) { require(got > 0 && got < 1, "backoff", "in (0, 1)", got); }
  void tolerance(double got) { require(got >= 1 && std::isfinite(got), "tolerance", "a number of at least 1", got); }
  void positive(const char* option, Duration got) { require(got > Duration::zero(), option, "positive", text(got)); }
  template <class Value>
  void require(bool holds, const char* option, const std::string& rule, const Value& got) {
    if (!holds) violations_.require(false, fmt::format("{}{}", prefix_, option), rule, got);
  }
  static std::string text(Duration duration) { return fmt::format("{} ns", duration.count()); }

 private:
  const std::string_view prefix_;
  detail::OptionViolations& violations_;
};

void check(const FixedLimit& options, Rules rules) { rules.within("limit", options.limit, 1, kMaxConcurrencyLimit); }

void check(const AimdLimit& options, Rules rules) {
  rules.limits(options.initial, options.min, options.max);
  rules.backoff(options.backoff);
  rules.positive("timeout", options.timeout);
}

void check(const VegasLimit& options, Rules rules) {
  rules.limits(options.initial, 1, options.max);
  rules.smoothing(options.smoothing);
}

void check(const GradientLimit& options, Rules rules) {
  rules.limits(options.initial, options.min, options.max);
  rules.tolerance(options.tolerance);
  rules.backoff(options.backoff);
  rules.smoothing(options.smoothing);
  rules.within("probe_interval", options.probe_interval, 0, kMaxConcurrencyLimit);
}

void check(const Gradient2Limit& options, Rules rules) {
  rules.limits(options.initial, options.min, options.max);
  rules.within("queue", options.queue, 0, kMaxConcurrencyLimit);
  rules.at_least_one("long_window", options.long_window);
  rules.smoothing(options.smoothing);
  rules.tolerance(options.tolerance);
}

void check(const LimitWindow& options, Rules rules) {
  rules.require(options.min_rtt >= Duration::zero(), "min_rtt", "not negative", Rules::text(options.min_rtt));
  rules.at_least_one("min_samples", options.min_samples);
  rules.positive("min_length", options.min_length);
  rules.require(options.max_length >= options.min_length, "max_length",
                fmt::format("at least min_length ({})", Rules::text(options.min_length)),
                Rules::text(options.max_length));
}

void check(const LimitProbe& options, Rules rules) {
  rules.within("concurrency", options.concurrency, 1, kMaxConcurrencyLimit);
  rules.at_least_one("samples", options.samples);
  rules.positive("interval", options.interval);
  rules.require(options.jitter >= 0 && options.jitter <= 1, "jitter", "in [0, 1]", options.jitter);
  rules.positive("time_limit", options.time_limit);
}

template <class Options>
absl::Status status_of(const Options& options, std::string_view subject) {
  detail::OptionViolations violations;
  check(options, Rules({}, violations));
  return violations.status(subject);
}

}  // namespace

absl::Status FixedLimit::validate() const { return status_of(*this, "fixed limit"); }
absl::Status AimdLimit::validate() const { return status_of(*this, "aimd limit"); }
absl::Status VegasLimit::validate() const { return status_of(*this, "vegas limit"); }
absl::Status GradientLimit::validate() const { return status_of(*this, "gradient limit"); }
absl::Status Gradient2Limit::validate() const { return status_of(*this, "gradient2 limit"); }
absl::Status LimitWindow::validate() const { return status_of(*this, "limit window"); }
absl::Status LimitProbe::validate() const { return status_of(*this, "limit probe"); }

namespace detail {

void add_violations(const LimitOptions& options, std::string_view prefix, OptionViolations& violations) {
  std::visit([&](const auto& each) { check(each, Rules(prefix, violations)); }, options);
}

void add_violations(const LimitWindow& options, std::string_view prefix, OptionViolations& violations) {
  check(options, Rules(prefix, violations));
}

void add_violations(const LimitProbe& options, std::string_view prefix, OptionViolations& violations) {
  check(options, Rules(prefix, violations));
}

}  // namespace detail
}  // namespace penstock::inline PENSTOCK_ABI
