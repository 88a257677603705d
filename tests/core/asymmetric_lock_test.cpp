// SPDX-License-Identifier: MIT

// The asymmetric lock on the machine: an owner that never rests, and a visitor.

#include "penstock/core/detail/asymmetric_lock.hpp"

#include <atomic>
#include <cstdint>
#include <thread>

#include "penstock/core/detail/world.hpp"
#include "support/catch.hpp"

namespace penstock {
namespace {

using detail::AsymmetricLock;

struct Guarded {
  AsymmetricLock lock;
  std::uint64_t number = 0;  // plain: ThreadSanitizer looks, too
  std::uint64_t copy = 0;
};

TEST_CASE("AsymmetricLock: an owner that never rests and a visitor lose no step", "[core][asymmetric_lock]") {
  Guarded guarded;
  std::atomic<bool> ends{false};
  std::uint64_t own = 0;
  bool is_torn = false;
  std::thread owner([&] {
    for (; !ends.load(std::memory_order_relaxed); ++own) {
      guarded.lock.enter();
      is_torn = is_torn || guarded.number != guarded.copy;
      ++guarded.number;
      ++guarded.copy;
      guarded.lock.leave();
    }
  });
  std::uint64_t visits = 0;
  bool was_torn = false;
  for (; visits != 2'000; ++visits) {
    guarded.lock.revoke();
    AsymmetricLock::publish_revocations();
    guarded.lock.await();
    was_torn = was_torn || guarded.number != guarded.copy;
    ++guarded.number;
    if (visits % 64 == 0) std::this_thread::yield();  // inside, so that the owner comes to the gate
    ++guarded.copy;
    guarded.lock.restore();
  }
  ends = true;
  owner.join();
  CHECK_FALSE(is_torn);
  CHECK_FALSE(was_torn);
  CHECK(guarded.number == own + visits);
}

TEST_CASE("AsymmetricLock: the answer to whether there are heavy barriers holds", "[core][asymmetric_lock]") {
  const bool has = detail::world::has_heavy_barriers();
  if (has) detail::world::heavy_barrier();
  CHECK(detail::world::has_heavy_barriers() == has);
}

}  // namespace
}  // namespace penstock
