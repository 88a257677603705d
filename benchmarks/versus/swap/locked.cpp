// SPDX-License-Identifier: MIT
// What one writes by hand: the queue is a std::deque under a std::mutex, which is gone through whenever something ends,
// and each request has a std::condition_variable. The set of models that run is kept, not made anew for each request.
#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "swap_service_workloads.hpp"
#include "swap_workloads.hpp"

namespace {

class Scheduler {
 public:
  struct Request {
    enum class State { kQueued, kJoined, kGranted, kGone };
    explicit Request(std::uint32_t of) : model(of) {}
    const std::uint32_t model;
    State state = State::kQueued;
    std::condition_variable changed;
  };
  using Ticket = std::shared_ptr<Request>;

  explicit Scheduler(std::size_t models) : models_(models + 1) { models_.back().group = 1; }

  Ticket request(std::uint32_t model) {
    auto request = std::make_shared<Request>(model);
    const std::lock_guard lock(mutex_);
    if (!passes(request)) enqueue(request);
    return request;
  }
  bool is_granted(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    return ticket->state == Request::State::kGranted;
  }
  void wait(const Ticket& ticket) {
    std::unique_lock lock(mutex_);
    ticket->changed.wait(lock, [&] { return ticket->state == Request::State::kGranted; });
  }
  void serve_done(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    ticket->state = Request::State::kGone;
    if (--models_[ticket->model].in_flight == 0) drain();
  }
  void cancel(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    if (const auto found = std::find(queue_.begin(), queue_.end(), ticket); found != queue_.end()) queue_.erase(found);
    ticket->state = Request::State::kGone;
  }
  std::size_t position(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(std::find(queue_.begin(), queue_.end(), ticket) - queue_.begin()) + 1;
  }
  std::optional<std::uint32_t> begun() {
    const std::lock_guard lock(mutex_);
    return std::exchange(begun_, std::nullopt);
  }
  void swap_done(std::uint32_t target) {
    const std::lock_guard lock(mutex_);
    const auto found = active_.find(target);
    const Swap swap = std::move(found->second);
    active_.erase(found);
    for (const std::uint32_t evicted : swap.evict) {
      models_[evicted].is_ready = false;
      std::erase(live_, evicted);
    }
    models_[target].is_ready = true;
    for (const Ticket& waiter : swap.waiters) grant(waiter);
    drain();
  }

 private:
  struct Group {
    bool swaps;
    bool is_exclusive;
    bool is_persistent;
  };
  struct Model {
    std::size_t group = 0;
    std::int32_t priority = 0;
    std::size_t in_flight = 0;
    bool is_ready = false;
  };
  struct Swap {
    std::vector<std::uint32_t> evict;
    std::vector<Ticket> waiters;
  };

  [[nodiscard]] bool evicts(std::size_t target, std::size_t other) const {
    if (target == other) return groups_[target].swaps;
    return groups_[target].is_exclusive && !groups_[other].is_persistent;
  }

  [[nodiscard]] bool collides(std::uint32_t target) const {
    const auto contains = [](const std::vector<std::uint32_t>& all, std::uint32_t each) {
      return std::find(all.begin(), all.end(), each) != all.end();
    };
    for (const auto& [other, swap] : active_) {
      if (contains(evict_, other) || contains(swap.evict, target)) return true;
      for (const std::uint32_t each : evict_) {
        if (contains(swap.evict, each)) return true;
      }
    }
    return false;
  }

  bool passes(const Ticket& request) {
    const std::uint32_t target = request->model;
    if (const auto found = active_.find(target); found != active_.end()) {
      request->state = Request::State::kJoined;
      found->second.waiters.push_back(request);
      return true;
    }
    evict_.clear();
    for (const std::uint32_t each : live_) {
      if (each != target && evicts(models_[target].group, models_[each].group)) evict_.push_back(each);
    }
    if (collides(target)) return false;
    if (evict_.empty() && models_[target].is_ready) {
      grant(request);
      return true;
    }
    for (const std::uint32_t each : evict_) {
      if (models_[each].in_flight > 0) return false;
    }
    request->state = Request::State::kJoined;
    active_.emplace(target, Swap{evict_, {request}});
    live_.insert(std::lower_bound(live_.begin(), live_.end(), target), target);
    begun_ = target;
    return true;
  }

  void grant(const Ticket& request) {
    request->state = Request::State::kGranted;
    ++models_[request->model].in_flight;
    request->changed.notify_one();
  }

  void enqueue(Ticket request) {
    auto at = queue_.end();
    while (at != queue_.begin() && models_[(*std::prev(at))->model].priority < models_[request->model].priority) --at;
    queue_.insert(at, std::move(request));
  }

  void drain() {
    std::erase_if(queue_, [this](const Ticket& request) { return passes(request); });
  }

  std::mutex mutex_;
  std::vector<Group> groups_ = {{true, false, false}, {false, false, true}};
  std::vector<Model> models_;
  std::deque<Ticket> queue_;
  std::unordered_map<std::uint32_t, Swap> active_;  // by target
  std::vector<std::uint32_t> live_;                 // those that run, or that a swap brings up, in ascending order
  std::vector<std::uint32_t> evict_;
  std::optional<std::uint32_t> begun_;
};

/// Whoever lets a swap begin carries it out.
class Service {
 public:
  explicit Service(std::size_t models) : scheduler_(models) {}

  template <class Work>
  void serve(std::uint32_t model, Work work) {
    const Scheduler::Ticket ticket = scheduler_.request(model);
    swap();
    scheduler_.wait(ticket);
    work();
    scheduler_.serve_done(ticket);
    swap();
  }

 private:
  void swap() {
    while (const std::optional<std::uint32_t> target = scheduler_.begun()) scheduler_.swap_done(*target);
  }

  Scheduler scheduler_;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::swap_workloads<Scheduler>();
  workloads.merge(versus::swap_service_workloads<Service>());
  return versus::run_program(argc, argv, workloads);
}
