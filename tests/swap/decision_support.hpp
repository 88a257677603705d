// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Decisions as a scheduler might make them, and as none would, to be recorded and read.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "penstock/swap/decision_log.hpp"
#include "penstock/swap/decision_reader.hpp"
#include "penstock/swap/group_planner.hpp"
#include "support/catch.hpp"

namespace penstock::testing {

inline SwapSchedulerOptions log_options() {
  return {.name = "recorded", .models = {{.name = "b"}, {.name = "a"}, {.name = "d"}, {.name = "c"}}};
}

/// Makes decisions that differ in all that a log can hold.
class DecisionMaker {
 public:
  explicit DecisionMaker(std::uint64_t seed) : random_(seed) {}

  LoggedDecision make(std::uint64_t number) {
    LoggedDecision decision = begin(number);
    decision.result = pick(2);
    switch (pick(10)) {
      case 0: {
        SwapRequest request{.model = model()};
        if (pick(2) != 0) request.priority = static_cast<std::int32_t>(any());
        if (pick(2) != 0) request.tenant = TenantId{static_cast<std::uint32_t>(any())};
        if (pick(2) != 0) request.deadline = TimePoint(Duration(static_cast<std::int64_t>(any())));
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
        decision.event = SwapDoneEvent{SwapId{any()}, pick(2) != 0};
        break;
      case 5:
        decision.event = ModelStateEvent{model(), static_cast<ModelState>(pick(6))};
        break;
      case 6: {
        LoggedDecision unloads = unload(number, pick(5));
        add_actions(unloads, pick(4));
        return unloads;
      }
      case 7:
        decision.event = StoppedEvent{StopId{any()}};
        break;
      case 8:
        decision.event = TimerEvent{};
        decision.result = 0;
        break;
      default:
        decision.event = ShutdownEvent{};
        decision.result = 0;
    }
    add_actions(decision, pick(8) == 0 ? 30 : pick(3));
    return decision;
  }

  LoggedDecision unload(std::uint64_t number, std::size_t models) {
    LoggedDecision decision = begin(number);
    for (std::size_t i = 0; i != models; ++i) decision.unloaded.push_back(model());
    decision.event = UnloadEvent{decision.unloaded, Duration(static_cast<std::int64_t>(any()))};
    decision.result = any();
    return decision;
  }

 private:
  LoggedDecision begin(std::uint64_t number) {
    LoggedDecision decision;
    decision.number = number;
    // Times that go on, mostly; also back, and to the ends of the range.
    now_ = pick(20) == 0 ? any() : now_ + pick(1'000'000'000);
    decision.now = TimePoint(Duration(static_cast<std::int64_t>(now_)));
    return decision;
  }

  void add_actions(LoggedDecision& decision, std::size_t count) {
    SwapActions& out = decision.actions;
    for (std::size_t i = 0; i != count; ++i) {
      const auto reason = static_cast<SwapReason>(pick(kSwapReasons));
      switch (pick(6)) {
        case 0: {
          const ModelList evict = out.keep(models());
          out.add(StartSwap{SwapId{any()}, model(), evict, reason});
          break;
        }
        case 1:
          out.add(CancelSwap{SwapId{any()}, model(), reason});
          break;
        case 2:
          out.add(GrantTicket{ticket(), model(), reason});
          break;
        case 3:
          out.add(RejectTicket{ticket(), model(), reason, SwapId{pick(2) != 0 ? any() : 0},
                               Duration(static_cast<std::int64_t>(pick(2) != 0 ? any() : 0))});
          break;
        case 4: {
          const ModelList list = out.keep(models());
          out.add(StopModels{StopId{any()}, list, Duration(static_cast<std::int64_t>(any())), reason});
          break;
        }
        default:
          out.add(WakeAt{pick(3) == 0 ? TimePoint::max() : TimePoint(Duration(static_cast<std::int64_t>(any())))});
      }
    }
  }

  std::vector<ModelId> models() {
    std::vector<ModelId> models(pick(6));
    for (ModelId& id : models) id = model();
    return models;
  }
  ModelId model() {
    return pick(4) == 0 ? ModelId{static_cast<std::uint32_t>(any())} : ModelId{static_cast<std::uint32_t>(pick(4))};
  }
  TicketId ticket() {
    if (pick(4) == 0) return TicketId{any()};
    return TicketId{pick(3) << 32U | (tickets_ += pick(3))};
  }
  std::uint64_t pick(std::uint64_t count) { return count == 0 ? 0 : random_() % count; }
  /// Of any size, also all bits.
  std::uint64_t any() {
    if (pick(10) == 0) return std::numeric_limits<std::uint64_t>::max() >> pick(2);
    return random_() >> pick(64);
  }

  std::mt19937_64 random_;
  std::uint64_t now_ = 1'000'000;
  std::uint64_t tickets_ = 0;
};

inline void record(DecisionLog& log, const LoggedDecision& decision) {
  log.on_decision(decision.event, decision.now, decision.result, decision.actions, 0);
}

inline bool is_same(const SwapEvent& a, const SwapEvent& b) {
  if (a.index() != b.index()) return false;
  if (const auto* e = std::get_if<RequestEvent>(&a)) {
    const auto& [model, priority, tenant, deadline] = e->request;
    const SwapRequest& other = std::get<RequestEvent>(b).request;
    return model == other.model && priority == other.priority && tenant == other.tenant && deadline == other.deadline;
  }
  if (const auto* e = std::get_if<CancelEvent>(&a)) return e->ticket == std::get<CancelEvent>(b).ticket;
  if (const auto* e = std::get_if<GrantRefusedEvent>(&a)) return e->ticket == std::get<GrantRefusedEvent>(b).ticket;
  if (const auto* e = std::get_if<ServeDoneEvent>(&a)) return e->ticket == std::get<ServeDoneEvent>(b).ticket;
  if (const auto* e = std::get_if<SwapDoneEvent>(&a)) {
    return e->swap == std::get<SwapDoneEvent>(b).swap && e->succeeded == std::get<SwapDoneEvent>(b).succeeded;
  }
  if (const auto* e = std::get_if<ModelStateEvent>(&a)) {
    return e->model == std::get<ModelStateEvent>(b).model && e->state == std::get<ModelStateEvent>(b).state;
  }
  if (const auto* e = std::get_if<UnloadEvent>(&a)) {
    const UnloadEvent& other = std::get<UnloadEvent>(b);
    return e->timeout == other.timeout &&
           std::equal(e->models.begin(), e->models.end(), other.models.begin(), other.models.end());
  }
  if (const auto* e = std::get_if<StoppedEvent>(&a)) return e->stop == std::get<StoppedEvent>(b).stop;
  return true;
}

inline bool is_same(const SwapActions& a, const SwapActions& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i != a.size(); ++i) {
    // The lists of both were kept in the same order, so their places are the same, too.
    if (a[i] != b[i]) return false;
    const auto lists = [i](const SwapActions& of) {
      if (const auto* start = std::get_if<StartSwap>(&of[i])) return of.models(start->evict);
      if (const auto* stop = std::get_if<StopModels>(&of[i])) return of.models(stop->models);
      return std::span<const ModelId>();
    };
    if (!std::equal(lists(a).begin(), lists(a).end(), lists(b).begin(), lists(b).end())) return false;
  }
  return true;
}

inline bool is_same(const LoggedDecision& a, const LoggedDecision& b) {
  return a.number == b.number && a.now == b.now && a.result == b.result && is_same(a.event, b.event) &&
         is_same(a.actions, b.actions);
}

/// All of a log that is whole.
inline std::vector<LoggedDecision> read_all(std::span<const std::byte> log) {
  auto reader = DecisionReader::open(log);
  REQUIRE(reader.ok());
  std::vector<LoggedDecision> read;
  for (;;) {
    LoggedDecision decision;
    const auto is_there = reader->next(decision);
    REQUIRE(is_there.ok());
    if (!*is_there) return read;
    read.push_back(std::move(decision));
  }
}

}  // namespace penstock::testing
