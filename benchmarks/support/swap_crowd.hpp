// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "support/swap_world.hpp"

namespace bench {

/// A `SwapWorld` that stays as it is, so that it can be measured for as long as need be: for whoever leaves the queue
/// another one comes.
template <class Scheduler>
class SwapCrowd : public SwapWorld<Scheduler> {
 public:
  using typename SwapWorld<Scheduler>::Ticket;
  using SwapWorld<Scheduler>::busy;
  using SwapWorld<Scheduler>::mixer;
  using SwapWorld<Scheduler>::models;
  using SwapWorld<Scheduler>::scheduler;
  using SwapWorld<Scheduler>::waiting;

  SwapCrowd(std::size_t count, std::size_t queued) : SwapWorld<Scheduler>(count), places_(count) {
    this->fill(queued);
    for (std::size_t place = 0; place != queued; ++place) places_[waiting[place].model].push_back(place);
    for (std::size_t left = queued / 4 + 16; left != 0; --left) later_.push_back(this->random_model(0));
  }

  [[nodiscard]] std::uint32_t up() const { return up_; }

  struct Chosen {
    Ticket ticket;
    std::size_t place;
  };
  std::vector<Chosen> chosen;

  /// `chosen` is one of each of so many equal parts of the queue, at random.
  void choose(std::size_t parts) {
    chosen.clear();
    for (std::size_t part = 0; part != parts; ++part) {
      const std::size_t first = waiting.size() * part / parts;
      const std::size_t place = first + mixer.below(waiting.size() * (part + 1) / parts - first);
      chosen.push_back({waiting[place].ticket, place});
    }
  }
  /// These have gone; others come for the same models.
  void replace_chosen() {
    for (const Chosen& each : chosen) {
      waiting[each.place].ticket = scheduler.request(waiting[each.place].model);
    }
  }

  /// The swap to `target` is over: `busy` is who has waited for it. As many others come: for models that were up
  /// lately, and not just the last one, or the queue would be sorted by model after a while. Returns: how many.
  std::size_t turn(std::uint32_t target) {
    later_.insert(later_.end(), busy.size(), up_);
    busy.clear();
    up_ = target;
    std::swap(places_[target], free_);
    for (const std::size_t place : free_) busy.push_back(waiting[place].ticket);
    for (const Ticket& ticket : busy) require(scheduler.is_granted(ticket), "who waited for the swap is not granted");
    for (const std::size_t place : free_) {
      std::size_t at = mixer.below(later_.size());
      while (later_[at] == up_) at = mixer.below(later_.size());
      const std::uint32_t model = std::exchange(later_[at], later_.back());
      later_.pop_back();
      waiting[place] = {scheduler.request(model), model};
      places_[model].push_back(place);
    }
    free_.clear();
    return busy.size();
  }

 private:
  std::vector<std::vector<std::size_t>> places_;  // in `waiting`, of those who wait for each model
  std::vector<std::size_t> free_;
  std::vector<std::uint32_t> later_;  // models of which requests will come
  std::uint32_t up_ = 0;
};

}  // namespace bench
