// SPDX-License-Identifier: MIT

// The asymmetric lock under every schedule, also where a store becomes visible late: owner and visitor are never inside
// at once, and each sees what the other did.

#include "penstock/core/detail/asymmetric_lock.hpp"

#include "model/planted.hpp"

namespace world = penstock::detail::world;
using penstock::checker::Violation;
using penstock::detail::AsymmetricLock;

namespace checker = penstock::checker;

namespace {

/// Two owners with a lock and a number each, and a visitor of both. The numbers are plain memory.
struct Two {
  AsymmetricLock lock;
  AsymmetricLock other_lock;
  int number = 0;
  int other_number = 0;

  void visit(bool with_barrier = true) {
    lock.revoke();
    other_lock.revoke();
    if (with_barrier) AsymmetricLock::publish_revocations();
    lock.await();
    other_lock.await();
    number += 10;
    other_number += 10;
    lock.restore();
    other_lock.restore();
  }
};

void add(AsymmetricLock& lock, int& number) {
  lock.enter();
  ++number;
  lock.leave();
}

checker::Options options(bool heavy_barriers) {
  checker::Options options{.name = "asymmetric lock", .preemptions = 4, .executions = 20'000};
  options.store_delay = true;
  options.heavy_barriers = heavy_barriers;
  return options;
}

}  // namespace

TEST_CASE("AsymmetricLock: an owner and a visitor are never inside at once", "[model][asymmetric_lock]") {
  for (const bool heavy_barriers : {true, false}) {
    checker::must_pass(options(heavy_barriers), [] {
      Two two;
      world::Thread owner([&] {
        add(two.lock, two.number);
        add(two.lock, two.number);
      });
      two.visit();
      owner.join();
      MODEL_ASSERT(two.number == 12);
    });
  }
}

TEST_CASE("AsymmetricLock: one barrier is enough for all locks", "[model][asymmetric_lock]") {
  for (const bool heavy_barriers : {true, false}) {
    checker::Options few = options(heavy_barriers);
    few.preemptions = 2;
    checker::must_pass(few, [] {
      Two two;
      world::Thread owner([&] { add(two.lock, two.number); });
      world::Thread other([&] { add(two.other_lock, two.other_number); });
      two.visit();
      owner.join();
      other.join();
      MODEL_ASSERT(two.number == 11 && two.other_number == 11);
    });
  }
}

TEST_CASE("AsymmetricLock: without the barrier it would not work", "[model][asymmetric_lock]") {
  checker::must_find(Violation::Kind::kRace, options(true), 10'000, [] {
    Two two;
    world::Thread owner([&] { add(two.lock, two.number); });
    two.visit(false);
    owner.join();
  });
}

TEST_CASE("AsymmetricLock: a second visit finds the owner where the first one left it", "[model][asymmetric_lock]") {
  checker::Options few = options(true);
  few.preemptions = 2;
  checker::must_pass(few, [] {
    Two two;
    world::Thread owner([&] {
      add(two.lock, two.number);
      add(two.lock, two.number);
    });
    two.visit();
    two.visit();
    owner.join();
    MODEL_ASSERT(two.number == 22);
  });
}
