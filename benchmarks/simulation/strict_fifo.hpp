// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap scheduler is compared with: strictly first come, first served, one model at a time.

#include <cstddef>
#include <cstdint>
#include <deque>

#include "penstock/swap/swap_event.hpp"

namespace simulation {

/// Serves the first in the line; whoever is next joins it if its model runs, and else waits until nobody is served.
class StrictFifo {
 public:
  std::uint64_t operator()(const penstock::SwapEvent& event, penstock::SwapActions& out) {
    using namespace penstock;
    std::uint64_t result = 1;
    if (const auto* request = std::get_if<RequestEvent>(&event)) {
      line_.push_back({TicketId{++tickets_}, request->request.model});
      result = tickets_;
    } else if (std::holds_alternative<ServeDoneEvent>(event)) {
      --in_flight_;
    } else if (std::holds_alternative<SwapDoneEvent>(event)) {
      is_swapping_ = false;
    }
    for (; !line_.empty() && !is_swapping_ && line_.front().model == loaded_; line_.pop_front()) {
      ++in_flight_;
      out.add(GrantTicket{line_.front().ticket, loaded_, SwapReason::kReady});
    }
    if (!line_.empty() && !is_swapping_ && in_flight_ == 0) {
      const ModelList evict = loaded_ == kNoModel ? ModelList{} : out.keep({&loaded_, 1});
      loaded_ = line_.front().model;
      is_swapping_ = true;
      out.add(StartSwap{SwapId{++swaps_}, loaded_, evict, SwapReason::kRequested});
    }
    return result;
  }

 private:
  struct Waiting {
    penstock::TicketId ticket;
    penstock::ModelId model;
  };

  std::deque<Waiting> line_;
  penstock::ModelId loaded_ = penstock::kNoModel;
  bool is_swapping_ = false;
  std::size_t in_flight_ = 0;
  std::uint64_t tickets_ = 0;
  std::uint64_t swaps_ = 0;
};

}  // namespace simulation
