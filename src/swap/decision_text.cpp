// SPDX-License-Identifier: MIT
// What a decision log says, in words.
#include <algorithm>
#include <variant>

#include <fmt/format.h>

#include "penstock/core/detail/duration_text.hpp"
#include "penstock/swap/decision_reader.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

constexpr std::size_t kNamed = 8;  // of a long list, so many are named

std::string list_of(std::span<const ModelId> models, const DecisionLogHeader& header) {
  std::string text;
  for (const ModelId model : models.first(std::min(models.size(), kNamed))) {
    text += fmt::format("{}'{}'", text.empty() ? "" : ", ", header.name_of(model));
  }
  if (models.size() > kNamed) text += fmt::format(" and {} more", models.size() - kNamed);
  return text.empty() ? "nothing" : text;
}

/// "t7", or "t7.2" for the second ticket of that number.
std::string ticket_text(std::uint64_t ticket) {
  const auto round = ticket >> 32U;
  const auto index = static_cast<std::uint32_t>(ticket);
  return round == 0 ? fmt::format("t{}", index) : fmt::format("t{}.{}", index, round);
}
std::string ticket_text(TicketId ticket) { return ticket_text(static_cast<std::uint64_t>(ticket)); }

/// "+1.250000000 s"
std::string time_text(TimePoint time, TimePoint begin) {
  if (time == TimePoint::max()) return "never";
  const bool is_before = time < begin;
  const auto from = static_cast<std::uint64_t>((is_before ? time : begin).time_since_epoch().count());
  const auto to = static_cast<std::uint64_t>((is_before ? begin : time).time_since_epoch().count());
  constexpr std::uint64_t kSecond = 1'000'000'000;
  return fmt::format("{}{}.{:09} s", is_before ? '-' : '+', (to - from) / kSecond, (to - from) % kSecond);
}

struct EventText {
  const LoggedDecision& decision;
  const DecisionLogHeader& header;
  TimePoint begin;

  [[nodiscard]] std::string ignored() const { return decision.result == 0 ? ", ignored" : ""; }

  std::string operator()(const RequestEvent& event) const {
    const SwapRequest& request = event.request;
    std::string text = fmt::format("{} for '{}'", ticket_text(decision.result), header.name_of(request.model));
    if (request.priority != 0) text += fmt::format(", priority {}", request.priority);
    if (request.tenant != TenantId{}) text += fmt::format(", tenant {}", static_cast<std::uint32_t>(request.tenant));
    if (request.deadline != TimePoint::max()) text += fmt::format(", until {}", time_text(request.deadline, begin));
    return text;
  }
  std::string operator()(const CancelEvent& event) const { return ticket_text(event.ticket) + ignored(); }
  std::string operator()(const GrantRefusedEvent& event) const { return ticket_text(event.ticket) + ignored(); }
  std::string operator()(const ServeDoneEvent& event) const { return ticket_text(event.ticket) + ignored(); }
  std::string operator()(const SwapDoneEvent& event) const {
    return fmt::format("swap {} {}{}", static_cast<std::uint64_t>(event.swap), event.succeeded ? "succeeded" : "failed",
                       ignored());
  }
  std::string operator()(const ModelStateEvent& event) const {
    return fmt::format("'{}' is {}{}", header.name_of(event.model), to_string(event.state), ignored());
  }
  std::string operator()(const UnloadEvent& event) const {
    const std::string stop = decision.result == 0 ? "nothing to stop" : fmt::format("stop {}", decision.result);
    return fmt::format("{}: {}", list_of(event.models, header), stop);
  }
  std::string operator()(const StoppedEvent& event) const {
    return fmt::format("stop {}{}", static_cast<std::uint64_t>(event.stop), ignored());
  }
  std::string operator()(const TimerEvent&) const { return {}; }
  std::string operator()(const ShutdownEvent&) const { return {}; }
};

struct ActionText {
  const SwapActions& actions;
  const DecisionLogHeader& header;
  TimePoint begin;

  std::string operator()(const StartSwap& action) const {
    return fmt::format("start swap {} to '{}', stopping {} ({})", static_cast<std::uint64_t>(action.swap),
                       header.name_of(action.target), list_of(actions.models(action.evict), header),
                       to_string(action.reason));
  }
  std::string operator()(const CancelSwap& action) const {
    return fmt::format("call off swap {} to '{}' ({})", static_cast<std::uint64_t>(action.swap),
                       header.name_of(action.target), to_string(action.reason));
  }
  std::string operator()(const GrantTicket& action) const {
    return fmt::format("grant {} of '{}' ({})", ticket_text(action.ticket), header.name_of(action.model),
                       to_string(action.reason));
  }
  std::string operator()(const RejectTicket& action) const {
    std::string text = fmt::format("refuse {} of '{}' ({})", ticket_text(action.ticket), header.name_of(action.model),
                                   to_string(action.reason));
    if (action.swap != SwapId{}) text += fmt::format(", swap {}", static_cast<std::uint64_t>(action.swap));
    if (action.retry_after != Duration::zero()) {
      text += fmt::format(", again in {}", detail::duration_text(action.retry_after));
    }
    return text;
  }
  std::string operator()(const StopModels& action) const {
    const std::string timeout =
        action.timeout == Duration::zero() ? "" : fmt::format(" within {}", detail::duration_text(action.timeout));
    return fmt::format("stop {}: {}{} ({})", static_cast<std::uint64_t>(action.stop),
                       list_of(actions.models(action.models), header), timeout, to_string(action.reason));
  }
  std::string operator()(const WakeAt& action) const {
    return fmt::format("wake at {}", time_text(action.when, begin));
  }
};

}  // namespace

std::string to_text(const SwapAction& action, const SwapActions& actions, const DecisionLogHeader& header,
                    TimePoint begin) {
  return std::visit(ActionText{actions, header, begin}, action);
}

std::string to_text(const LoggedDecision& decision, const DecisionLogHeader& header, TimePoint begin) {
  const std::string what = std::visit(EventText{decision, header, begin}, decision.event);
  return fmt::format("#{} {}  {}{}{}", decision.number, time_text(decision.now, begin), name_of(decision.event),
                     what.empty() ? "" : " ", what);
}

std::string to_lines(const LoggedDecision& decision, const DecisionLogHeader& header, TimePoint begin) {
  std::string text = to_text(decision, header, begin) + "\n";
  for (const SwapAction& action : decision.actions) {
    text += "    " + to_text(action, decision.actions, header, begin) + "\n";
  }
  return text;
}

}  // namespace penstock::inline PENSTOCK_ABI
