// SPDX-License-Identifier: MIT
#include "road.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <utility>

#include "penstock/route/detail/breaker_machine.hpp"

namespace simulation {
namespace {

using penstock::BreakerState;
using penstock::CallOutcome;
using penstock::detail::BreakerMachine;

class Road {
 public:
  Road(const RoadOptions& options, const Policy& policy, std::uint64_t seed)
      : options_(options),
        policy_(policy),
        arrivals_(seed),
        lucks_(seed ^ 0x5DEECE66DU),
        provider_(options_.provider),
        end_(TimePoint{} + seconds(options.duration_s)),
        idle_(options.workers),
        limit_(policy.first_limit) {
    if (options_.breaker)
      breaker_.emplace(std::make_shared<const penstock::CircuitBreakerOptions>(*options_.breaker), TimePoint{});
  }

  RoadResult run() {
    plan_arrival();
    if (options_.tick_s > 0) agenda_.plan(now_ + seconds(options_.tick_s), {Kind::kTick});
    while (!agenda_.empty()) {
      const auto entry = agenda_.pop();
      if (!is_stale(entry.what)) pass_to(entry.at);
      happen(entry.what);
    }
    result_.length_s = in_seconds(now_);
    return std::move(result_);
  }

 private:
  enum class Kind : std::uint8_t { kArrival, kCallEnd, kGiveUp, kWorkerStarted, kQueueWait, kTick };
  struct Event {
    Kind kind;
    CallEnd how = CallEnd::kServed;
    Provider::CallId call = 0;
    std::uint32_t generation = 0;
  };
  struct Job {
    TimePoint arrived;
    CallLuck luck;
  };
  struct Call {
    Job job;
    TimePoint began;
    std::uint64_t permit = 0;
    std::size_t in_flight = 0;
    std::uint32_t generation = 0;  // odd while the call is out
    bool in_line = false;
    bool at_provider = false;
  };

  // --- time ---

  // Those that no longer mean anything must not prolong the simulation.
  [[nodiscard]] bool is_stale(const Event& event) const noexcept {
    switch (event.kind) {
      case Kind::kCallEnd:
      case Kind::kGiveUp:
        return calls_[event.call].generation != event.generation;
      case Kind::kQueueWait:
        return queue_.empty();
      case Kind::kWorkerStarted:
      case Kind::kTick:
      case Kind::kArrival:
        return false;
    }
    return false;
  }

  void pass_to(TimePoint at) noexcept {
    const double passed = in_seconds(at - now_);
    result_.busy_seconds += passed * busy_;
    result_.system_seconds += passed * static_cast<double>(queue_.size() + static_cast<std::size_t>(busy_));
    const TimePoint until = std::min(at, end_);
    if (until > now_) result_.worker_seconds += in_seconds(until - now_) * (live() + retiring_);
    now_ = at;
  }

  void happen(const Event& event) {
    switch (event.kind) {
      case Kind::kArrival:
        arrive();
        plan_arrival();
        break;
      case Kind::kCallEnd:
        if (!is_stale(event)) end_call(event.call, event.how);
        break;
      case Kind::kGiveUp:
        if (!is_stale(event)) end_call(event.call, CallEnd::kTimedOut);
        break;
      case Kind::kWorkerStarted:
        if (!starting_.empty() && starting_.front() <= now_) {
          starting_.pop_front();
          ++idle_;
        }
        break;
      case Kind::kQueueWait:
        expire();
        break;
      case Kind::kTick:
        tick();
        break;
    }
    start_calls();
  }

  // --- jobs ---

  // Thinning: candidates come at the highest rate, and are taken in the proportion of the rate at their time.
  void plan_arrival() {
    const double highest = options_.rate.highest();
    if (highest <= 0) return;
    TimePoint at = now_;
    do {
      at += seconds(arrivals_.exponential(1.0 / highest));
      if (at >= end_) return;
    } while (arrivals_.uniform() * highest >= options_.rate.at(in_seconds(at)));
    agenda_.plan(at, {Kind::kArrival});
  }

  void arrive() {
    const Job job{now_, draw(options_.provider, lucks_)};
    ++result_.arrived;
    ++reading_.arrived;
    if (breaker_) {
      breaker_->advance(now_);
      if (breaker_->state() == BreakerState::kOpen) {
        ++result_.breaker_refused;
        return;
      }
    }
    if (!may_start() && queue_.size() >= options_.capacity) {
      ++result_.queue_full;
      return;
    }
    queue_.push_back(job);
    if (!may_start() && std::isfinite(options_.queue_wait_s)) {
      agenda_.plan(now_ + seconds(options_.queue_wait_s), {Kind::kQueueWait});
    }
  }

  void expire() {
    const TimePoint oldest = now_ - seconds(options_.queue_wait_s);
    while (!queue_.empty() && queue_.front().arrived <= oldest) {
      leave(queue_.front(), result_.queue_expired);
      queue_.pop_front();
    }
  }

  void leave(const Job& job, std::uint64_t& count) noexcept {
    ++count;
    result_.sojourn_seconds += in_seconds(now_ - job.arrived);
  }

  // --- calls ---

  [[nodiscard]] bool may_start() const noexcept {
    return idle_ > 0 && (!policy_.limit || static_cast<std::size_t>(busy_) < limit_);
  }

  void start_calls() {
    while (!queue_.empty() && may_start()) {
      const Job job = queue_.front();
      queue_.pop_front();
      std::uint64_t permit = 0;
      if (breaker_) {
        permit = breaker_->acquire(now_);
        if (permit == BreakerMachine::kRefused) {
          leave(job, result_.breaker_refused);
          continue;
        }
      }
      begin_call(job, permit);
    }
  }

  void begin_call(const Job& job, std::uint64_t permit) {
    result_.wait_seconds += in_seconds(now_ - job.arrived);
    ++reading_.started;
    reading_.wait_total += now_ - job.arrived;
    --idle_;
    ++busy_;
    if (free_calls_.empty()) {
      free_calls_.push_back(static_cast<Provider::CallId>(calls_.size()));
      calls_.emplace_back();
    }
    const Provider::CallId id = free_calls_.back();
    free_calls_.pop_back();
    Call& call = calls_[id];
    call = {job, now_, permit, static_cast<std::size_t>(busy_), call.generation + 1};
    Provider::Begun begun;
    switch (provider_.call(id, job.luck, now_, begun)) {
      case Provider::Answer::kBegins:
        call.at_provider = true;
        plan_end(begun);
        break;
      case Provider::Answer::kWaits:
        call.in_line = true;
        plan_give_up(id);
        break;
      case Provider::Answer::kRefuses:
        agenda_.plan(now_ + seconds(options_.provider.refusal_s),
                     {Kind::kCallEnd, CallEnd::kRefused, id, call.generation});
        break;
    }
  }

  [[nodiscard]] TimePoint give_up_at(const Call& call) const noexcept {
    return std::isfinite(options_.timeout_s) ? call.began + seconds(options_.timeout_s) : TimePoint::max();
  }

  void plan_give_up(Provider::CallId id) {
    const TimePoint at = give_up_at(calls_[id]);
    if (at != TimePoint::max()) agenda_.plan(at, {Kind::kGiveUp, CallEnd::kTimedOut, id, calls_[id].generation});
  }

  // One event for a call whose end is known: its end, or its caller's patience's.
  void plan_end(const Provider::Begun& begun) {
    Call& call = calls_[begun.call];
    const bool was_in_line = std::exchange(call.in_line, false);
    call.at_provider = true;
    if (begun.end && *begun.end <= give_up_at(call)) {
      agenda_.plan(*begun.end, {Kind::kCallEnd, begun.how, begun.call, call.generation});
    } else if (!was_in_line) {
      plan_give_up(begun.call);
    }
  }

  void end_call(Provider::CallId id, CallEnd how) {
    Call& call = calls_[id];
    ++call.generation;
    if (call.in_line) provider_.leave_line(id);
    if (call.at_provider) {
      if (const auto next = provider_.leave(now_)) plan_end(*next);
    }
    free_calls_.push_back(id);
    --busy_;
    if (retiring_ > 0) {
      --retiring_;
    } else {
      ++idle_;
    }
    leave(call.job, count_of(how));
    if (how == CallEnd::kServed) {
      result_.response_s.push_back(static_cast<float>(in_seconds(now_ - call.job.arrived)));
    }
    ++reading_.finished;
    reading_.run_total += now_ - call.began;
    if (breaker_) {
      const bool slow = now_ - call.began > options_.breaker->slow_call;
      breaker_->report(now_, call.permit, how == CallEnd::kServed ? CallOutcome::kSuccess : CallOutcome::kFailure,
                       slow);
    }
    // An error says nothing about concurrency; a refusal and a call without an answer do.
    if (policy_.limit && how != CallEnd::kFailed) {
      limit_ = policy_.limit({now_ - call.began, call.in_flight, how != CallEnd::kServed, now_});
    }
  }

  std::uint64_t& count_of(CallEnd how) noexcept {
    switch (how) {
      case CallEnd::kServed:
        return result_.served;
      case CallEnd::kFailed:
        return result_.provider_failed;
      case CallEnd::kRefused:
        return result_.provider_refused;
      case CallEnd::kTimedOut:
        break;
    }
    return result_.timed_out;
  }

  // --- workers ---

  [[nodiscard]] int live() const noexcept { return idle_ + busy_ - retiring_ + static_cast<int>(starting_.size()); }

  void tick() {
    if (now_ >= end_) return;
    agenda_.plan(now_ + seconds(options_.tick_s), {Kind::kTick});
    reading_.now = now_;
    reading_.workers = static_cast<std::size_t>(live());
    reading_.busy = static_cast<std::size_t>(busy_ - retiring_);
    reading_.queued = queue_.size();
    reading_.capacity = options_.capacity;
    reading_.limited = policy_.limit && static_cast<std::size_t>(busy_) >= limit_;
    if (breaker_) {
      breaker_->advance(now_);
      reading_.breaker_open = breaker_->state() != BreakerState::kClosed;
    }
    result_.moments.push_back({in_seconds(now_), options_.rate.at(in_seconds(now_)), live(), queue_.size(),
                               static_cast<std::size_t>(busy_), policy_.limit ? limit_ : 0});
    if (policy_.scaler) {
      const int change = policy_.scaler(reading_);
      if (change > 0) add(change);
      if (change < 0) remove(-change);
    }
    result_.most_workers = std::max(result_.most_workers, live());
  }

  // Those that were to go stay, before new ones start.
  void add(int count) {
    const int kept = std::min(count, retiring_);
    retiring_ -= kept;
    for (int i = kept; i != count; ++i) {
      starting_.push_back(now_ + seconds(options_.start_up_s));
      agenda_.plan(starting_.back(), {Kind::kWorkerStarted});
    }
  }

  // First those that have not begun, then the idle ones; the busy ones go after their job.
  void remove(int count) {
    for (; count > 0 && !starting_.empty(); --count) starting_.pop_back();
    const int idle = std::min(count, idle_);
    idle_ -= idle;
    retiring_ = std::min(retiring_ + count - idle, busy_);
  }

  const RoadOptions options_;
  const Policy& policy_;
  Random arrivals_;
  Random lucks_;
  Provider provider_;
  const TimePoint end_;
  Agenda<Event> agenda_;
  TimePoint now_{};
  std::deque<Job> queue_;
  std::vector<Call> calls_;
  std::vector<Provider::CallId> free_calls_;
  int idle_;
  int busy_ = 0;
  int retiring_ = 0;                // of the busy ones
  std::deque<TimePoint> starting_;  // when each will be there
  std::size_t limit_;
  std::optional<BreakerMachine> breaker_;
  Reading reading_;
  RoadResult result_;
};

}  // namespace

RoadResult run(const RoadOptions& options, const Policy& policy, std::uint64_t seed) {
  return Road(options, policy, seed).run();
}

double percentile(std::vector<float> values, double part) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(std::ceil(part * static_cast<double>(values.size())));
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(rank, 1) - 1);
  std::nth_element(values.begin(), place, values.end());
  return static_cast<double>(*place);
}

}  // namespace simulation
