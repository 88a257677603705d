// SPDX-License-Identifier: MIT

// Slot queues that are made, and go, in odd places: as members, and from within what they call.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "exec/slot_queue_support.hpp"
#include "penstock/exec/slot_queue_map.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using testing::acquire_in;
using testing::Number;
using testing::number;
using testing::NumberLease;
using testing::NumberQueue;
using testing::value_of;

struct Members {
  SlotQueue<int> queue{{.name = "queue"}};
  SlotQueueMap<std::string, int> map{{.name = "map"}};
};

TEST_CASE("SlotQueue: it may be a member that is set up in place", "[exec][slot_queue]") {
  Members members;
  REQUIRE(members.queue.offer(1).ok());
  REQUIRE(members.map.offer("key", 2).ok());
  CHECK(**members.queue.acquire() + **members.map.acquire("key") == 3);
}

}  // namespace
}  // namespace penstock
