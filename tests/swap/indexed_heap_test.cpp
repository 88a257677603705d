// SPDX-License-Identifier: MIT
// Heaps by number, compared with sorted lists.
#include "swap/indexed_heap.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "support/catch.hpp"
#include "swap/swap_world.hpp"

namespace penstock {
namespace {

using Heaps = detail::HeapForest<std::uint64_t>;

std::vector<std::uint32_t> items_up_to(const Heaps& heaps, std::uint32_t heap, std::uint64_t last) {
  std::vector<std::uint32_t> items;
  CHECK(heaps.find_up_to(heap, last, [&](const auto& entry) {
    items.push_back(entry.item);
    return false;
  }) == nullptr);
  std::sort(items.begin(), items.end());
  return items;
}

TEST_CASE("HeapForest: does as sorted lists would", "[swap]") {
  for (const std::size_t size : {1U, 2U, 5U, 6U, 21U, 22U, 85U, 300U}) {
    testing::Random random(size);
    std::vector<std::uint32_t> home(size + 3);
    for (std::size_t i = size; i != home.size(); ++i) home[i] = 1;  // another heap, behind it
    Heaps heaps(2, home);
    std::map<std::uint32_t, std::uint64_t> in;
    for (int step = 0; step != 2'000; ++step) {
      const auto item = static_cast<std::uint32_t>(random.below(size));
      if (random.chance(step % 200 < 100 ? 70 : 30)) {
        in[item] = random.below(50);
        heaps.put(item, in[item]);
      } else {
        in.erase(item);
        heaps.erase(item);
      }
      REQUIRE(heaps.empty(0) == in.empty());
      REQUIRE(heaps.all(0).size() == in.size());
      REQUIRE(heaps.empty(1));
      if (in.empty()) continue;
      const auto least = [](const auto& a, const auto& b) { return a.second < b.second; };
      REQUIRE(heaps.first(0).key == std::min_element(in.begin(), in.end(), least)->second);
      const std::uint64_t last = random.below(60);
      std::vector<std::uint32_t> expected;
      for (const auto& [each, key] : in) {
        if (heaps.key(each) != key) FAIL(each);
        if (key <= last) expected.push_back(each);
      }
      REQUIRE(items_up_to(heaps, 0, last) == expected);
    }
  }
}

}  // namespace
}  // namespace penstock
