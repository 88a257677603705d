// SPDX-License-Identifier: MIT
#include "model/heap.hpp"

#include <cstring>

#include "model/shadow.hpp"
#include "model/trace.hpp"
#include "model/violation.hpp"

namespace penstock::checker {

Heap heap;

struct Heap::Block {
  enum State : std::uint32_t { kLive = 0x11FEB10C, kFreed = 0xDEADB10C };

  State state;
  std::uint32_t number;  // among its thread's, from 1
  std::size_t size;
  Block* previous;  // of the same thread
  std::uint64_t padding;

  [[nodiscard]] std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(this + 1); }
};

void Heap::start(std::uint64_t fail_at) {
  for (std::uint32_t thread = 0; thread != kMaxThreads; ++thread) {
    next_[thread] = Region::heap(thread);
    last_[thread] = nullptr;
  }
  live_ = 0;
  allocations_ = 0;
  fail_at_ = fail_at;
}

void* Heap::allocate(std::uint32_t thread, std::size_t size, std::size_t alignment) {
  if (++allocations_ == fail_at_) return nullptr;
  return allocate_quietly(thread, size, alignment);
}

void* Heap::allocate_quietly(std::uint32_t thread, std::size_t size, std::size_t alignment) {
  if (alignment < 16) alignment = 16;
  const std::uintptr_t begin = (next_[thread] + sizeof(Block) + alignment - 1) & ~(alignment - 1);
  // A gap of at least eight bytes that belong to nobody, so that running off the end is seen.
  const std::uintptr_t end = (begin + size + 8 + 15) & ~std::uintptr_t{15};
  if (size > Region::kHeapBytes || end > Region::heap(thread) + Region::kHeapBytes) {
    observing = false;
    fail(Violation::Kind::kLimit, thread_label(thread) + " has allocated more than the model's heap of " +
                                      std::to_string(Region::kHeapBytes) + " bytes in one execution");
  }
  next_[thread] = end;
  auto* const block = reinterpret_cast<Block*>(begin - sizeof(Block));
  block->state = Block::kLive;
  block->size = size;
  block->previous = last_[thread];
  block->number = last_[thread] == nullptr ? 1 : last_[thread]->number + 1;
  last_[thread] = block;
  ++live_;
  void* const memory = reinterpret_cast<void*>(begin);
  // The same in every execution, for code that reads before it writes.
  std::memset(memory, 0xCD, size);
  shadow.allocate(begin, size);
  trace.note_block(thread, begin, size, true);
  return memory;
}

void Heap::free(std::uint32_t thread, void* address, bool checked) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const std::uint32_t owner = Region::thread_of(begin);
  Block* block = nullptr;
  if (Region::is_heap(begin)) {
    // Only a header that is on its thread's chain is one; headers are never overwritten, so a guess that matches the
    // state words is checked against the chain only when something is wrong already.
    block = reinterpret_cast<Block*>(begin - sizeof(Block));
    if (begin >= next_[owner] || begin < Region::heap(owner) + sizeof(Block) ||
        (block->state != Block::kLive && block->state != Block::kFreed)) {
      block = nullptr;
    }
  }
  if (block == nullptr || block->state == Block::kFreed) {
    observing = false;
    fail(Violation::Kind::kBadFree,
         thread_label(thread) + " frees " + describe_address(begin) +
             (block == nullptr ? ", where no block begins" : ", which was freed before"),
         begin, 1);
  }
  trace.note_block(thread, begin, block->size, false);
  shadow.release(begin, block->size, checked);
  block->state = Block::kFreed;
  --live_;
}

void Heap::check_leaks(std::size_t allowed) const {
  if (live_ <= allowed) return;
  std::string text = std::to_string(live_) + " blocks are alive at the end";
  if (allowed != 0) text += " (" + std::to_string(allowed) + " allowed)";
  const Block* first = nullptr;
  for (std::uint32_t thread = 0; thread != kMaxThreads; ++thread) {
    for (const Block* block = last_[thread]; block != nullptr; block = block->previous) {
      if (block->state != Block::kLive) continue;
      text += "; " + describe(block->begin());
      first = block;
    }
  }
  fail(Violation::Kind::kLeak, std::move(text), first->begin(), first->size);
}

std::string Heap::describe(std::uintptr_t address) const {
  const std::uint32_t thread = Region::thread_of(address);
  for (const Block* block = last_[thread]; block != nullptr; block = block->previous) {
    if (block->begin() > address) continue;
    return "byte " + std::to_string(address - block->begin()) + " of a block of " + std::to_string(block->size) +
           " (number " + std::to_string(block->number) + " of " + thread_label(thread) + ")";
  }
  return "the heap of " + thread_label(thread);
}

}  // namespace penstock::checker
