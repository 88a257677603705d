// SPDX-License-Identifier: MIT
#include "penstock/swap/recorded_scheduler.hpp"

#include <utility>

namespace penstock::inline PENSTOCK_ABI {
namespace {

DecisionLogOptions from(DecisionLogOptions options, std::uint64_t first_event) {
  options.first_event = first_event;
  return options;
}

}  // namespace

RecordedScheduler::RecordedScheduler(const SwapSchedulerOptions& options, DecisionLogOptions log)
    : events_(log.first_event), scheduler_(options), log_(options, std::move(log)) {}

RecordedScheduler::RecordedScheduler(SwapCheckpoint checkpoint, DecisionLogOptions log)
    : events_(checkpoint.event),
      scheduler_(std::move(checkpoint.scheduler)),
      log_(scheduler_.options(), from(std::move(log), events_)) {}

std::uint64_t RecordedScheduler::tell(const SwapEvent& event, TimePoint now, SwapActions& out) {
  const std::size_t first = out.size();
  const std::uint64_t result = apply(scheduler_, event, now, out);
  ++events_;
  log_.on_decision(event, now, result, out, first);
  return result;
}

}  // namespace penstock::inline PENSTOCK_ABI
