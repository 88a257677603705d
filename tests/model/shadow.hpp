// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Who last touched which byte: data races and uses of freed memory in plain loads and stores.
///
/// The algorithm is FastTrack (Flanagan and Freund, "FastTrack: efficient and precise dynamic race detection", 2009):
/// for each variable the epoch of its last write, and either the epoch of its last read or, once two unordered threads
/// have read it, the clock of all its reads. A variable is whatever is accessed as one: each group of eight bytes has a
/// chain of cells with disjoint byte masks, which split when somebody accesses a part.
///
/// Nothing is cleared between executions: a group that bears the number of an earlier execution is a fresh one.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/region.hpp"
#include "model/vector_clock.hpp"

namespace penstock::checker {

class Shadow {
 public:
  /// What std::atomic operations on the eight bytes at an address have published: they are ordered as if each were
  /// acquire and release, and they are no scheduling points.
  struct Sync {
    VectorClock clock;
    std::uint64_t version = 0;  // changes with each of them, see history.hpp
  };

  void reserve();
  void start(std::uint32_t execution);
  /// Before the numbers of executions begin again.
  void forget_everything();
  /// Accesses from now on are those of `thread`, whose clock lives on at `clock`.
  void look_as(std::uint32_t thread, const VectorClock& clock) {
    thread_ = thread;
    clock_ = &clock;
  }

  /// An access of `size` bytes, at most 16.
  void access(std::uintptr_t address, std::size_t size, bool write) {
    const std::size_t room = 8 - (address & 7);
    if (size <= room) {
      access_group(address, static_cast<unsigned>(size), write);
    } else {
      access_range(address, size, write);
    }
  }
  void access_range(std::uintptr_t address, std::size_t size, bool write);

  /// An operation on a std::atomic of `size` bytes: its construction, and plain writes, must have happened before.
  void expect_written(std::uintptr_t address, unsigned size);

  /// Bytes of the heap come alive, untouched.
  void allocate(std::uintptr_t address, std::size_t size);
  /// Bytes of the heap die; if `checked`, as a write of those that were used.
  void release(std::uintptr_t address, std::size_t size, bool checked);
  /// Forgets what happened to bytes outside the heaps, because they begin a new life.
  void forget(std::uintptr_t address, std::size_t size);

  Sync& sync(std::uintptr_t address);

  /// Records accesses that overlap these bytes.
  void watch(std::uintptr_t address, std::size_t size) {
    watched_ = address;
    watched_size_ = size;
  }

 private:
  struct Cell {
    Epoch write;
    std::uint32_t read = 0;  // an epoch's bits, or an index of shared_reads_
    std::uint32_t next = 0;  // index of cells_; 0: none
    std::uint8_t mask = 0;   // 0: not in use yet
    bool shared = false;
  };
  struct Group {
    std::uint32_t execution = 0;
    std::uint32_t sync = 0;  // index of syncs_; 0: none
    Cell first;
    std::uint8_t accessible = 0;  // how many of the bytes belong to somebody
    bool freed = false;
  };
  struct Foreign {  // a group outside the region
    std::uintptr_t key = 0;
    Group group;
  };

  Group& group_of(std::uintptr_t address) {
    Group& group = Region::contains(address) ? groups_[Region::offset(address) >> 3] : foreign(address >> 3);
    if (group.execution != execution_) renew(group, address);
    return group;
  }

  void access_group(std::uintptr_t address, unsigned size, bool write) {
    if (address - watched_ + size - 1 < watched_size_ + size - 1 && watched_size_ != 0)
      note_watched(address, size, write);
    Group& group = group_of(address);
    const unsigned offset = address & 7;
    if (offset + size > group.accessible) report_bad_access(group, address, size, write);
    const auto mask = static_cast<std::uint8_t>(((1U << size) - 1) << offset);
    Cell& cell = group.first;
    if (cell.mask == mask) {
      const Epoch now = clock_->epoch_of(thread_);
      if (cell.write == now && (cell.read == now.bits || cell.read == 0) && !cell.shared) return;
      check(cell, address, size, write);
    } else {
      access_parts(group, mask, address, size, write);
    }
  }

  void access_parts(Group& group, std::uint8_t mask, std::uintptr_t address, unsigned size, bool write);
  void check(Cell& cell, std::uintptr_t address, unsigned size, bool write);
  void share(Cell& cell, Epoch now);
  void renew(Group& group, std::uintptr_t address) const;
  Group& foreign(std::uintptr_t key);
  void grow_foreign();
  void note_watched(std::uintptr_t address, std::size_t size, bool write) const;
  [[noreturn]] void report_race(std::uintptr_t address, unsigned size, bool write, std::uint32_t other,
                                bool other_wrote);
  [[noreturn]] void report_bad_access(const Group& group, std::uintptr_t address, unsigned size, bool write);

  std::uint32_t execution_ = 0;
  std::uint32_t thread_ = 0;
  const VectorClock* clock_ = nullptr;
  Group* groups_ = nullptr;  // one for each eight bytes of the region
  std::uintptr_t watched_ = 0;
  std::size_t watched_size_ = 0;
  std::vector<Foreign> foreign_;  // open addressing; a power of two
  std::size_t foreign_used_ = 0;
  std::vector<Cell> cells_;  // the rest of each chain
  std::vector<VectorClock> shared_reads_;
  std::vector<Sync> syncs_;
};

extern Shadow shadow;

/// Whether instrumented code runs on behalf of an execution: its accesses are checked, its allocations come from the
/// region. False in the checker's own code and in code that asked not to be observed.
extern constinit bool observing;

}  // namespace penstock::checker
