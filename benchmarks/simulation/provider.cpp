// SPDX-License-Identifier: MIT
#include "provider.hpp"

#include <algorithm>

namespace simulation {

CallLuck draw(const ProviderOptions& options, Random& random) noexcept {
  CallLuck luck;
  switch (options.spread) {
    case Spread::kLogNormal:
      luck.service_s = random.lognormal(options.service_s, options.sigma);
      break;
    case Spread::kExponential:
      luck.service_s = random.exponential(options.service_s);
      break;
    case Spread::kConstant:
      luck.service_s = options.service_s;
      break;
  }
  luck.failure = random.uniform();
  luck.hanging = random.uniform();
  return luck;
}

Provider::Begun Provider::begin(CallId call, const CallLuck& luck, TimePoint now) const noexcept {
  const double time_s = in_seconds(now);
  if (luck.failure < options_->failing.at(time_s)) {
    if (luck.hanging < options_->hanging) return {call, std::nullopt, CallEnd::kTimedOut};
    return {call, now + seconds(options_->failure_s), CallEnd::kFailed};
  }
  return {call, now + seconds(luck.service_s * options_->slowness.at(time_s)), CallEnd::kServed};
}

Provider::Answer Provider::call(CallId call, const CallLuck& luck, TimePoint now, Begun& begun) {
  if (serving_ < options_->slots) {
    ++serving_;
    begun = begin(call, luck, now);
    return Answer::kBegins;
  }
  if (line_.size() >= options_->line) return Answer::kRefuses;
  line_.push_back({call, luck});
  return Answer::kWaits;
}

std::optional<Provider::Begun> Provider::leave(TimePoint now) {
  if (line_.empty()) {
    --serving_;
    return std::nullopt;
  }
  const Waiting next = line_.front();
  line_.pop_front();
  return begin(next.call, next.luck, now);
}

void Provider::leave_line(CallId call) {
  const auto found = std::find_if(line_.begin(), line_.end(), [&](const Waiting& w) { return w.call == call; });
  if (found != line_.end()) line_.erase(found);
}

}  // namespace simulation
