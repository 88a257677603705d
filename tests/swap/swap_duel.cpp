// SPDX-License-Identifier: MIT
#include "swap/swap_duel.hpp"

namespace penstock::testing {
namespace {

template <class Id>
std::string number(Id id) {
  return std::to_string(static_cast<std::uint64_t>(id));
}

std::string list(std::span<const ModelId> models) {
  std::string text = "[";
  for (const ModelId each : models) text += (text.size() > 1 ? " m" : "m") + number(each);
  return text + ']';
}

}  // namespace

std::string to_text(const SwapAction& action, const SwapActions& actions) {
  if (const auto* const start = std::get_if<StartSwap>(&action)) {
    return "swap " + number(start->swap) + " to m" + number(start->target) + ' ' + list(actions.models(start->evict)) +
           ' ' + std::string(to_string(start->reason));
  }
  if (const auto* const cancel = std::get_if<CancelSwap>(&action)) {
    return "calling off swap " + number(cancel->swap) + ' ' + std::string(to_string(cancel->reason));
  }
  if (const auto* const grant = std::get_if<GrantTicket>(&action)) {
    return "grant of " + number(grant->ticket) + ' ' + std::string(to_string(grant->reason));
  }
  if (const auto* const reject = std::get_if<RejectTicket>(&action)) {
    return "refusal of " + number(reject->ticket) + ' ' + std::string(to_string(reject->reason));
  }
  if (const auto* const stop = std::get_if<StopModels>(&action)) {
    return "stop " + list(actions.models(stop->models)) + ' ' + std::string(to_string(stop->reason));
  }
  const TimePoint when = std::get<WakeAt>(action).when;
  return when == TimePoint::max() ? "no wake-up"
                                  : "a wake-up at " + std::to_string(when.time_since_epoch().count()) + " ns";
}

}  // namespace penstock::testing
