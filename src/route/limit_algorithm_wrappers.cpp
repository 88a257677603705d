// SPDX-License-Identifier: MIT

// What stands between calls and an algorithm: a window, a probe.

#include <algorithm>
#include <utility>

#include "penstock/core/detail/random_unit.hpp"
#include "penstock/route/limit_algorithm.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// What some calls have in common.
class CallSummary {
 public:
  void add(const LimitSample& sample) noexcept {
    const Duration rtt = std::max(sample.rtt, Duration(1));
    ++count_;
    shortest_ = std::min(shortest_, rtt);
    sum_ = rtt > Duration::max() - sum_ ? Duration::max() : sum_ + rtt;
    most_in_flight_ = std::max(most_in_flight_, sample.in_flight);
    any_dropped_ = any_dropped_ || sample.dropped;
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] Duration shortest() const noexcept { return shortest_; }
  [[nodiscard]] Duration mean() const noexcept { return sum_ / static_cast<Duration::rep>(count_); }
  [[nodiscard]] LimitSample as_one(TimePoint now) const noexcept {
    return {mean(), most_in_flight_, any_dropped_, now};
  }

 private:
  std::size_t count_ = 0;
  Duration shortest_ = Duration::max();
  Duration sum_{};
  std::size_t most_in_flight_ = 0;
  bool any_dropped_ = false;
};

class Wrapper : public LimitAlgorithm {
 public:
  explicit Wrapper(std::unique_ptr<LimitAlgorithm> inner) noexcept : inner_(std::move(inner)) {}

  [[nodiscard]] std::size_t limit() const noexcept override { return inner_->limit(); }
  [[nodiscard]] std::string_view name() const noexcept override { return inner_->name(); }
  [[nodiscard]] Duration min_rtt() const noexcept override { return inner_->min_rtt(); }
  [[nodiscard]] Duration window_rtt() const noexcept override { return inner_->window_rtt(); }
  void set_base_rtt(Duration shortest, Duration mean) noexcept override { inner_->set_base_rtt(shortest, mean); }

 protected:
  const std::unique_ptr<LimitAlgorithm> inner_;
};

class Windowed final : public Wrapper {
 public:
  Windowed(std::unique_ptr<LimitAlgorithm> inner, const LimitWindow& options) noexcept
      : Wrapper(std::move(inner)), options_(options) {}

  // What it will be compared with are means.
  void set_base_rtt(Duration, Duration mean) noexcept override { inner_->set_base_rtt(mean, mean); }

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    if (sample.rtt < options_.min_rtt) return limit();
    calls_.add(sample);
    // Where the end is further away than a window is long, the clock has stepped back. A call that has read it a little
    // earlier than the last one is no such case.
    const TimePoint furthest = saturated_add(saturated_add(sample.now, options_.max_length), options_.max_length);
    if (ends_ > furthest) ends_ = saturated_add(sample.now, options_.max_length);
    if (sample.now <= ends_) return limit();

    const CallSummary calls = std::exchange(calls_, {});
    const Duration twice = calls.shortest() > Duration::max() / 2 ? Duration::max() : 2 * calls.shortest();
    ends_ = saturated_add(sample.now, std::clamp(twice, options_.min_length, options_.max_length));
    return calls.count() < options_.min_samples ? limit() : inner_->on_sample(calls.as_one(sample.now));
  }

 private:
  const LimitWindow options_;
  TimePoint ends_ = TimePoint::min();  // so that the first call, alone in its window, ends it
  CallSummary calls_;
};

class Probing final : public Wrapper {
 public:
  Probing(std::unique_ptr<LimitAlgorithm> inner, const LimitProbe& options, std::uint64_t seed) noexcept
      : Wrapper(std::move(inner)), options_(options), random_(seed) {}

  std::size_t on_sample(const LimitSample& sample) noexcept override {
    if (probes_) {
      probe(sample);
      return limit();
    }
    if (sample.now < ended_) due_ = saturated_add(ended_ = sample.now, interval_);  // the clock has stepped back
    if (sample.now < due_) return inner_->on_sample(sample);
    probes_ = true;
    began_ = sample.now;
    calls_ = {};
    return limit();
  }

  [[nodiscard]] std::size_t limit() const noexcept override {
    return probes_ ? std::min(options_.concurrency, inner_->limit()) : inner_->limit();
  }

 private:
  void probe(const LimitSample& sample) noexcept {
    const TimePoint call_began = saturated_add(sample.now, -std::max(sample.rtt, Duration(1)));
    // The first probe begins with the first call; and the clock may step back.
    if (!has_begun_ || sample.now < began_) began_ = call_began;
    has_begun_ = true;
    // A call that began before shared the other side with as many as the limit let through then.
    if (call_began >= began_ && !sample.dropped) calls_.add(sample);
    const bool is_late = sample.now > saturated_add(began_, options_.time_limit);
    if (calls_.count() < options_.samples && !is_late) return;
    probes_ = false;
    ended_ = sample.now;
    interval_ = saturated(std::chrono::duration<double, std::nano>(static_cast<double>(options_.interval.count()) *
                                                                   (1 + options_.jitter * random_.next())));
    due_ = saturated_add(sample.now, interval_);
    if (calls_.count() != 0) inner_->set_base_rtt(calls_.shortest(), calls_.mean());
  }

  const LimitProbe options_;
  detail::RandomUnit random_;
  bool probes_ = true;
  bool has_begun_ = false;
  TimePoint began_{};
  TimePoint ended_ = TimePoint::min();
  Duration interval_{};
  TimePoint due_ = TimePoint::min();
  CallSummary calls_;
};

}  // namespace

std::unique_ptr<LimitAlgorithm> with_window(std::unique_ptr<LimitAlgorithm> algorithm, const LimitWindow& window) {
  return std::make_unique<Windowed>(std::move(algorithm), window);
}

std::unique_ptr<LimitAlgorithm> with_probe(std::unique_ptr<LimitAlgorithm> algorithm, const LimitProbe& probe,
                                           std::uint64_t seed) {
  return std::make_unique<Probing>(std::move(algorithm), probe, seed);
}

}  // namespace penstock::inline PENSTOCK_ABI
