// SPDX-License-Identifier: MIT

// What a concurrency limiter learns from calls, and how its options change.

#include <algorithm>
#include <iterator>
#include <new>
#include <stdexcept>
#include <utility>

#include "penstock/core/detail/option_text.hpp"
#include "penstock/route/detail/limit_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

/// The time of a drop that brings none along: nobody is told, so the algorithm gets what it takes for normal.
constexpr Duration kUnknown = Duration::min();

std::size_t in_range(std::size_t limit) noexcept { return std::clamp<std::size_t>(limit, 1, kMaxConcurrencyLimit); }

std::uint64_t chosen_seed(std::uint64_t seed) noexcept {
  if (seed != 0) return seed;
  return std::uint64_t{world::random_below(1U << 31U)} << 32U | world::random_below(1U << 31U);
}

LimitTiming timing_of(const ConcurrencyLimiterOptions& options) noexcept {
  if (!options.make_algorithm && std::holds_alternative<FixedLimit>(options.algorithm)) return LimitTiming::kNoSamples;
  switch (options.timing) {
    case ConcurrencyLimiterOptions::Timing::kByCaller:
      return LimitTiming::kByCaller;
    case ConcurrencyLimiterOptions::Timing::kCoarse:
      return LimitTiming::kCoarse;
    case ConcurrencyLimiterOptions::Timing::kExact:
      break;
  }
  return LimitTiming::kExact;
}

/// Whether an algorithm of `before` can go on under `after`.
bool is_same_algorithm(const ConcurrencyLimiterOptions& before, const ConcurrencyLimiterOptions& after) {
  return !before.make_algorithm && !after.make_algorithm && before.algorithm == after.algorithm &&
         before.window == after.window && before.probe == after.probe && before.timing == after.timing;
}

}  // namespace

LimitCore::LimitCore(Options options)
    : name_(options.name), clock_(options.clock), seed_(chosen_seed(options.seed)), options_(std::move(options)) {
  if (const absl::Status bad = options_.validate(); !bad.ok()) throw std::invalid_argument(std::string(text_of(bad)));
  apply(options_);
  current_ = make(options_);
  if (current_.algorithm == nullptr) throw std::invalid_argument(no_algorithm());
  publish_name();
  const std::uint64_t slow = word_.value.load(kRelaxed);
  word_.value.store(slow | as_word(in_range(current_.algorithm->limit()), current_.timing), kRelaxed);
}

LimitCore::~LimitCore() = default;

LimitCore::Algorithm LimitCore::make(const Options& options) const {
  Algorithm made;
  made.timing = timing_of(options);
  if (!options.make_algorithm) {
    made.algorithm = make_limit_algorithm(options.algorithm, options.window, options.probe, seed_);
    return made;
  }
  made.algorithm = options.make_algorithm();
  if (made.algorithm == nullptr) return made;
  if (options.window) made.algorithm = with_window(std::move(made.algorithm), *options.window);
  if (options.probe) made.algorithm = with_probe(std::move(made.algorithm), *options.probe, seed_);
  return made;
}

void LimitCore::publish_name() noexcept {
  const std::string_view name = current_.algorithm->name().substr(0, algorithm_name_.size() - 1);
  algorithm_name_.fill('\0');
  std::copy(name.begin(), name.end(), algorithm_name_.begin());
}

void LimitCore::report(LimitShare* share, std::uint32_t in_flight, TimePoint began, LimitOutcome outcome,
                       const Duration* rtt) noexcept {
  switch (outcome) {
    case LimitOutcome::kSuccess:
      counts_.add(Count::kSuccess);
      measure(in_flight, began, false, rtt);
      break;
    case LimitOutcome::kDropped:
      counts_.add(Count::kDropped);
      measure(in_flight, began, true, rtt);
      break;
    case LimitOutcome::kIgnored:
      counts_.add(Count::kIgnored);
      break;
  }
  release(share);  // last, so that who takes the permit meets the new limit
}

void LimitCore::abandon(LimitShare* share) noexcept {
  counts_.add(Count::kAbandoned);
  release(share);
}

LimitOutcome LimitCore::classify(const absl::Status& status) noexcept {
  if (has_classify_.load(kRelaxed)) {
    std::shared_ptr<const Classify> classify;
    {
      const MutexLock lock(mutex_);
      classify = classify_;
    }
    try {
      if (classify != nullptr) return (*classify)(status);
    } catch (...) {
      const MutexLock lock(mutex_);
      ++caught_exceptions_;
    }
  }
  return classify_limit(status);
}

void LimitCore::measure(std::uint32_t in_flight, TimePoint began, bool dropped, const Duration* rtt) noexcept {
  const auto timing =
      static_cast<LimitTiming>(word_.value.load(kRelaxed) >> limit_word::kTimingShift & limit_word::kTiming);
  if (timing == LimitTiming::kNoSamples) return;
  const bool is_exact = timing == LimitTiming::kExact && rtt == nullptr;
  LimitSample sample{kUnknown, in_flight, dropped, is_exact ? clock_->now() : clock_->recent()};
  if (rtt != nullptr) {
    sample.rtt = *rtt;
  } else if (began != TimePoint::min() && timing != LimitTiming::kByCaller) {
    sample.rtt = sample.now - began;
  }
  // No time at all, or one that ran backwards, is no time of a call.
  if (sample.rtt <= Duration::zero()) {
    if (!dropped) return;
    sample.rtt = kUnknown;
  }
  this->sample(sample);
}

void LimitCore::sample(const LimitSample& sample) noexcept {
  {
    const SpinLockGuard lock(sample_lock_);
    if (sampling_) {
      if (pending_in_ - pending_out_ == kMaxPending) {
        ++pending_out_;  // the oldest: how things are now matters more
        ++missed_samples_;
      }
      pending_[pending_in_++ % kMaxPending] = sample;
      return;
    }
    sampling_ = true;
  }
  run_samples(&sample);
}

void LimitCore::replace(Algorithm algorithm) noexcept {
  const SpinLockGuard lock(sample_lock_);
  std::swap(replacement_, algorithm);
}

void LimitCore::run_samples() noexcept {
  {
    const SpinLockGuard lock(sample_lock_);
    if (sampling_) return;
    sampling_ = true;
  }
  run_samples(nullptr);
}

void LimitCore::run_samples(const LimitSample* first) noexcept {
  LimitSample sample;
  bool has_sample = first != nullptr;
  if (has_sample) sample = *first;
  for (;;) {
    Algorithm old;  // goes without the lock
    LimitAlgorithm& algorithm = *current_.algorithm;
    if (has_sample) {
      if (sample.rtt == kUnknown) {
        const Duration normal = algorithm.min_rtt() > Duration::zero() ? algorithm.min_rtt() : algorithm.window_rtt();
        sample.rtt = normal > Duration::zero() ? normal : std::chrono::seconds(1);
      }
      algorithm.on_sample(sample);
    }
    const std::size_t limit = in_range(algorithm.limit());
    const Duration min_rtt = algorithm.min_rtt();
    const Duration window_rtt = algorithm.window_rtt();
    constexpr std::uint64_t kOther = limit_word::kInFlight | limit_word::kSlow;
    if ((word_.value.load(kRelaxed) & ~kOther) != as_word(limit, current_.timing)) set_limit(limit, current_.timing);

    const SpinLockGuard lock(sample_lock_);
    min_rtt_ = min_rtt;
    window_rtt_ = window_rtt;
    if (replacement_.algorithm != nullptr) {
      has_sample = false;
      old = std::exchange(current_, std::exchange(replacement_, {}));
      publish_name();
    } else if (pending_in_ == pending_out_) {
      sampling_ = false;
      return;
    } else {
      has_sample = true;
      sample = pending_[pending_out_++ % kMaxPending];
    }
  }
}

LimitCore::Shares LimitCore::make_shares(const Options& options) const {
  Shares shares;
  for (const LimitPartition& partition : options.partitions) {
    const auto known =
        std::find_if(shares_.begin(), shares_.end(), [&](const auto& share) { return share->name == partition.name; });
    shares.push_back(known != shares_.end() ? *known : std::make_shared<LimitShare>(partition.name));
  }
  for (const auto& share : shares_) {
    if (std::find(shares.begin(), shares.end(), share) == shares.end()) shares.push_back(share);
  }
  std::sort(shares.begin(), shares.end(), [](const auto& a, const auto& b) { return a->name < b->name; });
  return shares;
}

void LimitCore::apply(const Options& options) {
  Shares shares = make_shares(options);
  std::vector<double> portions;
  for (const auto& share : shares) {
    const auto partition = std::find_if(options.partitions.begin(), options.partitions.end(),
                                        [&](const LimitPartition& each) { return each.name == share->name; });
    portions.push_back(partition == options.partitions.end() ? 0 : partition->share);
  }
  Shares gone;
  gone.reserve(shares.size());
  auto classify = options.classify ? std::make_shared<const Classify>(options.classify) : nullptr;
  WakeList wake;
  {
    const MutexLock lock(mutex_);
    for (std::size_t i = 0; i != shares.size(); ++i) {
      shares[i]->share = portions[i];
      shares[i]->retired = portions[i] <= 0;
    }
    const auto is_empty = [](const auto& share) { return share->retired && share->in_flight + share->waiting == 0; };
    std::copy_if(shares.begin(), shares.end(), std::back_inserter(gone), is_empty);
    shares.erase(std::remove_if(shares.begin(), shares.end(), is_empty), shares.end());
    shares_.swap(shares);
    default_share_.share = options.default_share;
    has_partitions_ = !options.partitions.empty();
    order_ = options.order;
    max_waiting_ = options.max_waiting;
    wait_timeout_ = options.wait_timeout;
    classify_.swap(classify);
    has_classify_.store(classify_ != nullptr, kRelaxed);
    if (has_partitions_) mark();
    serve(wake);
    unmark_if_idle();
  }
  wake.wake_all();
}

absl::Status LimitCore::set_options(Options options) {
  options.name = name_;
  options.clock = clock_;
  if (absl::Status bad = options.validate(); !bad.ok()) return bad;
  for (Algorithm made;;) {
    {
      const MutexLock config(config_mutex_);
      const bool is_same = is_same_algorithm(options_, options);
      if (is_same || made.algorithm != nullptr) {
        apply(options);
        if (!is_same) replace(std::move(made));
        options_ = std::move(options);
        break;
      }
    }
    // The user's function runs without a lock.
    try {
      made = make(options);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& caught) {
      count_caught_exception();
      return absl::InternalError("concurrency limiter '" + name_ +
                                 "': options.make_algorithm has thrown: " + caught.what());
    } catch (...) {
      count_caught_exception();
      return absl::InternalError("concurrency limiter '" + name_ + "': options.make_algorithm has thrown");
    }
    if (made.algorithm == nullptr) return absl::InvalidArgumentError(no_algorithm());
  }
  run_samples();
  return absl::OkStatus();
}

std::string LimitCore::no_algorithm() const {
  return "concurrency limiter '" + name_ + "': options.make_algorithm must make one, got none";
}

void LimitCore::count_caught_exception() noexcept {
  const MutexLock lock(mutex_);
  ++caught_exceptions_;
}

LimitCore::Options LimitCore::options() const {
  const MutexLock config(config_mutex_);
  return options_;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
