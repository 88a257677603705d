// SPDX-License-Identifier: MIT
#include "penstock/core/detail/pairing_heap.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "support/catch.hpp"

namespace penstock {
namespace {

struct Element {
  int key = 0;
  int number = 0;
  detail::HeapLinks<Element> links;
  detail::HeapLinks<Element> other;
};

struct Before {
  bool operator()(const Element& a, const Element& b) const {
    return a.key != b.key ? a.key < b.key : a.number < b.number;
  }
};
struct After {
  bool operator()(const Element& a, const Element& b) const { return Before()(b, a); }
};

using Heap = detail::PairingHeap<Element, &Element::links, Before>;
using OtherHeap = detail::PairingHeap<Element, &Element::other, After>;

TEST_CASE("PairingHeap: an empty one has no first", "[core][pairing_heap]") {
  Heap heap;
  Element element;
  CHECK(heap.empty());
  CHECK(heap.first() == nullptr);
  CHECK_FALSE(Heap::contains(element));
  heap.push(element);
  CHECK(heap.size() == 1);
  CHECK(heap.first() == &element);
  CHECK(Heap::contains(element));
  heap.remove(element);
  CHECK(heap.empty());
  CHECK_FALSE(Heap::contains(element));
  heap.push(element);  // again
  CHECK(heap.first() == &element);
}

TEST_CASE("PairingHeap: gives its elements in order", "[core][pairing_heap]") {
  std::vector<Element> elements(1000);
  std::mt19937 random(1);
  Heap heap;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    elements[i].number = static_cast<int>(i);
    elements[i].key = static_cast<int>(random() % 100);
    heap.push(elements[i]);
  }
  const Element* last = nullptr;
  while (Element* const first = heap.first()) {
    if (last != nullptr) REQUIRE(Before()(*last, *first));
    heap.remove(*first);
    last = first;
  }
  CHECK(heap.empty());
}

TEST_CASE("PairingHeap: ascending and descending keys are no trouble", "[core][pairing_heap]") {
  std::vector<Element> elements(100'000);
  for (const int step : {1, -1}) {
    Heap heap;
    for (std::size_t i = 0; i < elements.size(); ++i) {
      elements[i].key = step * static_cast<int>(i);
      heap.push(elements[i]);
    }
    int last = heap.first()->key;
    while (Element* const first = heap.first()) {
      if (first->key < last) FAIL("out of order");
      last = first->key;
      heap.remove(*first);
    }
    CHECK(heap.empty());
  }
}

TEST_CASE("PairingHeap: an element may be in two at once", "[core][pairing_heap]") {
  std::vector<Element> elements(10);
  Heap heap;
  OtherHeap other;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    elements[i].key = static_cast<int>(i);
    heap.push(elements[i]);
    other.push(elements[i]);
  }
  CHECK(heap.first() == &elements.front());
  CHECK(other.first() == &elements.back());
  heap.remove(elements[4]);
  CHECK_FALSE(Heap::contains(elements[4]));
  CHECK(OtherHeap::contains(elements[4]));
  CHECK(other.size() == 10);
  CHECK(heap.size() == 9);
}

TEST_CASE("PairingHeap: does as a multiset does", "[core][pairing_heap]") {
  constexpr int kSteps = 100'000;
  std::mt19937 random(20'240'229);
  const auto roll = [&random](std::size_t sides) { return static_cast<std::size_t>(random() % sides); };
  std::vector<std::unique_ptr<Element>> queued;
  std::multiset<std::pair<int, int>> reference;
  Heap heap;
  const auto take_out = [&](std::size_t index) {
    heap.remove(*queued[index]);
    reference.erase(reference.find({queued[index]->key, queued[index]->number}));
    std::swap(queued[index], queued.back());
    queued.pop_back();
  };
  for (int step = 0; step < kSteps; ++step) {
    // It fills and empties in turns.
    const bool fills = step / 5'000 % 2 == 0;
    if (queued.empty() || roll(10) < (fills ? 6U : 4U)) {
      queued.push_back(std::make_unique<Element>());
      queued.back()->key = static_cast<int>(roll(50));
      queued.back()->number = step;
      heap.push(*queued.back());
      reference.emplace(queued.back()->key, step);
    } else if (roll(2) == 0) {
      take_out(roll(queued.size()));
    } else {
      const Element* const first = heap.first();
      take_out(static_cast<std::size_t>(
          std::find_if(queued.begin(), queued.end(), [first](const auto& one) { return one.get() == first; }) -
          queued.begin()));
    }
    if (heap.size() != reference.size()) FAIL("size after step " << step);
    if (heap.empty() != reference.empty()) FAIL("empty after step " << step);
    if (!reference.empty() && std::pair(heap.first()->key, heap.first()->number) != *reference.begin()) {
      FAIL("first after step " << step);
    }
  }
  while (!queued.empty()) take_out(0);
  CHECK(heap.empty());
  CHECK(heap.first() == nullptr);
}

}  // namespace
}  // namespace penstock
