// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/give_way.hpp"
#include "support/catch.hpp"

namespace penstock::detail {
namespace {

/// Waits in a row without giving way, up to the next one with it.
int rests(GiveWay& way) {
  int count = 0;
  while (!way.is_worth_it()) ++count;
  return count;
}

TEST_CASE("GiveWay: who has made a lone task late rests, twice as long each time", "[exec][elastic_pool]") {
  GiveWay way;
  CHECK(rests(way) == 0);
  for (const int expected : {16, 32, 64, 128, 256, 512, 1024, 1024}) {
    way.made_late();
    way.task_done(false);
    CHECK(rests(way) == expected);
  }
}

TEST_CASE("GiveWay: it is worth it while the queue is filled meanwhile", "[exec][elastic_pool]") {
  GiveWay way;
  way.made_late();
  way.task_done(false);
  CHECK(rests(way) == 16);
  way.made_late();
  way.task_done(true);
  CHECK(rests(way) == 0);
  way.made_late();
  way.task_done(false);
  CHECK(rests(way) == 16);  // anew
}

TEST_CASE("GiveWay: tasks that came in time teach nothing", "[exec][elastic_pool]") {
  GiveWay way;
  way.task_done(false);
  way.task_done(true);
  CHECK(rests(way) == 0);
}

}  // namespace
}  // namespace penstock::detail
