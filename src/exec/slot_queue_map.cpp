// SPDX-License-Identifier: MIT
#include "penstock/exec/slot_queue_map.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/core/failure_stage.hpp"
#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxShards = 4096;

}  // namespace

absl::Status validate_slot_map(const std::string& name, Duration idle_queue_timeout, std::size_t max_queues,
                               std::size_t shards, const Clock* clock) {
  OptionViolations violations;
  violations.require(!name.empty() && name.size() <= kMaxNameBytes, "name", "1 to 256 bytes long", name.size());
  violations.require(idle_queue_timeout > Duration::zero(), "idle_queue_timeout", "positive",
                     duration_text(idle_queue_timeout));
  violations.require(max_queues >= 1, "max_queues", "at least 1", max_queues);
  violations.require(shards >= 1 && shards <= kMaxShards, "shards", fmt::format("in [1, {}]", kMaxShards), shards);
  violations.require(clock != nullptr, "clock", "a clock", "null");
  return violations.status(fmt::format("slot queue map '{}'", shortened(name, kMaxNameBytes)));
}

absl::Status slot_map_closed(const std::string& name) {
  return with_failure_stage(absl::UnavailableError(fmt::format("slot queue map '{}': closed", name)), "slot");
}

absl::Status slot_map_full(const std::string& name, std::size_t max_queues) {
  return with_failure_stage(
      absl::ResourceExhaustedError(fmt::format("slot queue map '{}': there are {} queues already", name, max_queues)),
      "slot");
}

void collect_slot_map(MetricSink& sink, const std::string& name, std::size_t queues) {
  sink.gauge("penstock_slot_queues", "queues of the map", {{"map", name}}, static_cast<double>(queues));
}

void add_slot_stats(SlotQueueStats& to, const SlotQueueStats& from) {
  for (const auto gauge :
       {&SlotQueueStats::idle, &SlotQueueStats::leased, &SlotQueueStats::waiting, &SlotQueueStats::starting}) {
    to.*gauge += from.*gauge;
  }
  to.oldest_wait = std::max(to.oldest_wait, from.oldest_wait);
  for (const auto count :
       {&SlotQueueStats::offered,        &SlotQueueStats::acquired,         &SlotQueueStats::handed_over,
        &SlotQueueStats::returned,       &SlotQueueStats::ejected,          &SlotQueueStats::taken,
        &SlotQueueStats::retired,        &SlotQueueStats::expired,          &SlotQueueStats::closed,
        &SlotQueueStats::eject_misses,   &SlotQueueStats::foreign_tokens,   &SlotQueueStats::waits,
        &SlotQueueStats::exhausted,      &SlotQueueStats::timed_out,        &SlotQueueStats::cancelled,
        &SlotQueueStats::unavailable,    &SlotQueueStats::failed,           &SlotQueueStats::phase_faults,
        &SlotQueueStats::launches,       &SlotQueueStats::started,          &SlotQueueStats::start_failures,
        &SlotQueueStats::errors_dropped, &SlotQueueStats::launch_shortages, &SlotQueueStats::caught_exceptions}) {
    to.*count += from.*count;
  }
  for (std::size_t at = 0; at != kSlotPhases; ++at) {
    SlotPhaseStats& mine = to.phases[at];
    const SlotPhaseStats& other = from.phases[at];
    mine.now += other.now;
    mine.entered += other.entered;
    mine.samples += other.samples;
    if (other.samples == 0) continue;
    const double weight = static_cast<double>(other.samples) / static_cast<double>(mine.samples);
    const auto mean = [&](double first, double second) { return first + (second - first) * weight; };
    mine.document_ms =
        static_cast<std::uint64_t>(mean(static_cast<double>(mine.document_ms), static_cast<double>(other.document_ms)));
    mine.mean = saturated(std::chrono::duration<double, std::nano>(
        mean(static_cast<double>(mine.mean.count()), static_cast<double>(other.mean.count()))));
  }
  to.wait.merge(from.wait);
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
