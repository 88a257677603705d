// SPDX-License-Identifier: MIT
#include "penstock/swap/swap_simulator.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <stdexcept>
#include <utility>

#include "penstock/core/detail/option_text.hpp"
#include "simulated_backend.hpp"
#include "simulated_load.hpp"
#include "simulated_waits.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::draw;
using detail::RandomUnit;
using What = detail::SimulationAgenda::What;

constexpr std::uint32_t kTrace = std::numeric_limits<std::uint32_t>::max();  // in place of a workload

/// One simulation, from its beginning to its end.
class Simulator {
 public:
  explicit Simulator(const SwapSimulation& simulation)
      : simulation_(simulation),
        models_(simulation.scheduler.models),
        decide_(simulation.decide),
        backend_(simulation, models_, agenda_, [this](std::uint32_t model) { break_all(model); }),
        serving_(models_.size()),
        waits_(models_, simulation.scheduler.tenants) {
    if (!decide_) {
      scheduler_ = std::make_unique<SwapScheduler>(simulation.scheduler);
      decide_ = [this](const SwapEvent& event, TimePoint now, SwapActions& out) {
        return apply(*scheduler_, event, now, out);
      };
    }
    plan_arrivals();
  }

  SwapSimulationReport run() {
    const TimePoint end{simulation_.duration};
    detail::SimulationAgenda::Entry entry{};
    while (agenda_.pop(end, entry)) {
      now_ = entry.at;
      happen(entry);
      tell_reports();
    }
    now_ = end;
    SwapSimulationReport report;
    report.events = events_;
    report.longest_service = longest_service_;
    backend_.add_to(report, end);
    for (const Request& request : requests_) {
      if (request.state == State::kWaits && is_counted(request))
        waits_.waits(request.model, request.tenant, end - request.arrival);
    }
    waits_.add_to(report);
    if (simulation_.shut_down) {
      tell(ShutdownEvent{});
      tell_reports();
    }
    return report;
  }

 private:
  enum class State : std::uint8_t { kFree, kWaits, kServed };
  struct Request {
    TimePoint arrival;
    Duration service{};
    TicketId ticket{};
    std::uint32_t workload = 0;
    std::uint32_t model = 0;
    std::uint32_t tenant = 0;
    std::uint32_t round = 0;
    std::uint32_t place = 0;  // among those that its model serves
    State state = State::kFree;
    bool is_gone = false;
  };
  struct Stream {
    RandomUnit arrivals{0};
    RandomUnit requests{0};
  };

  void plan_arrivals() {
    for (std::uint32_t i = 0; i != simulation_.workloads.size(); ++i) {
      const SwapWorkload& load = simulation_.workloads[i];
      streams_.push_back(
          {detail::random_stream(simulation_.seed, i, 1), detail::random_stream(simulation_.seed, i, 2)});
      of_workload_.push_back(static_cast<std::uint32_t>(*models_.find(load.model)));
      if (const auto* poisson = std::get_if<PoissonArrivals>(&load.arrivals)) {
        plan_poisson(i, *poisson, TimePoint(poisson->from));
      } else if (const auto* bursts = std::get_if<BurstArrivals>(&load.arrivals)) {
        agenda_.plan(TimePoint(bursts->from), What::kBurst, i);
      } else {
        const auto& loop = std::get<ClosedLoop>(load.arrivals);
        for (std::size_t client = 0; client != loop.clients; ++client) plan_client(i, loop, TimePoint());
      }
    }
    for (std::uint32_t i = 0; i != simulation_.trace.size(); ++i) {
      agenda_.plan(TimePoint(simulation_.trace[i].at), What::kTraced, i);
    }
  }
  void plan_poisson(std::uint32_t workload, const PoissonArrivals& poisson, TimePoint after) {
    const double seconds = detail::exponential(streams_[workload].arrivals) / poisson.per_second;
    const TimePoint at = saturated_add(after, saturated(std::chrono::duration<double>(seconds)));
    if (at.time_since_epoch() < poisson.until) agenda_.plan(at, What::kArrival, workload);
  }
  void plan_client(std::uint32_t workload, const ClosedLoop& loop, TimePoint after) {
    agenda_.plan(saturated_add(after, draw(loop.think, streams_[workload].arrivals)), What::kArrival, workload);
  }
  void plan_burst(std::uint32_t workload) {
    const auto& bursts = std::get<BurstArrivals>(simulation_.workloads[workload].arrivals);
    if (now_.time_since_epoch() >= bursts.until) return;
    for (std::size_t i = 0; i != bursts.size; ++i) {
      const double part = streams_[workload].arrivals.next();
      const auto after = Duration(static_cast<Duration::rep>(part * static_cast<double>(bursts.within.count())));
      agenda_.plan(saturated_add(now_, after), What::kArrival, workload);
    }
    agenda_.plan(saturated_add(now_, bursts.every), What::kBurst, workload);
  }

  void happen(const detail::SimulationAgenda::Entry& entry) {
    switch (entry.what) {
      case What::kArrival:
        return arrive(entry.of);
      case What::kBurst:
        return plan_burst(entry.of);
      case What::kTraced:
        return arrive_traced(simulation_.trace[entry.of]);
      case What::kServed:
        return serve_done(entry.of, entry.round);
      case What::kPatience:
        return cancel(entry.of, entry.round);
      case What::kProcess:
        return backend_.on_process(entry.of, entry.round, now_);
      case What::kCrash:
        return backend_.on_crash(entry.of, entry.round, now_);
      case What::kWake:
        if (entry.round == wake_) tell(TimerEvent{});
    }
  }

  void arrive(std::uint32_t workload) {
    const SwapWorkload& load = simulation_.workloads[workload];
    if (const auto* poisson = std::get_if<PoissonArrivals>(&load.arrivals)) plan_poisson(workload, *poisson, now_);
    RandomUnit& random = streams_[workload].requests;
    Request request;
    request.service = draw(load.service, random);
    const Duration patience = draw(load.patience, random);
    request.is_gone = load.gone_at_grant > 0 && random.next() < load.gone_at_grant;
    request.workload = workload;
    request.model = of_workload_[workload];
    ask(request, load.priority, load.tenant, patience, load.deadline);
  }
  void arrive_traced(const TracedRequest& traced) {
    Request request;
    request.service = traced.service;
    request.workload = kTrace;
    request.model = static_cast<std::uint32_t>(*models_.find(traced.model));
    ask(request, traced.priority, traced.tenant, traced.patience, traced.deadline);
  }

  void ask(Request request, std::int32_t priority, TenantId tenant, Duration patience, Duration deadline) {
    if (free_.empty()) {
      free_.push_back(static_cast<std::uint32_t>(requests_.size()));
      requests_.emplace_back();
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    request.round = requests_[index].round;
    request.arrival = now_;
    request.tenant = static_cast<std::uint32_t>(tenant);
    request.state = State::kWaits;
    requests_[index] = request;
    if (is_counted(request)) waits_.arrived(request.model, request.tenant);
    asking_ = index;
    tell(RequestEvent{{.model = ModelId{request.model},
                       .priority = priority,
                       .tenant = tenant,
                       .deadline = deadline == Duration::max() ? TimePoint::max() : saturated_add(now_, deadline)}});
    if (requests_[index].round == request.round && requests_[index].state == State::kWaits) {
      agenda_.plan(saturated_add(now_, patience), What::kPatience, index, request.round);
    }
  }

  /// Tells the scheduler, and does what it wants done.
  std::uint64_t tell(const SwapEvent& event) {
    actions_.clear();
    const std::uint64_t result = decide_(event, now_, actions_);
    ++events_;
    if (simulation_.observer != nullptr) simulation_.observer->on_decision(event, now_, result, actions_, 0);
    if (event.index() == 0) {
      const auto slot = static_cast<std::uint32_t>(result);
      if (slot >= by_slot_.size()) by_slot_.resize(std::max<std::size_t>(slot + std::size_t{1}, 2 * by_slot_.size()));
      by_slot_[slot] = asking_;
      requests_[asking_].ticket = TicketId{result};
    }
    for (const SwapAction& action : actions_) std::visit([this](const auto& what) { carry_out(what); }, action);
    return result;
  }
  void tell_reports() {
    while (!backend_.reports.empty()) {
      const SwapEvent event = backend_.reports.front();
      backend_.reports.pop_front();
      tell(event);
    }
  }

  void carry_out(const StartSwap& swap) { backend_.start(swap, actions_.models(swap.evict), now_); }
  void carry_out(const CancelSwap& swap) { backend_.call_off(swap, now_); }
  void carry_out(const StopModels& stop) { backend_.stop(stop, actions_.models(stop.models), now_); }
  void carry_out(const WakeAt& wake) { agenda_.plan(std::max(wake.when, now_), What::kWake, 0, ++wake_); }
  void carry_out(const GrantTicket& grant) {
    const std::uint32_t index = by_slot_[static_cast<std::uint32_t>(grant.ticket)];
    Request& request = requests_[index];
    if (is_counted(request)) waits_.granted(request.model, request.tenant, now_ - request.arrival);
    if (request.is_gone) {
      if (is_counted(request)) waits_.count(request.model, request.tenant, &SimulatedRequests::gone);
      backend_.reports.emplace_back(GrantRefusedEvent{request.ticket});
      return release(index);
    }
    if (!backend_.is_ready(request.model)) return break_one(index);
    request.state = State::kServed;
    request.place = static_cast<std::uint32_t>(serving_[request.model].size());
    serving_[request.model].push_back(index);
    longest_service_ = std::max(longest_service_, request.service);
    agenda_.plan(saturated_add(now_, request.service), What::kServed, index, ++request.round);
  }
  void carry_out(const RejectTicket& reject) {
    const std::uint32_t index = by_slot_[static_cast<std::uint32_t>(reject.ticket)];
    const Request& request = requests_[index];
    if (is_counted(request)) waits_.refused(request.model, request.tenant, reject.reason);
    release(index);
  }

  void serve_done(std::uint32_t index, std::uint32_t round) {
    Request& request = requests_[index];
    if (request.round != round) return;
    std::vector<std::uint32_t>& serving = serving_[request.model];
    requests_[serving.back()].place = request.place;
    serving[request.place] = serving.back();
    serving.pop_back();
    if (is_counted(request)) waits_.count(request.model, request.tenant, &SimulatedRequests::served);
    const TicketId ticket = request.ticket;
    release(index);
    tell(ServeDoneEvent{ticket});
  }
  void cancel(std::uint32_t index, std::uint32_t round) {
    const Request& request = requests_[index];
    if (request.round != round || request.state != State::kWaits) return;
    if (is_counted(request)) waits_.count(request.model, request.tenant, &SimulatedRequests::cancelled);
    const TicketId ticket = request.ticket;
    release(index);
    tell(CancelEvent{ticket});
  }
  void break_all(std::uint32_t model) {
    const std::vector<std::uint32_t> broken = std::exchange(serving_[model], {});
    for (const std::uint32_t index : broken) break_one(index);
  }
  void break_one(std::uint32_t index) {
    const Request& request = requests_[index];
    if (is_counted(request)) waits_.count(request.model, request.tenant, &SimulatedRequests::broken);
    backend_.reports.emplace_back(ServeDoneEvent{request.ticket});
    release(index);
  }
  /// The request has ended, and its place is free. A client of a closed loop thinks.
  void release(std::uint32_t index) {
    Request& request = requests_[index];
    request.state = State::kFree;
    ++request.round;
    free_.push_back(index);
    if (request.workload == kTrace) return;
    const Arrivals& arrivals = simulation_.workloads[request.workload].arrivals;
    if (const auto* loop = std::get_if<ClosedLoop>(&arrivals)) plan_client(request.workload, *loop, now_);
  }
  [[nodiscard]] bool is_counted(const Request& request) const {
    return request.arrival.time_since_epoch() >= simulation_.warm_up;
  }

  const SwapSimulation& simulation_;
  const ModelTable models_;
  std::unique_ptr<SwapScheduler> scheduler_;
  SwapDecide decide_;
  detail::SimulationAgenda agenda_;
  detail::SimulatedBackend backend_;
  std::vector<Stream> streams_;
  std::vector<std::uint32_t> of_workload_;  // the model
  std::vector<Request> requests_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> by_slot_;  // the lower half of a ticket's id is its slot in the scheduler
  std::vector<std::vector<std::uint32_t>> serving_;
  detail::SimulatedWaits waits_;
  SwapActions actions_;
  TimePoint now_{};
  std::uint32_t asking_ = 0;
  std::uint32_t wake_ = 0;
  std::uint64_t events_ = 0;
  Duration longest_service_{};
};

}  // namespace

SwapSimulationReport simulate(const SwapSimulation& simulation) {
  if (const absl::Status status = simulation.validate(); !status.ok()) {
    throw std::invalid_argument(std::string(detail::text_of(status)));
  }
  return Simulator(simulation).run();
}

}  // namespace penstock::inline PENSTOCK_ABI
