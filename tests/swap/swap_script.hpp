// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Scenarios in a short notation, to be told to any scheduler.
///
/// A model is a letter, a request its number, from 1 on. "b:ac" says that bringing up b evicts a and c, if they run.
/// Each event answers with what it brought about, in order:
///
///     S b[a]      swap: stop a, then bring up b       G 1                 grant
///     C b         call off the swap to b              E 1 swap_failed     refusal
///     stop[a b]   stop a and b                        wake 5              call at 5 ms

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "penstock/swap/swap_scheduler.hpp"
#include "support/catch.hpp"
#include "swap/reference_scheduler.hpp"

namespace penstock::testing {

/// Who evicts whom, model by model: pairwise, in which case each model is a class and a kind of its own, or not said to
/// be so.
class RelationPlanner final : public EvictionPlanner, public PairwiseEviction {
 public:
  RelationPlanner(const ModelTable& models, const std::vector<std::string>& evict, bool is_pairwise)
      : evicts_(models.size(), std::vector<bool>(models.size())), is_pairwise_(is_pairwise) {
    const auto index = [&](char name) { return static_cast<std::size_t>(models.find(std::string(1, name)).value()); };
    for (const std::string& line : evict) {
      for (const char victim : line.substr(2)) evicts_[index(line[0])][index(victim)] = true;
    }
  }

  [[nodiscard]] std::string_view name() const noexcept override { return "relation"; }
  void plan(const PlanInput& input, std::vector<ModelId>& evict) const override {
    for (const ModelId each : input.running) {
      if (evicts(class_of(input.target), class_of(each)) && each != input.target) evict.push_back(each);
    }
  }
  [[nodiscard]] const PairwiseEviction* pairwise() const noexcept override { return is_pairwise_ ? this : nullptr; }
  [[nodiscard]] bool is_monotone() const noexcept override { return true; }

  [[nodiscard]] std::size_t classes() const noexcept override { return evicts_.size(); }
  [[nodiscard]] std::size_t class_of(ModelId model) const noexcept override { return static_cast<std::size_t>(model); }
  [[nodiscard]] bool evicts(std::size_t target_class, std::size_t other_class) const noexcept override {
    return evicts_[target_class][other_class];
  }
  [[nodiscard]] std::size_t kinds() const noexcept override { return evicts_.size(); }
  [[nodiscard]] std::size_t kind_of(std::size_t model_class) const noexcept override { return model_class; }

 private:
  std::vector<std::vector<bool>> evicts_;
  bool is_pairwise_;
};

/// One of the schedulers that a scenario is told to, and the path that it takes.
template <class Scheduler_, bool kPairwise_>
struct Way {
  using Scheduler = Scheduler_;
  static constexpr bool kPairwise = kPairwise_;
};
using Ways = std::tuple<Way<ReferenceScheduler, false>, Way<SwapScheduler, false>, Way<SwapScheduler, true>>;

/// Both published rules for the limit and ours, each with the published conduct and with the cured one: for scenarios
/// that end the same in all of them.
inline SwapSchedulerOptions any_rules() {
  const LimitAt limit_at = GENERATE(LimitAt::kArrival, LimitAt::kGrant, LimitAt::kService);
  const SwapConduct conduct = GENERATE(SwapConduct::kCured, SwapConduct::kPublished);
  SwapSchedulerOptions options;
  options.limit_at = limit_at;
  options.conduct = conduct;
  return options;
}

inline SwapSchedulerOptions rules(LimitAt limit_at, SwapConduct conduct = SwapConduct::kCured) {
  SwapSchedulerOptions options;
  options.limit_at = limit_at;
  options.conduct = conduct;
  return options;
}

struct Given {
  std::string models = {};
  std::vector<std::string> evict = {};
  std::string ready = {};
  std::map<char, int> priority = {};
  std::map<char, int> limit = {};
  SwapSchedulerOptions options = {};
  PlannerFactory planner = {};  ///< instead of `evict`
};

/// How a request differs from a plain one.
struct Asked {
  std::int32_t priority = 0;
  std::chrono::milliseconds deadline = std::chrono::milliseconds::max();
  std::uint32_t tenant = 0;
};

template <class Way>
class Script {
 public:
  explicit Script(const Given& given) : scheduler_(options_of(given)) {
    for (const char each : given.ready) state(each, ModelState::kReady);
  }

  std::string request(char model, const Asked& asked = {}) {
    const TimePoint deadline =
        asked.deadline == std::chrono::milliseconds::max() ? TimePoint::max() : TimePoint(asked.deadline);
    return request(SwapRequest{
        .model = id(model), .priority = asked.priority, .tenant = TenantId{asked.tenant}, .deadline = deadline});
  }
  std::string request(const SwapRequest& what) {
    asked_for_ += scheduler_.models().contains(what.model) ? letter(what.model) : '?';
    return told([&] { tickets_.push_back(scheduler_.on_request(what, now_, out_)); });
  }
  /// One request each, all that they bring about.
  std::string requests(std::string_view models) {
    std::string all;
    for (const char each : models) append(all, request(each));
    return all;
  }

  std::string cancel(std::size_t number) {
    return told([&] { answer_ = scheduler_.on_cancel(ticket(number), now_, out_); });
  }
  std::string refuse(std::size_t number) {
    return told([&] { answer_ = scheduler_.on_grant_refused(ticket(number), now_, out_); });
  }
  std::string served(std::size_t number) {
    return told([&] { answer_ = scheduler_.on_serve_done(ticket(number), now_, out_); });
  }

  /// The newest swap to `model` ends: its victims have stopped, and `model` is ready.
  std::string up(char model) {
    const Swap& swap = swap_of(model);
    std::string all;
    for (const char each : swap.evict) append(all, state(each, ModelState::kStopped));
    append(all, state(model, ModelState::kReady));
    append(all, done(swap.id, true));
    return all;
  }
  /// The newest swap to `model` fails, after its victims have stopped.
  std::string fail(char model) {
    const Swap& swap = swap_of(model);
    std::string all;
    for (const char each : swap.evict) append(all, state(each, ModelState::kStopped));
    append(all, done(swap.id, false));
    return all;
  }
  std::string done(SwapId swap, bool succeeded) {
    return told([&] { answer_ = scheduler_.on_swap_done(swap, succeeded, now_, out_); });
  }

  std::string state(char model, ModelState state) {
    return told([&] { answer_ = scheduler_.on_model_state(id(model), state, now_, out_); });
  }
  std::string unload(std::string_view models, std::chrono::milliseconds timeout = {}) {
    std::vector<ModelId> ids;
    for (const char each : models) ids.push_back(id(each));
    return told([&] { stop_ = scheduler_.on_unload(ids, timeout, now_, out_); });
  }
  std::string stopped(StopId stop) {
    return told([&] { answer_ = scheduler_.on_stopped(stop, now_, out_); });
  }
  /// The models of the last unload have stopped.
  std::string stopped(std::string_view models) {
    std::string all;
    for (const char each : models) append(all, state(each, ModelState::kStopped));
    append(all, stopped(stop_.value()));
    return all;
  }
  std::string shutdown() {
    return told([&] { scheduler_.on_shutdown(now_, out_); });
  }
  /// The clock shows so much.
  std::string at(std::chrono::milliseconds time) {
    now_ = TimePoint(time);
    return told([&] { scheduler_.on_timer(now_, out_); });
  }
  void set_time(std::chrono::milliseconds time) { now_ = TimePoint(time); }

  /// What the last report was answered with.
  [[nodiscard]] bool answer() const noexcept { return answer_; }
  [[nodiscard]] std::optional<StopId> stop() const noexcept { return stop_; }
  [[nodiscard]] SwapId swap(char model) const { return swap_of(model).id; }
  [[nodiscard]] TicketId ticket(std::size_t number) const { return tickets_.at(number - 1); }
  [[nodiscard]] TicketState state_of(std::size_t number) const { return scheduler_.state(ticket(number)); }
  /// 0: none.
  [[nodiscard]] std::size_t position(std::size_t number) const {
    return scheduler_.position(ticket(number)).value_or(0);
  }
  /// The models of those that are queued, in the order of the queue.
  [[nodiscard]] std::string queue() const {
    std::map<std::size_t, char> places;
    for (std::size_t i = 0; i != tickets_.size(); ++i) {
      if (const auto place = scheduler_.position(tickets_[i])) places[*place] = asked_for_.at(i);
    }
    std::string text;
    for (const auto& [place, model] : places) text += model;
    return text;
  }
  [[nodiscard]] std::size_t in_flight(char model) const { return scheduler_.model_load(id(model)).in_flight; }
  [[nodiscard]] const SwapStats& stats() const { return scheduler_.stats(); }
  [[nodiscard]] std::uint64_t refused(SwapReason reason) const {
    return stats().refused[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] ModelId id(char model) const {
    return scheduler_.models().find(std::string(1, model)).value_or(ModelId{1000});
  }
  [[nodiscard]] auto& scheduler() noexcept { return scheduler_; }

 private:
  struct Swap {
    SwapId id;
    std::string evict;
  };

  static SwapSchedulerOptions options_of(const Given& given) {
    SwapSchedulerOptions options = given.options;
    for (const char each : given.models) {
      SwapModel model{.name = std::string(1, each)};
      if (const auto found = given.priority.find(each); found != given.priority.end()) model.priority = found->second;
      if (const auto found = given.limit.find(each); found != given.limit.end()) {
        model.concurrency_limit = found->second;
      }
      options.models.push_back(model);
    }
    options.planner = given.planner;
    if (!options.planner) {
      options.planner = [evict = given.evict](const ModelTable& models) {
        return std::make_shared<RelationPlanner>(models, evict, Way::kPairwise);
      };
    }
    return options;
  }

  static void append(std::string& all, const std::string& more) {
    if (!all.empty() && !more.empty()) all += ' ';
    all += more;
  }

  template <class Event>
  std::string told(const Event& event) {
    out_.clear();
    event();
    std::string all;
    for (const SwapAction& each : out_) {
      append(all, std::visit([&](const auto& action) { return text(action); }, each));
    }
    check();
    return all;
  }

  /// What holds after any event.
  void check() const {
    const SwapStats& stats = scheduler_.stats();
    std::uint64_t refused = 0;
    for (const std::uint64_t each : stats.refused) refused += each;
    CHECK(stats.arrived == stats.queued + stats.joined + stats.in_flight + stats.served + stats.grants_refused +
                               stats.cancelled + refused);
    CHECK(stats.queued == scheduler_.queued());
  }

  std::string text(const StartSwap& action) {
    const std::string evict = letters(out_.models(action.evict));
    swaps_[letter(action.target)] = {action.swap, without_spaces(evict)};
    return std::string("S ") + letter(action.target) + (evict.empty() ? "" : '[' + evict + ']');
  }
  std::string text(const CancelSwap& action) { return std::string("C ") + letter(action.target); }
  std::string text(const GrantTicket& action) { return "G " + number(action.ticket); }
  std::string text(const RejectTicket& action) {
    return "E " + number(action.ticket) + ' ' + std::string(to_string(action.reason));
  }
  std::string text(const StopModels& action) { return "stop[" + letters(out_.models(action.models)) + ']'; }
  std::string text(const WakeAt& action) {
    if (action.when == TimePoint::max()) return "wake never";
    const auto time = std::chrono::duration_cast<std::chrono::milliseconds>(action.when.time_since_epoch());
    return "wake " + std::to_string(time.count());
  }

  [[nodiscard]] char letter(ModelId model) const { return scheduler_.models().name(model).front(); }
  [[nodiscard]] std::string letters(std::span<const ModelId> models) const {
    std::string all;
    for (const ModelId each : models) append(all, std::string(1, letter(each)));
    return all;
  }
  static std::string without_spaces(std::string text) {
    std::erase(text, ' ');
    return text;
  }
  [[nodiscard]] std::string number(TicketId ticket) const {
    const auto found = std::find(tickets_.begin(), tickets_.end(), ticket);
    return std::to_string(found - tickets_.begin() + 1);
  }
  [[nodiscard]] const Swap& swap_of(char model) const { return swaps_.at(model); }

  typename Way::Scheduler scheduler_;
  SwapActions out_;
  TimePoint now_{};
  std::vector<TicketId> tickets_;
  std::string asked_for_;
  std::map<char, Swap> swaps_;  // the newest of each target
  std::optional<StopId> stop_;
  bool answer_ = false;
};

}  // namespace penstock::testing
