// SPDX-License-Identifier: MIT
#include "penstock/core/detail/block_cache.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BLOCKS_ARE_CACHED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define BLOCKS_ARE_CACHED 0
#endif
#endif
#if !defined(BLOCKS_ARE_CACHED)
#define BLOCKS_ARE_CACHED 1
#endif

namespace penstock {
namespace {

using detail::allocate_block;
using detail::free_block;
using detail::kBlockStep;
using detail::kLargestBlock;

constexpr std::size_t kSizes[] = {1, 64, 127, 128, 129, 200, 256, 300, 384, 500, 512, 513, 4096};

TEST_CASE("Block cache: blocks are aligned, large enough and apart", "[core][block_cache]") {
  for (const std::size_t bytes : kSizes) {
    INFO(bytes);
    std::vector<void*> blocks;
    for (int i = 0; i < 100; ++i) {
      blocks.push_back(allocate_block(bytes));
      std::memset(blocks.back(), i, bytes);
    }
    bool intact = true;
    for (int i = 0; i < 100; ++i) {
      const auto* const first = static_cast<const unsigned char*>(blocks[static_cast<std::size_t>(i)]);
      intact = intact && reinterpret_cast<std::uintptr_t>(first) % kBlockStep == 0;
      intact = intact && std::all_of(first, first + bytes, [i](unsigned char byte) { return byte == i; });
    }
    CHECK(intact);
    for (void* const block : blocks) free_block(block, bytes);
  }
}

TEST_CASE("Block cache: many threads pass blocks around", "[core][block_cache]") {
  std::vector<void*> blocks(10'000);
  for (const std::size_t bytes : {std::size_t{100}, kLargestBlock}) {
    std::thread([&] {
      for (void*& block : blocks) {
        block = allocate_block(bytes);
        std::memset(block, 1, bytes);
      }
    }).join();
    std::vector<std::thread> enders;
    for (std::size_t part = 0; part < 4; ++part) {
      enders.emplace_back([&, part] {
        for (std::size_t i = part; i < blocks.size(); i += 4) free_block(blocks[i], bytes);
      });
    }
    for (std::thread& ender : enders) ender.join();
  }
  CHECK(std::set<void*>(blocks.begin(), blocks.end()).size() == blocks.size());
}

// Its end frees blocks, and takes some, when everything of the thread may be gone already.
struct AtThreadEnd {
  ~AtThreadEnd() {
    free_block(block, 100);
    void* const last = allocate_block(100);
    std::memset(last, 1, 100);
    free_block(last, 100);
  }
  void* block = nullptr;
};

TEST_CASE("Block cache: blocks come and go while a thread ends", "[core][block_cache]") {
  for (int i = 0; i < 10; ++i) {
    std::thread([] {
      thread_local AtThreadEnd at_end;  // made before the thread's cache, so destroyed after it
      at_end.block = allocate_block(100);
    }).join();
  }
  SUCCEED();
}

#if BLOCKS_ARE_CACHED

TEST_CASE("Block cache: a freed block is the next one of its size", "[core][block_cache]") {
  for (std::size_t size = kBlockStep; size <= kLargestBlock; size += kBlockStep) {
    void* const block = allocate_block(size);
    free_block(block, size);
    void* const again = allocate_block(size - kBlockStep + 1);  // the least of the same size
    CHECK(again == block);
    free_block(again, size - kBlockStep + 1);
  }
}

TEST_CASE("Block cache: one that a thread frees again and again allocates nothing", "[core][block_cache]") {
  std::vector<void*> blocks(40);  // more than a magazine
  const auto round = [&blocks] {
    for (void*& block : blocks) block = allocate_block(100);
    for (void* const block : blocks) free_block(block, 100);
  };
  round();
  const testing::Allocations before = testing::Allocations::now();
  for (int i = 0; i < 100; ++i) round();
  CHECK(testing::Allocations::now().count - before.count == 0);
}

TEST_CASE("Block cache: what one thread frees serves the others", "[core][block_cache]") {
  std::vector<void*> blocks(320);  // ten magazines
  for (void*& block : blocks) block = allocate_block(300);
  std::set<void*> freed(blocks.begin(), blocks.end());
  std::thread([&blocks] {
    for (void* const block : blocks) free_block(block, 300);
  }).join();  // its end gives all of it to the depot
  std::size_t known = 0;
  for (void*& block : blocks) {
    block = allocate_block(300);
    known += freed.count(block);
  }
  CHECK(known >= blocks.size() - 2 * 32);
  for (void* const block : blocks) free_block(block, 300);
}

TEST_CASE("Block cache: large blocks are not kept", "[core][block_cache]") {
  free_block(allocate_block(kLargestBlock + 1), kLargestBlock + 1);
  const testing::Allocations before = testing::Allocations::now();
  free_block(allocate_block(kLargestBlock + 1), kLargestBlock + 1);
  CHECK(testing::Allocations::now().count - before.count == 1);
}

#endif

}  // namespace
}  // namespace penstock
