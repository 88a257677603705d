// SPDX-License-Identifier: MIT
#include "penstock/route/limit_algorithm.hpp"

#include <algorithm>
#include <cmath>

#include "penstock/core/detail/random_unit.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::RandomUnit;

// Each estimate is a double within [1, kMaxConcurrencyLimit], so that truncating it is always defined; the fractions
// count: a limit grows by less than one at a time. Where a formula could be written in several ways that differ in the
// last bit, it is written as those who are compared with compute it.

Duration positive(Duration rtt) noexcept { return std::max(rtt, Duration(1)); }
double as_double(std::size_t number) noexcept { return static_cast<double>(number); }
double as_double(Duration time) noexcept { return static_cast<double>(time.count()); }
std::size_t truncated(double estimate) noexcept { return static_cast<std::size_t>(estimate); }

/// Remembers how long the last call took.
class TimedAlgorithm : public LimitAlgorithm {
 public:
  [[nodiscard]] Duration window_rtt() const noexcept override { return rtt_; }

 protected:
  void take_time(const LimitSample& sample) noexcept { rtt_ = positive(sample.rtt); }

  Duration rtt_{};
};

/// Has an estimate, of which the limit is the whole part.
class EstimatingAlgorithm : public TimedAlgorithm {
 public:
  [[nodiscard]] std::size_t limit() const noexcept override { return truncated(estimate_); }

 protected:
  explicit EstimatingAlgorithm(std::size_t initial) noexcept : estimate_(as_double(initial)) {}

  double estimate_;
  bool has_base_ = false;  // the times to compare with are given, and not to be learned
};

/// Compares with the shortest time.
class ShortestTimeAlgorithm : public EstimatingAlgorithm {
 public:
  [[nodiscard]] Duration min_rtt() const noexcept override { return shortest_; }
  void set_base_rtt(Duration shortest, Duration) noexcept override {
    shortest_ = positive(shortest);
    has_base_ = true;
  }

 protected:
  using EstimatingAlgorithm::EstimatingAlgorithm;

  Duration shortest_{};  // zero: none yet
};

class FixedAlgorithm final : public TimedAlgorithm {
 public:
  explicit FixedAlgorithm(const FixedLimit& options) noexcept : limit_(options.limit) {}
  std::size_t on_sample(const LimitSample& sample) noexcept override {
    take_time(sample);
    return limit_;
  }
  [[nodiscard]] std::size_t limit() const noexcept override { return limit_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "fixed"; }

 private:
  const std::size_t limit_;
};

class AimdAlgorithm final : public TimedAlgorithm {
 public:
  explicit AimdAlgorithm(const AimdLimit& options) noexcept : options_(options), limit_(options.initial) {}

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    take_time(sample);
    if (sample.dropped || rtt_ > options_.timeout) {
      limit_ = truncated(as_double(limit_) * options_.backoff);
    } else if (sample.in_flight >= limit_ - limit_ / 2) {  // 2 * in_flight >= limit, without an overflow
      ++limit_;
    }
    return limit_ = std::clamp(limit_, options_.min, options_.max);
  }
  [[nodiscard]] std::size_t limit() const noexcept override { return limit_; }
  [[nodiscard]] std::string_view name() const noexcept override { return "aimd"; }

 private:
  const AimdLimit options_;
  std::size_t limit_;
};

class VegasAlgorithm final : public ShortestTimeAlgorithm {
 public:
  VegasAlgorithm(const VegasLimit& options, std::uint64_t seed) noexcept
      : ShortestTimeAlgorithm(options.initial),
        options_(options),
        random_(seed),
        jitter_(next_jitter()),
        starts_(options.slow_start) {}

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    take_time(sample);
    ++since_probe_;
    if (options_.probe_multiplier != 0 && !has_base_ &&
        jitter_ * as_double(options_.probe_multiplier) * estimate_ <= static_cast<double>(since_probe_)) {
      jitter_ = next_jitter();
      since_probe_ = 0;
      shortest_ = rtt_;
    } else if (shortest_ == Duration::zero() || rtt_ < shortest_) {
      shortest_ = rtt_;
    } else {
      adapt(sample);
    }
    return limit();
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "vegas"; }

 private:
  double next_jitter() noexcept { return 0.5 + 0.5 * random_.next(); }

  void adapt(const LimitSample& sample) noexcept {
    const double step = std::max(1.0, std::floor(std::log10(std::floor(estimate_))));
    const double queue = std::ceil(estimate_ * (1 - as_double(shortest_) / as_double(rtt_)));
    if (sample.dropped || queue > step) starts_ = false;
    if (sample.dropped) return move_to(estimate_ - step);
    if (2 * as_double(sample.in_flight) < estimate_) return;  // it is not the limit that keeps them few
    if (starts_) return start(sample);
    if (queue <= step) return move_to(estimate_ + 6 * step);
    if (queue < 3 * step) return move_to(estimate_ + step);
    if (queue > 6 * step) return move_to(estimate_ - step);
  }

  void move_to(double wanted) noexcept {
    wanted = std::clamp(wanted, 1.0, as_double(options_.max));
    estimate_ = (1 - options_.smoothing) * estimate_ + options_.smoothing * wanted;
  }

  /// Doubles, but not again before a call has ended that began after that.
  void start(const LimitSample& sample) noexcept {
    if (has_doubled_ && saturated_add(sample.now, -rtt_) < doubled_at_) {
      if (sample.now < doubled_at_) doubled_at_ = sample.now;  // the clock has stepped back
      return;
    }
    has_doubled_ = true;
    doubled_at_ = sample.now;
    estimate_ = std::min(2 * estimate_, as_double(options_.max));
  }

  const VegasLimit options_;
  RandomUnit random_;
  double jitter_;
  std::uint64_t since_probe_ = 0;
  bool starts_;
  bool has_doubled_ = false;
  TimePoint doubled_at_{};
};

class GradientAlgorithm final : public ShortestTimeAlgorithm {
 public:
  GradientAlgorithm(const GradientLimit& options, std::uint64_t seed) noexcept
      : ShortestTimeAlgorithm(options.initial), options_(options), random_(seed), to_probe_(next_countdown()) {}

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    take_time(sample);
    const double queue = std::max(4.0, std::floor(std::sqrt(std::floor(estimate_))));
    if (options_.probe_interval != 0 && !has_base_ && to_probe_-- == 0) {
      to_probe_ = next_countdown();
      estimate_ = std::min(as_double(options_.max), std::max(as_double(options_.min), queue));
      shortest_ = Duration::zero();
      return limit();
    }
    if (shortest_ == Duration::zero() || rtt_ < shortest_) shortest_ = rtt_;
    const double gradient = std::clamp(options_.tolerance * as_double(shortest_) / as_double(rtt_), 0.5, 1.0);
    double wanted = estimate_ * gradient + queue;
    if (sample.dropped) {
      wanted = estimate_ * options_.backoff;
    } else if (as_double(sample.in_flight) < estimate_ / 2) {
      return limit();
    }
    if (wanted < estimate_) {
      wanted = std::max(as_double(options_.min), estimate_ * (1 - options_.smoothing) + options_.smoothing * wanted);
    }
    estimate_ = std::min(as_double(options_.max), std::max(queue, wanted));
    return limit();
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "gradient"; }

 private:
  std::uint64_t next_countdown() noexcept {
    return options_.probe_interval + static_cast<std::uint64_t>(random_.next() * as_double(options_.probe_interval));
  }

  const GradientLimit options_;
  RandomUnit random_;
  std::uint64_t to_probe_;
};

class Gradient2Algorithm final : public EstimatingAlgorithm {
 public:
  explicit Gradient2Algorithm(const Gradient2Limit& options) noexcept
      : EstimatingAlgorithm(options.initial), options_(options) {}

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    take_time(sample);
    if (sample.dropped && options_.heed_drops) {
      adapt(0.5);
      return limit();
    }
    const double rtt = as_double(rtt_);
    const double average = average_with(rtt);
    // After a long time of too much load: be back sooner than the average would be.
    if (!has_base_ && average / rtt > 2) average_ *= 0.95;
    if (as_double(sample.in_flight) < estimate_ / 2) return limit();  // it is not the limit that keeps them few
    adapt(std::clamp(options_.tolerance * average / rtt, 0.5, 1.0));
    return limit();
  }
  [[nodiscard]] std::string_view name() const noexcept override { return "gradient2"; }
  [[nodiscard]] Duration min_rtt() const noexcept override {
    return saturated(std::chrono::duration<double, std::nano>(average_));
  }
  void set_base_rtt(Duration, Duration mean) noexcept override {
    average_ = as_double(positive(mean));
    has_base_ = true;
  }

 private:
  static constexpr std::size_t kWarmUp = 10;

  double average_with(double rtt) noexcept {
    if (has_base_) return average_;
    if (samples_ < kWarmUp) {
      ++samples_;
      sum_ += rtt;
      return average_ = sum_ / as_double(samples_);
    }
    const double part = 2.0 / (as_double(options_.long_window) + 1);
    return average_ = average_ * (1 - part) + rtt * part;
  }

  void adapt(double gradient) noexcept {
    const double wanted = estimate_ * gradient + as_double(options_.queue);
    estimate_ = std::clamp(estimate_ * (1 - options_.smoothing) + wanted * options_.smoothing, as_double(options_.min),
                           as_double(options_.max));
  }

  const Gradient2Limit options_;
  std::size_t samples_ = 0;  // of the warm-up
  double sum_ = 0;
  double average_ = 0;  // in nanoseconds
};

struct Maker {
  std::uint64_t seed;

  std::unique_ptr<LimitAlgorithm> operator()(const FixedLimit& options) const {
    return std::make_unique<FixedAlgorithm>(options);
  }
  std::unique_ptr<LimitAlgorithm> operator()(const AimdLimit& options) const {
    return std::make_unique<AimdAlgorithm>(options);
  }
  std::unique_ptr<LimitAlgorithm> operator()(const VegasLimit& options) const {
    return std::make_unique<VegasAlgorithm>(options, seed);
  }
  std::unique_ptr<LimitAlgorithm> operator()(const GradientLimit& options) const {
    return std::make_unique<GradientAlgorithm>(options, seed);
  }
  std::unique_ptr<LimitAlgorithm> operator()(const Gradient2Limit& options) const {
    return std::make_unique<Gradient2Algorithm>(options);
  }
};

}  // namespace

std::unique_ptr<LimitAlgorithm> make_limit_algorithm(const LimitOptions& options, std::uint64_t seed) {
  return std::visit(Maker{seed}, options);
}

std::unique_ptr<LimitAlgorithm> make_limit_algorithm(const LimitOptions& options,
                                                     const std::optional<LimitWindow>& window,
                                                     const std::optional<LimitProbe>& probe, std::uint64_t seed) {
  std::unique_ptr<LimitAlgorithm> algorithm = make_limit_algorithm(options, seed);
  if (window) algorithm = with_window(std::move(algorithm), *window);
  if (probe) algorithm = with_probe(std::move(algorithm), *probe, ~seed);
  return algorithm;
}

}  // namespace penstock::inline PENSTOCK_ABI
