// SPDX-License-Identifier: MIT
// The inside of a decision log's blocks. Once something is wrong, or the log ends, every number is 0, and no list or
// action is added any more.
#include <limits>

#include <fmt/format.h>

#include "penstock/swap/decision_reader.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

std::int64_t sum(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

}  // namespace

unsigned DecisionReader::byte() {
  while (at_ == end_) {
    if (!is_reading() || !enter_block()) return 0;
  }
  return is_reading() ? std::to_integer<unsigned>(log_[at_++]) : 0;
}

std::uint64_t DecisionReader::varint() {
  std::uint64_t number = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint64_t bits = byte();
    if (shift == 63 && bits > 1) break;
    number |= (bits & 0x7f) << shift;
    if (bits < 0x80) return is_reading() ? number : 0;
  }
  fail(at_, "a number has more than 64 bits");
  return 0;
}

std::int32_t DecisionReader::number32() {
  const std::int64_t value = number();
  if (value == static_cast<std::int32_t>(value)) return static_cast<std::int32_t>(value);
  fail(at_, fmt::format("{} has more than 32 bits", value));
  return 0;
}

ModelId DecisionReader::model() {
  state_.model += static_cast<std::uint32_t>(number32());
  return ModelId{state_.model};
}

TicketId DecisionReader::ticket() {
  const std::uint64_t first = varint();
  const std::int64_t lower = detail::unzigzag(first >> 1U);
  if (lower != static_cast<std::int32_t>(lower)) fail(at_, fmt::format("{} has more than 32 bits", lower));
  const std::int32_t upper = (first & 1U) != 0 ? number32() : 0;
  const auto low = static_cast<std::uint32_t>(state_.ticket) + static_cast<std::uint32_t>(lower);
  const auto high = static_cast<std::uint32_t>(state_.ticket >> 32U) + static_cast<std::uint32_t>(upper);
  state_.ticket = std::uint64_t{high} << 32U | low;
  return TicketId{state_.ticket};
}

SwapId DecisionReader::swap() {
  state_.swap += static_cast<std::uint64_t>(number());
  return SwapId{state_.swap};
}

StopId DecisionReader::stop() {
  state_.stop += static_cast<std::uint64_t>(number());
  return StopId{state_.stop};
}

TimePoint DecisionReader::time() { return TimePoint(Duration(sum(state_.time, number()))); }

void DecisionReader::read_models(std::vector<ModelId>& models) {
  for (std::uint64_t count = varint(); count != 0; --count) {
    const ModelId id = model();
    if (!is_reading()) return;
    models.push_back(id);
  }
}

ModelList DecisionReader::read_models(SwapActions& actions) {
  list_.clear();
  read_models(list_);
  return actions.keep(list_);
}

void DecisionReader::read_event(LoggedDecision& decision) {
  const std::size_t at = at_;
  const unsigned tag = byte();
  const bool flag0 = (tag & detail::kFlag0) != 0;
  const bool flag1 = (tag & detail::kFlag1) != 0;
  decision.now = time();
  state_.time = decision.now.time_since_epoch().count();
  decision.result = flag0 ? 1 : 0;
  switch (tag & detail::kEventKind) {
    case 0: {
      SwapRequest request{.model = model()};
      if (flag0) request.priority = number32();
      if (flag1) {
        const std::uint64_t tenant = varint();
        if (tenant > std::numeric_limits<std::uint32_t>::max()) fail(at, fmt::format("tenant {}", tenant));
        request.tenant = TenantId{static_cast<std::uint32_t>(tenant)};
      }
      if ((tag & detail::kFlag2) != 0) request.deadline = time();
      decision.event = RequestEvent{request};
      decision.result = static_cast<std::uint64_t>(ticket());
      break;
    }
    case 1:
      decision.event = CancelEvent{ticket()};
      break;
    case 2:
      decision.event = GrantRefusedEvent{ticket()};
      break;
    case 3:
      decision.event = ServeDoneEvent{ticket()};
      break;
    case 4:
      decision.event = SwapDoneEvent{swap(), flag1};
      break;
    case 5: {
      const ModelId id = model();
      const unsigned state = byte();
      if (state > static_cast<unsigned>(ModelState::kUnknown)) fail(at, fmt::format("state {} of a model", state));
      decision.event = ModelStateEvent{id, static_cast<ModelState>(state)};
      break;
    }
    case 6: {
      const Duration timeout = duration();
      if (flag0) decision.result = static_cast<std::uint64_t>(stop());
      read_models(decision.unloaded);
      decision.event = UnloadEvent{decision.unloaded, timeout};
      break;
    }
    case 7:
      decision.event = StoppedEvent{stop()};
      break;
    case 8:
      decision.event = TimerEvent{};
      break;
    case 9:
      decision.event = ShutdownEvent{};
      break;
    default:
      fail(at, fmt::format("an event of kind {}", tag & detail::kEventKind));
  }
  if ((tag & detail::kHasActions) == 0) return;
  for (std::uint64_t count = varint(); count != 0 && is_reading(); --count) read_action(decision);
}

void DecisionReader::read_action(LoggedDecision& decision) {
  const std::size_t at = at_;
  const unsigned tag = byte();
  const unsigned kind = tag & detail::kActionKind;
  const unsigned reason_number = tag >> detail::kReasonShift;
  if (reason_number >= kSwapReasons) fail(at, fmt::format("reason {}", reason_number));
  const auto reason = static_cast<SwapReason>(reason_number);
  SwapActions& actions = decision.actions;
  SwapAction action;
  switch (kind) {
    case 0: {
      StartSwap start{.swap = swap(), .target = model(), .evict = {}, .reason = reason};
      start.evict = read_models(actions);
      action = start;
      break;
    }
    case 1:
      action = CancelSwap{.swap = swap(), .target = model(), .reason = reason};
      break;
    case 2:
      action = GrantTicket{.ticket = ticket(), .model = model(), .reason = reason};
      break;
    case 3: {
      RejectTicket reject{.ticket = ticket(), .model = model(), .reason = reason, .swap = {}, .retry_after = {}};
      const unsigned more = byte();
      if ((more & detail::kHasSwap) != 0) reject.swap = swap();
      if ((more & detail::kHasRetryAfter) != 0) reject.retry_after = duration();
      action = reject;
      break;
    }
    case 4: {
      StopModels stop_models{.stop = stop(), .models = {}, .timeout = duration(), .reason = reason};
      stop_models.models = read_models(actions);
      action = stop_models;
      break;
    }
    case 5:
      action = WakeAt{(tag & detail::kNever) != 0 ? TimePoint::max() : time()};
      break;
    default:
      fail(at, fmt::format("an action of kind {}", kind));
  }
  if (is_reading()) actions.add(action);
}

}  // namespace penstock::inline PENSTOCK_ABI
