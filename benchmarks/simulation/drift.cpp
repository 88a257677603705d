// SPDX-License-Identifier: MIT
#include "drift.hpp"

#include <algorithm>
#include <limits>

#include "random.hpp"
#include "virtual_time.hpp"

namespace simulation {
namespace {

struct Call {
  TimePoint began{};
  std::size_t in_flight = 0;
};

class Log {
 public:
  Log(DriftResult& result, std::uint64_t calls) noexcept : result_(result), calls_(calls) {}

  void add(std::uint64_t ended, TimePoint now, std::size_t limit) {
    if (ended >= calls_ / 2) result_.highest = std::max(result_.highest, limit);
    if (ended != next_ && ended != calls_) return;
    result_.points.push_back({ended, in_seconds(now), limit});
    next_ += std::max<std::uint64_t>(1, ended / 64);
  }

 private:
  DriftResult& result_;
  const std::uint64_t calls_;
  std::uint64_t next_ = 1;
};

}  // namespace

ProviderOptions endless_line(std::size_t slots, double service_s, Spread spread) {
  ProviderOptions options;
  options.slots = slots;
  options.line = std::numeric_limits<std::size_t>::max();
  options.service_s = service_s;
  options.spread = spread;
  return options;
}

DriftResult drift(penstock::LimitAlgorithm& algorithm, const ProviderOptions& provider_options, std::uint64_t calls,
                  std::uint64_t seed) {
  Random random(seed);
  Provider provider(provider_options);
  Agenda<Provider::CallId> ends;
  std::vector<Call> slab;
  std::vector<Provider::CallId> free;
  std::size_t in_flight = 0;
  TimePoint now{};
  DriftResult result;
  Log log(result, calls);
  double used = 0;
  double rtts = 0;

  for (std::uint64_t ended = 1; ended <= calls; ++ended) {
    while (in_flight < algorithm.limit()) {
      ++in_flight;
      if (free.empty()) {
        free.push_back(static_cast<Provider::CallId>(slab.size()));
        slab.emplace_back();
      }
      const Provider::CallId id = free.back();
      free.pop_back();
      slab[id] = {now, in_flight};
      Provider::Begun begun;
      if (provider.call(id, draw(provider_options, random), now, begun) == Provider::Answer::kBegins) {
        ends.plan(*begun.end, id);
      }
    }
    const auto end = ends.pop();
    used += static_cast<double>(provider.serving()) * in_seconds(end.at - now);
    now = end.at;
    if (const auto next = provider.leave(now)) ends.plan(*next->end, next->call);
    free.push_back(end.what);
    --in_flight;
    const Call& call = slab[end.what];
    rtts += in_seconds(now - call.began);
    log.add(ended, now, algorithm.on_sample({now - call.began, call.in_flight, false, now}));
  }
  result.last = algorithm.limit();
  result.use = used / in_seconds(now) / static_cast<double>(provider_options.slots);
  result.mean_rtt_s = rtts / static_cast<double>(calls);
  return result;
}

DriftResult drift_by_formula(penstock::LimitAlgorithm& algorithm, std::size_t slots, double service_s,
                             std::uint64_t calls) {
  DriftResult result;
  Log log(result, calls);
  TimePoint now{};
  double used = 0;
  double rtts = 0;
  for (std::uint64_t ended = 1; ended <= calls; ++ended) {
    const auto limit = static_cast<double>(algorithm.limit());
    const double rtt_s = service_s * std::max(1.0, limit / static_cast<double>(slots));
    used += service_s;
    rtts += rtt_s;
    now += seconds(rtt_s / limit);
    log.add(ended, now, algorithm.on_sample({seconds(rtt_s), algorithm.limit(), false, now}));
  }
  result.last = algorithm.limit();
  result.use = used / in_seconds(now) / static_cast<double>(slots);
  result.mean_rtt_s = rtts / static_cast<double>(calls);
  return result;
}

}  // namespace simulation
