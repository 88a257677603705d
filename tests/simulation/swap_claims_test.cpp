// SPDX-License-Identifier: MIT
// What is said of a swap scheduler's policies holds in the simulation, and so does each figure that is given.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "swap.hpp"

namespace {

using namespace simulation;
using penstock::testing::Approx;
using penstock::testing::ContainsSubstring;

constexpr double kMaxWait = 60;
constexpr double kSwap = 20;

/// As `swap_policies` simulates it; once for all that a test asks.
const SwapStudy& study(std::string_view load) {
  static std::map<std::string, SwapStudy, std::less<>> all;
  const auto found = all.find(load);
  if (found != all.end()) return found->second;
  return all.emplace(load, swap_studies(5, load).at(0)).first->second;
}

template <class Named>
const Named& find(const std::vector<Named>& all, std::string Named::*name, std::string_view wanted) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& each) { return each.*name == wanted; });
  if (found == all.end()) FAIL("there is no " << wanted);
  return *found;
}

const SwapRow& row(std::string_view load, std::string_view contender) {
  return find(study(load).rows, &SwapRow::contender, contender);
}
const SwapWaits& waits(const SwapRow& row, std::string_view of) { return find(row.waits, &SwapWaits::name, of); }

bool is_same(const SwapRow& a, const SwapRow& b) {
  return a.swaps == b.swaps && a.swap_time_share == b.swap_time_share &&
         std::equal(a.waits.begin(), a.waits.end(), b.waits.begin(), b.waits.end(),
                    [](const SwapWaits& x, const SwapWaits& y) {
                      return x.name == y.name && x.mean_s == y.mean_s && x.p50_s == y.p50_s && x.p99_s == y.p99_s &&
                             x.max_s == y.max_s && x.served == y.served && x.unserved == y.unserved &&
                             x.refused == y.refused;
                    });
}

std::string rounded(double value) { return std::to_string(std::lround(value)); }

/// "16 804"
std::string grouped(double value) {
  std::string text = rounded(value);
  if (text.size() > 4) text.insert(text.size() - 3, " ");
  return text;
}

/// "7 / 95 / 124": mean, p99 and maximum.
std::string three(const SwapWaits& waits) {
  return rounded(waits.mean_s) + " / " + rounded(waits.p99_s) + " / " + rounded(waits.max_s);
}

std::string named(const SwapRow& row, std::string_view of) { return std::string(of) + " " + three(waits(row, of)); }

std::string line(std::string_view name, const SwapRow& row, const std::string& rest) {
  return "| " + std::string(name) + " | " + rounded(row.swaps) + " | " + rest + " |\n";
}

std::string readme() {
  std::ifstream in(PENSTOCK_SIMULATION_README);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("Simulation: the README's table of the hot load is what comes out", "[simulation]") {
  const std::string text = readme();
  const auto check = [&](std::string_view name, std::string_view contender) {
    const SwapRow& found = row("hot", contender);
    const std::string all = three(waits(found, "A")) + " | " + three(waits(found, "B")) + " | " +
                            three(waits(found, "C")) + " | " + grouped(waits(found, "all").unserved);
    CHECK_THAT(text, ContainsSubstring(line(name, found, all)));
  };
  CHECK(is_same(row("hot", "published"), row("hot", "as it comes")));
  check("strict FIFO", "strict FIFO");
  check("published, and as it comes", "published");
  for (const std::string_view contender : {"by cost", "max wait", "max wait, by cost"}) check(contender, contender);
}

TEST_CASE("Simulation: the README's table of the other loads is what comes out", "[simulation]") {
  const std::string text = readme();
  const auto check = [&](std::string_view name, const SwapRow& found, const std::string& rest) {
    CHECK_THAT(text, ContainsSubstring(line(name, found, rest)));
  };
  const auto share = [](const SwapRow& found) { return rounded(100 * found.swap_time_share) + " %"; };

  const SwapRow& fifo = row("moderate", "strict FIFO");
  check("strict FIFO", fifo, named(fifo, "all"));
  const auto check_moderate = [&](const std::string& names, const std::vector<std::string>& contenders) {
    for (const std::string& contender : contenders) {
      CAPTURE(contender);
      const SwapRow& each = row("moderate", contender);
      check(names, each, named(each, "all"));
    }
  };
  check_moderate("published, as it comes, max wait", {"published", "as it comes", "max wait"});
  check_moderate("by cost; max wait, by cost", {"by cost", "max wait, by cost"});

  const SwapRow& failing = row("failing", "as it comes");
  check("as it comes", failing, named(failing, "A") + "; swaps take " + share(failing) + " of the time");
  const SwapRow& backing_off = row("failing", "back-off");
  check("back-off from 30 s on", backing_off, named(backing_off, "A") + "; swaps take " + share(backing_off));

  for (const std::string_view contender : {"as it comes", "fair share", "fair share, max wait"}) {
    const SwapRow& tenants = row("tenants", contender);
    check(contender, tenants, named(tenants, "chat") + ", " + named(tenants, "batch"));
  }

  for (const std::string_view contender : {"as it comes", "aging 60 s", "max wait"}) {
    const SwapRow& priorities = row("priorities", contender);
    check(contender, priorities, named(priorities, "A") + ", " + named(priorities, "C"));
  }
}

TEST_CASE("Simulation: max_wait bounds the longest wait where one model starves others", "[simulation]") {
  const SwapRow& starved = row("hot", "as it comes");
  const SwapRow& bounded = row("hot", "max wait");
  // A service takes 6 s on average, so the longest of those that run takes several times that.
  const double bound = kMaxWait + 10 * 6 + 2 * kSwap;
  for (const std::string_view model : {"B", "C"}) {
    CAPTURE(model);
    CHECK(waits(starved, model).max_s > 10 * bound);
    CHECK(waits(bounded, model).max_s < bound);
    CHECK(waits(bounded, model).mean_s < waits(starved, model).mean_s / 5);
  }
  CHECK(waits(bounded, "A").mean_s > waits(starved, "A").mean_s);  // somebody pays for it
  CHECK(bounded.swaps / starved.swaps == Approx(4).margin(0.5));
  CHECK(waits(bounded, "all").unserved <= waits(starved, "all").unserved);
}

TEST_CASE("Simulation: where no model starves another, no policy of ours changes much", "[simulation]") {
  const SwapRow& plain = row("moderate", "as it comes");
  for (const SwapRow& each : study("moderate").rows) {
    if (each.contender == "strict FIFO") continue;
    CAPTURE(each.contender);
    CHECK(each.swaps == Approx(plain.swaps).epsilon(0.01));
    CHECK(waits(each, "all").mean_s == Approx(waits(plain, "all").mean_s).epsilon(0.02));
    CHECK(waits(each, "all").max_s == Approx(waits(plain, "all").max_s).epsilon(0.02));
  }
}

TEST_CASE("Simulation: who serves in the order of arrival only swaps most and lets all wait longest", "[simulation]") {
  for (const std::string_view load : {"hot", "moderate"}) {
    CAPTURE(load);
    const SwapRow& fifo = row(load, "strict FIFO");
    for (const SwapRow& each : study(load).rows) {
      if (&each == &fifo) continue;
      CAPTURE(each.contender);
      CHECK(each.swaps < fifo.swaps);
      CHECK(waits(each, "all").mean_s < waits(fifo, "all").mean_s / 3);
      CHECK(waits(each, "all").served >= waits(fifo, "all").served);
    }
  }
}

TEST_CASE("Simulation: max_wait takes back what fair share gives where a burst is longer than it", "[simulation]") {
  const SwapRow& plain = row("tenants", "as it comes");
  const SwapRow& fair = row("tenants", "fair share");
  const SwapRow& bounded = row("tenants", "fair share, max wait");
  CHECK(waits(bounded, "chat").mean_s > 2 * waits(fair, "chat").mean_s);
  CHECK(waits(bounded, "chat").mean_s == Approx(waits(plain, "chat").mean_s).epsilon(0.2));
  CHECK(waits(bounded, "batch").p50_s > kMaxWait);
  CHECK(bounded.swaps == Approx(1.1 * fair.swaps).epsilon(0.03));
  // As many are served: a place that becomes free is taken by whoever has waited the longest.
  CHECK(waits(bounded, "all").unserved <= waits(fair, "all").unserved);
  CHECK(waits(bounded, "all").served == Approx(waits(fair, "all").served).epsilon(0.01));
}

TEST_CASE("Simulation: fair share halves what the light tenant waits on average", "[simulation]") {
  const SwapRow& plain = row("tenants", "as it comes");
  const SwapRow& fair = row("tenants", "fair share");
  CHECK(waits(fair, "chat").mean_s / waits(plain, "chat").mean_s == Approx(0.5).margin(0.1));
  CHECK(waits(fair, "batch").mean_s < 1.1 * waits(plain, "batch").mean_s);
  // Only chat asks for B: its longest waits are those for the model that the batch does not use.
  CHECK(waits(fair, "chat").max_s == waits(fair, "B").max_s);
}

TEST_CASE("Simulation: a model that does not load costs the others most of their time, until it is backed off",
          "[simulation]") {
  const SwapRow& plain = row("failing", "as it comes");
  const SwapRow& backing_off = row("failing", "back-off");
  CHECK(plain.swap_time_share > 0.5);
  CHECK(backing_off.swap_time_share < plain.swap_time_share / 4);
  CHECK(waits(backing_off, "A").mean_s < waits(plain, "A").mean_s / 4);
  CHECK(waits(plain, "B").served == 0);
}

TEST_CASE("Simulation: aging and max_wait let a low priority through", "[simulation]") {
  const SwapRow& plain = row("priorities", "as it comes");
  for (const std::string_view contender : {"aging 60 s", "max wait"}) {
    CAPTURE(contender);
    CHECK(waits(row("priorities", contender), "C").max_s < waits(plain, "C").max_s / 3);
    CHECK(waits(row("priorities", contender), "A").mean_s < 1.5 * waits(plain, "A").mean_s);
  }
}

TEST_CASE("Simulation: equal seeds give equal reports of a swap study, to the byte", "[simulation]") {
  const auto report = [](std::uint64_t seeds) {
    const std::vector<SwapStudy> found = swap_studies(seeds, "hot");
    return as_json(found, seeds) + as_table(found);
  };
  const std::string first = report(1);
  CHECK(first == report(1));
  CHECK(first != report(2));
  CHECK(first.find("\"contender\":\"max wait, by cost\"") != std::string::npos);
}
