// SPDX-License-Identifier: MIT
#include "model/shadow.hpp"

#include <sys/mman.h>
#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "model/heap.hpp"
#include "model/trace.hpp"
#include "model/violation.hpp"

namespace penstock::checker {

Shadow shadow;
constinit bool observing = false;

namespace {

/// Makes `list` longer. The list may have to move, in memory that is not the scenario's.
template <class T>
std::uint32_t append(std::vector<T>& list, const T& element) {
  const bool was_observing = std::exchange(observing, false);
  list.push_back(element);
  observing = was_observing;
  return static_cast<std::uint32_t>(list.size() - 1);
}

}  // namespace

void Shadow::reserve() {
  constexpr std::size_t bytes = Region::kBytes / 8 * sizeof(Group);
  void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "model shadow");
  groups_ = static_cast<Group*>(at);
  foreign_.resize(std::size_t{1} << 12);
}

void Shadow::start(std::uint32_t execution) {
  execution_ = execution;
  foreign_used_ = 0;
  cells_.resize(1);  // index 0 means none
  shared_reads_.clear();
  syncs_.resize(1);
  watched_size_ = 0;
}

void Shadow::forget_everything() {
  madvise(groups_, Region::kBytes / 8 * sizeof(Group), MADV_DONTNEED);
  std::fill(foreign_.begin(), foreign_.end(), Foreign{});
}

void Shadow::renew(Group& group, std::uintptr_t address) const {
  group = Group{};
  group.execution = execution_;
  // Stacks and foreign memory are there from the start; the bytes of a heap have to be allocated.
  group.accessible = Region::is_heap(address) ? 0 : 8;
}

Shadow::Group& Shadow::foreign(std::uintptr_t key) {
  const std::size_t mask = foreign_.size() - 1;
  std::size_t at = (key * 0x9E3779B97F4A7C15U >> 20) & mask;
  while (foreign_[at].group.execution == execution_) {
    if (foreign_[at].key == key) return foreign_[at].group;
    at = (at + 1) & mask;
  }
  if (2 * ++foreign_used_ > foreign_.size()) {
    grow_foreign();
    return foreign(key);
  }
  foreign_[at].key = key;
  return foreign_[at].group;  // of an earlier execution, which the caller renews
}

void Shadow::grow_foreign() {
  const bool was_observing = std::exchange(observing, false);
  std::vector<Foreign> old(foreign_.size() * 2);
  old.swap(foreign_);
  foreign_used_ = 0;
  for (const Foreign& each : old) {
    if (each.group.execution == execution_) foreign(each.key) = each.group;
  }
  old = {};
  observing = was_observing;
}

void Shadow::access_range(std::uintptr_t address, std::size_t size, bool write) {
  while (size != 0) {
    const std::size_t part = std::min<std::size_t>(size, 8 - (address & 7));
    access_group(address, static_cast<unsigned>(part), write);
    address += part;
    size -= part;
  }
}

void Shadow::access_parts(Group& group, std::uint8_t mask, std::uintptr_t address, unsigned size, bool write) {
  if (group.first.mask == 0) {
    group.first.mask = mask;
    return check(group.first, address, size, write);
  }
  // Split the cells that reach out of `mask`, check those within, and make one for the bytes nobody has touched.
  std::uint8_t rest = mask;
  std::uint32_t last = 0;
  for (std::uint32_t index = 0;;) {
    Cell* cell = index == 0 ? &group.first : &cells_[index];
    const auto common = static_cast<std::uint8_t>(cell->mask & mask);
    if (common != 0 && common != cell->mask) {
      Cell outside = *cell;
      outside.mask = static_cast<std::uint8_t>(cell->mask & ~mask);
      if (outside.shared) {
        const VectorClock reads = shared_reads_[outside.read];
        outside.read = append(shared_reads_, reads);
      }
      const std::uint32_t next = append(cells_, outside);
      cell = index == 0 ? &group.first : &cells_[index];  // cells_ may have moved
      cell->mask = common;
      cell->next = next;
    }
    if (common != 0) {
      check(*cell, address, size, write);
      rest = static_cast<std::uint8_t>(rest & ~common);
    }
    last = index;
    if (cell->next == 0) break;
    index = cell->next;
  }
  if (rest == 0) return;
  Cell fresh;
  fresh.mask = rest;
  check(fresh, address, size, write);
  const std::uint32_t index = append(cells_, fresh);
  (last == 0 ? group.first : cells_[last]).next = index;
}

void Shadow::expect_written(std::uintptr_t address, unsigned size) {
  const Group& group = group_of(address);
  const unsigned offset = address & 7;
  if (offset + size > group.accessible) report_bad_access(group, address, size, false);
  const unsigned mask = ((1U << size) - 1) << offset;
  for (const Cell* cell = &group.first;; cell = &cells_[cell->next]) {
    if ((cell->mask & mask) != 0 && cell->write.ever() && !clock_->covers(cell->write)) {
      report_race(address, size, false, cell->write.thread(), true);
    }
    if (cell->next == 0) return;
  }
}

void Shadow::check(Cell& cell, std::uintptr_t address, unsigned size, bool write) {
  const Epoch now = clock_->epoch_of(thread_);
  if (cell.write.ever() && !clock_->covers(cell.write)) report_race(address, size, write, cell.write.thread(), true);
  if (!write) {
    if (cell.shared) {
      shared_reads_[cell.read].counts[thread_] = now.count();
    } else if (cell.read == 0 || clock_->covers(Epoch{cell.read})) {
      cell.read = now.bits;
    } else {
      share(cell, now);
    }
    return;
  }
  if (cell.shared) {
    const VectorClock& reads = shared_reads_[cell.read];
    for (std::uint32_t thread = 0; thread != kMaxThreads; ++thread) {
      if (reads.counts[thread] > clock_->counts[thread]) report_race(address, size, write, thread, false);
    }
  } else if (cell.read != 0 && !clock_->covers(Epoch{cell.read})) {
    report_race(address, size, write, Epoch{cell.read}.thread(), false);
  }
  cell.write = now;
  cell.read = 0;
  cell.shared = false;
}

void Shadow::share(Cell& cell, Epoch now) {
  const Epoch first{cell.read};
  VectorClock reads;
  reads.counts[first.thread()] = first.count();
  reads.counts[thread_] = now.count();
  cell.read = append(shared_reads_, reads);
  cell.shared = true;
}

void Shadow::allocate(std::uintptr_t address, std::size_t size) {
  for (std::size_t done = 0; done < size; done += 8) {
    Group& group = groups_[Region::offset(address + done) >> 3];
    group = Group{};
    group.execution = execution_;
    group.accessible = static_cast<std::uint8_t>(std::min<std::size_t>(8, size - done));
  }
}

void Shadow::release(std::uintptr_t address, std::size_t size, bool checked) {
  for (std::size_t done = 0; done < size; done += 8) {
    Group& group = groups_[Region::offset(address + done) >> 3];
    const auto part = static_cast<unsigned>(std::min<std::size_t>(8, size - done));
    for (Cell* cell = &group.first; checked && cell->mask != 0;) {
      check(*cell, address + done, part, true);
      if (cell->next == 0) break;
      cell = &cells_[cell->next];
    }
    group.accessible = 0;
    group.freed = true;
  }
}

void Shadow::forget(std::uintptr_t address, std::size_t size) {
  for (const std::uintptr_t end = address + size; address < end; address += 8) {
    Group& group = group_of(address);
    group.first = Cell{};
    group.sync = 0;
  }
}

Shadow::Sync& Shadow::sync(std::uintptr_t address) {
  Group& group = group_of(address);
  if (group.sync == 0) group.sync = append(syncs_, Sync{});
  return syncs_[group.sync];
}

void Shadow::note_watched(std::uintptr_t address, std::size_t size, bool write) const {
  trace.note_access(thread_, address, size, write);
}

void Shadow::report_race(std::uintptr_t address, unsigned size, bool write, std::uint32_t other, bool other_wrote) {
  observing = false;
  fail(Violation::Kind::kRace,
       "data race on " + std::to_string(size) + " bytes at " + describe_address(address) + ": a " +
           (write ? "write" : "read") + " by " + thread_label(thread_) + " is not ordered with an earlier " +
           (other_wrote ? "write" : "read") + " by " + thread_label(other),
       address, size);
}

void Shadow::report_bad_access(const Group& group, std::uintptr_t address, unsigned size, bool write) {
  observing = false;
  fail(group.freed ? Violation::Kind::kUseAfterFree : Violation::Kind::kOutOfBounds,
       thread_label(thread_) + (write ? " writes " : " reads ") + std::to_string(size) + " bytes of " +
           (group.freed ? "freed memory at " : "no block at ") + describe_address(address),
       address, size);
}

}  // namespace penstock::checker
