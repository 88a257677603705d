// SPDX-License-Identifier: MIT

// WorkQueue, and groups of them, against a list that keeps the same order.

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>
#include <vector>

#include "penstock/core/executor.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

struct Piece : Work {
  Piece() noexcept : Work([](Work&) noexcept {}) {}
};

std::vector<Work*> drained(WorkQueue& queue) {
  std::vector<Work*> all;
  while (Work* const work = queue.pop()) all.push_back(work);
  return all;
}

TEST_CASE("WorkQueue: all of a queue goes to the end of another one of its group", "[core][executor]") {
  std::array<Piece, 4> pieces;
  WorkQueue incoming;
  WorkQueue next(&incoming);
  next.append(incoming);
  CHECK(next.empty());
  incoming.push(pieces[0]);
  incoming.push(pieces[1]);
  next.append(incoming);
  CHECK(incoming.empty());
  incoming.push(pieces[2]);
  next.append(incoming);
  incoming.push(pieces[3]);
  CHECK(drained(next) == std::vector<Work*>{&pieces[0], &pieces[1], &pieces[2]});
  CHECK(drained(incoming) == std::vector<Work*>{&pieces[3]});
}

TEST_CASE("WorkQueue: a queue of its own does not remove what is in another one", "[core][executor]") {
  Piece piece;
  WorkQueue queue;
  WorkQueue other;
  queue.push(piece);
  CHECK_FALSE(other.remove(piece));
  CHECK(queue.remove(piece));
  CHECK_FALSE(queue.remove(piece));
}

// Everything that a group can do, in any order: whatever is removed, both queues keep what is left, in order.
TEST_CASE("WorkQueue: a group keeps its order whatever is removed from it", "[core][executor]") {
  constexpr std::size_t kPieces = 6;
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::array<Piece, kPieces> pieces;
    WorkQueue incoming;
    WorkQueue next(&incoming);
    std::vector<Work*> incoming_model;
    std::vector<Work*> next_model;
    std::size_t pushed = 0;
    for (int step = 0; step < 24; ++step) {
      switch (random() % 4) {
        case 0:
          if (pushed == kPieces) break;
          incoming.push(pieces[pushed]);
          incoming_model.push_back(&pieces[pushed++]);
          break;
        case 1:
          next.append(incoming);
          next_model.insert(next_model.end(), incoming_model.begin(), incoming_model.end());
          incoming_model.clear();
          break;
        case 2: {
          Work* const expected = next_model.empty() ? nullptr : next_model.front();
          REQUIRE(next.pop() == expected);
          if (expected != nullptr) next_model.erase(next_model.begin());
          break;
        }
        default: {
          Piece& piece = pieces[random() % kPieces];
          const bool is_in = std::erase(incoming_model, &piece) + std::erase(next_model, &piece) != 0;
          REQUIRE(incoming.contains(piece) == is_in);
          REQUIRE((incoming.remove(piece) || next.remove(piece)) == is_in);
          REQUIRE_FALSE(next.contains(piece));
        }
      }
      REQUIRE(incoming.empty() == incoming_model.empty());
      REQUIRE(next.empty() == next_model.empty());
    }
    REQUIRE(drained(next) == next_model);
    REQUIRE(drained(incoming) == incoming_model);
  }
}

}  // namespace
}  // namespace penstock
