// SPDX-License-Identifier: MIT
#include "model/region.hpp"

#include <sys/mman.h>
#include <cerrno>
#include <system_error>

namespace penstock::checker {

// Until it is reserved, an address that contains nothing.
constinit std::uintptr_t Region::base_ = UINTPTR_MAX - kBytes;

void Region::reserve() {
  // A fixed wish, so that a schedule printed by one process replays in another even where a hash of an address counts.
  void* const wish = reinterpret_cast<void*>(std::uintptr_t{0x5A00} << 32);
  void* const at = mmap(wish, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "model region");
  base_ = reinterpret_cast<std::uintptr_t>(at);
  for (std::uint32_t thread = 0; thread != kMaxThreads; ++thread) {
    mprotect(reinterpret_cast<void*>(stack_top(thread) - kStackBytes), 4096, PROT_NONE);
  }
}

}  // namespace penstock::checker
