// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace bench {

inline void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

/// Numbers without a pattern, the same ones each time (Vigna's SplitMix64).
class Mixer {
 public:
  /// Below `bound`.
  std::uint32_t below(std::size_t bound) {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return static_cast<std::uint32_t>((z >> 32) * bound >> 32);
  }

 private:
  std::uint64_t state_ = 1;
};

/// Models that take turns, of which 0 is ready at first, and kept busy by a request of its own; so all who ask for
/// others wait. One more model, the bystander, is ready and in nobody's way.
///
/// `Scheduler` is
///
///     explicit Scheduler(std::size_t models);      // 0, 1, ...; and the bystander
///     Ticket request(std::uint32_t model);         // granted at once, or later, or never
///     bool is_granted(const Ticket& ticket);
///     void serve_done(const Ticket& ticket);       // of one that was granted
///     void cancel(const Ticket& ticket);           // of one that waits in the queue
///     std::size_t position(const Ticket& ticket);  // in the queue, from 1 on
///     std::optional<std::uint32_t> begun();        // the target of the swap that was begun last, told once
///     void swap_done(std::uint32_t target);        // that swap has succeeded: its victims have stopped, it is ready
template <class Scheduler>
struct SwapWorld {
  using Ticket = decltype(std::declval<Scheduler&>().request(0));
  struct Waiting {
    Ticket ticket;
    std::uint32_t model;
  };

  explicit SwapWorld(std::size_t count) : models(count), scheduler(count) {
    bring_up(bystander());
    scheduler.serve_done(busy.back());
    busy.clear();
    bring_up(0);
  }

  [[nodiscard]] std::uint32_t bystander() const { return static_cast<std::uint32_t>(models); }
  /// Any but `other` and the bystander.
  std::uint32_t random_model(std::uint32_t other) {
    const std::uint32_t model = mixer.below(models - 1);
    return model + (model >= other ? 1 : 0);
  }

  void bring_up(std::uint32_t model) {
    busy.push_back(scheduler.request(model));
    require(scheduler.begun() == model, "no swap was begun");
    scheduler.swap_done(model);
    require(scheduler.is_granted(busy.back()), "the request that the swap was for is not granted");
  }

  /// So many requests for any but model 0 come and wait.
  void fill(std::size_t queued) {
    waiting.reserve(queued);
    for (; waiting.size() != queued; waiting.back().ticket = scheduler.request(waiting.back().model)) {
      waiting.push_back({{}, random_model(0)});
    }
    require(!scheduler.begun(), "a swap was begun, although a request is served");
  }

  std::size_t models;
  Scheduler scheduler;
  Mixer mixer = {};
  std::vector<Waiting> waiting = {};
  std::vector<Ticket> busy = {};  // of the model that serves
};

}  // namespace bench
