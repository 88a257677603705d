// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstdint>
#include <random>
#include <tuple>
#include <vector>

#include "penstock/swap/detail/ranked_queue.hpp"
#include "support/catch.hpp"

namespace {

// Elements with keys of two parts, as those of requests are: what counts, and the order of arrival.
struct Elements {
  using Key = std::tuple<int, std::uint64_t>;

  std::vector<Key> keys;
  std::vector<std::uint32_t> leaves;

  std::uint32_t add(int priority) {
    keys.emplace_back(-priority, keys.size());
    leaves.push_back(0);
    return static_cast<std::uint32_t>(keys.size() - 1);
  }
  [[nodiscard]] const Key& key(std::uint32_t element) const { return keys[element]; }
  [[nodiscard]] std::uint32_t& leaf(std::uint32_t element) { return leaves[element]; }
  [[nodiscard]] std::uint32_t leaf(std::uint32_t element) const { return leaves[element]; }
};

using Queue = penstock::detail::RankedQueue<Elements>;

std::uint32_t insert(Queue& queue, Elements& elements, int priority) {
  const std::uint32_t element = elements.add(priority);
  queue.reserve_one();
  queue.insert(elements, element);
  return element;
}

std::vector<std::uint32_t> all(const Queue& queue) {
  std::vector<std::uint32_t> result;
  queue.each([&](std::uint32_t element) {
    result.push_back(element);
    return true;
  });
  return result;
}

// Where ranks, order and size are those of a sorted vector.
bool agrees(const Queue& queue, const Elements& elements, const std::vector<std::uint32_t>& expected) {
  if (queue.size() != expected.size() || all(queue) != expected) return false;
  for (std::size_t at = 0; at != expected.size(); ++at)
    if (queue.rank(elements, expected[at]) != at) return false;
  return queue.empty() || queue.first() == expected.front();
}

}  // namespace

TEST_CASE("RankedQueue: each knows how many come before it", "[swap][ranked_queue]") {
  Elements elements;
  Queue queue;
  const std::uint32_t low = insert(queue, elements, 1);
  const std::uint32_t high = insert(queue, elements, 10);
  const std::uint32_t middle = insert(queue, elements, 5);
  const std::uint32_t late = insert(queue, elements, 5);

  CHECK(queue.first() == high);
  CHECK(queue.rank(elements, high) == 0);
  CHECK(queue.rank(elements, middle) == 1);
  CHECK(queue.rank(elements, late) == 2);
  CHECK(queue.rank(elements, low) == 3);

  queue.erase(elements, middle);
  CHECK(queue.rank(elements, late) == 1);
  CHECK(queue.size() == 3);
}

TEST_CASE("RankedQueue: under random changes it is a sorted list", "[swap][ranked_queue]") {
  const int priorities = GENERATE(1, 2, 1000000);  // always at the end, at two ends, anywhere
  const std::size_t most = GENERATE(as<std::size_t>{}, 40, 600, 5000);
  CAPTURE(priorities, most);
  std::mt19937 random(static_cast<std::uint32_t>(priorities) + static_cast<std::uint32_t>(most));
  Elements elements;
  Queue queue;
  std::vector<std::uint32_t> expected;
  bool grows = true;
  for (int step = 0; step != 40000; ++step) {
    if (expected.size() == most) grows = false;
    if (expected.empty()) grows = true;
    if (random() % 10 < (grows ? 7U : 3U)) {
      const std::uint32_t element =
          insert(queue, elements, static_cast<int>(random() % static_cast<unsigned>(priorities)));
      const auto before = [&](std::uint32_t a, std::uint32_t b) { return elements.keys[a] < elements.keys[b]; };
      expected.insert(std::upper_bound(expected.begin(), expected.end(), element, before), element);
    } else if (!expected.empty()) {
      // From the front as a queue does, or anywhere as cancels do.
      const std::size_t at = step % 3 == 0 ? 0 : random() % expected.size();
      REQUIRE(queue.rank(elements, expected[at]) == at);
      queue.erase(elements, expected[at]);
      expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (step % 1000 == 0) REQUIRE(agrees(queue, elements, expected));
  }
  REQUIRE(agrees(queue, elements, expected));
  while (!expected.empty()) {
    queue.erase(elements, expected.back());
    expected.pop_back();
  }
  CHECK(queue.empty());
  insert(queue, elements, 3);
  CHECK(queue.size() == 1);
}

TEST_CASE("RankedQueue: a copy goes its own way", "[swap][ranked_queue]") {
  Elements elements;
  Queue queue;
  std::vector<std::uint32_t> expected;
  for (int at = 0; at != 500; ++at) expected.push_back(insert(queue, elements, 0));

  Elements other_elements = elements;
  Queue other = queue;
  for (const std::uint32_t element : expected) queue.erase(elements, element);

  CHECK(queue.empty());
  CHECK(agrees(other, other_elements, expected));
}

TEST_CASE("RankedQueue: what was appended takes 5 bytes each, and what has left is used again",
          "[swap][ranked_queue]") {
  Elements elements;
  Queue queue;
  constexpr std::size_t kMany = 100'000;
  for (std::size_t at = 0; at != kMany; ++at) insert(queue, elements, 0);
  CHECK(queue.memory_bytes() <= 6 * kMany);

  const std::size_t before = queue.memory_bytes();
  for (std::uint32_t at = 0; at != kMany; ++at) {
    queue.erase(elements, at);
    insert(queue, elements, 0);
  }
  CHECK(queue.memory_bytes() <= before + before / 20);
}
