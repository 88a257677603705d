// SPDX-License-Identifier: MIT
#include "penstock/metrics/registry.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/recorder.hpp"

namespace penstock {
namespace {

using testing::eventually;
using Registration = MetricRegistry::Registration;

/// Remembers the names of the samples.
class NameSink final : public MetricSink {
 public:
  void counter(std::string_view name, std::string_view, Labels, std::uint64_t) override { names.emplace_back(name); }
  void gauge(std::string_view name, std::string_view, Labels, double) override { names.emplace_back(name); }
  void histogram(std::string_view name, std::string_view, Labels, const LatencyHistogram::Snapshot&) override {
    names.emplace_back(name);
  }

  std::vector<std::string> names;
};

using Names = std::vector<std::string>;

auto emit(std::string name) {
  return [name = std::move(name)](MetricSink& sink) { sink.counter(name, "", {}, 1); };
}

Names collected(const MetricRegistry& registry) {
  NameSink sink;
  registry.collect(sink);
  return sink.names;
}

TEST_CASE("MetricRegistry: asks the collectors in the order of their registration", "[metrics][registry]") {
  MetricRegistry registry;
  CHECK(collected(registry).empty());
  const Registration a = registry.add(emit("a"));
  const Registration b = registry.add(emit("b"));
  const Registration c = registry.add(emit("c"));
  CHECK(registry.size() == 3);
  CHECK(collected(registry) == Names{"a", "b", "c"});
  CHECK(collected(registry) == Names{"a", "b", "c"});
}

TEST_CASE("MetricRegistry: a collector is asked for as long as its registration lives", "[metrics][registry]") {
  MetricRegistry registry;
  std::optional<Registration> a = registry.add(emit("a"));
  Registration b = registry.add(emit("b"));
  a.reset();
  CHECK(collected(registry) == Names{"b"});
  b.remove();
  CHECK_FALSE(b);
  b.remove();
  CHECK(collected(registry).empty());
  CHECK(registry.size() == 0);
}

TEST_CASE("MetricRegistry: a registration can be moved, and a moved-from one removes nothing", "[metrics][registry]") {
  MetricRegistry registry;
  Registration a = registry.add(emit("a"));
  Registration taken = std::move(a);
  a = Registration();
  CHECK(collected(registry) == Names{"a"});
  taken = registry.add(emit("b"));  // removes "a"
  CHECK(collected(registry) == Names{"b"});
  Registration& same = taken;
  taken = std::move(same);
  CHECK(collected(registry) == Names{"b"});
}

TEST_CASE("MetricRegistry: a collector that throws is counted and does not keep the others from being asked",
          "[metrics][registry]") {
  MetricRegistry registry;
  const Registration a = registry.add([](MetricSink& sink) {
    sink.counter("before", "", {}, 1);
    throw std::runtime_error("broken");
  });
  const Registration b = registry.add([](MetricSink&) { throw 7; });
  const Registration c = registry.add(emit("c"));
  NameSink sink;
  CHECK(registry.collect(sink) == 2);
  CHECK(sink.names == Names{"before", "c"});
  CHECK(registry.failures() == 2);
  CHECK(registry.collect(sink) == 2);
  CHECK(registry.failures() == 4);
}

TEST_CASE("MetricRegistry: an empty collector is refused", "[metrics][registry]") {
  MetricRegistry registry;
  CHECK_THROWS_AS(registry.add(nullptr), std::invalid_argument);
  CHECK(registry.size() == 0);
}

TEST_CASE("MetricRegistry: what is registered while collecting is asked the next time", "[metrics][registry]") {
  MetricRegistry registry;
  std::vector<Registration> late;
  const Registration a = registry.add([&](MetricSink& sink) {
    sink.counter("a", "", {}, 1);
    late.push_back(registry.add(emit("late")));
  });
  CHECK(collected(registry) == Names{"a"});
  CHECK(collected(registry) == Names{"a", "late"});
  CHECK(collected(registry) == Names{"a", "late", "late"});
}

TEST_CASE("MetricRegistry: a collector may use the registry, for no lock is held while it runs",
          "[metrics][registry]") {
  MetricRegistry registry;
  bool nested = false;
  const Registration a = registry.add([&](MetricSink& sink) {
    if (std::exchange(nested, true)) return;
    sink.counter(std::to_string(registry.size()) + std::to_string(registry.failures()), "", {}, 1);
    registry.collect(sink);
  });
  const Registration b = registry.add(emit("b"));
  CHECK(collected(registry) == Names{"20", "b", "b"});
}

TEST_CASE("MetricRegistry: a collector may remove itself and others", "[metrics][registry]") {
  MetricRegistry registry;
  Registration self;
  Registration next;
  auto witness = std::make_shared<int>();
  const std::weak_ptr<int> alive = witness;
  bool alive_inside = false;
  self = registry.add([&, witness = std::move(witness)](MetricSink& sink) {
    self.remove();
    next.remove();
    alive_inside = witness != nullptr;
    sink.counter("self", "", {}, 1);
  });
  next = registry.add(emit("next"));
  const Registration last = registry.add(emit("last"));
  CHECK(collected(registry) == Names{"self", "last"});
  CHECK(alive_inside);
  CHECK(alive.expired());  // the collector went as soon as it had returned
  CHECK(collected(registry) == Names{"last"});
}

TEST_CASE("MetricRegistry: removing waits for the collector that runs, and destroys it", "[metrics][registry]") {
  MetricRegistry registry;
  testing::Recorder<std::string> events;
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  std::atomic<bool> removing{false};
  auto witness = std::make_shared<int>();
  const std::weak_ptr<int> alive = witness;
  Registration registration = registry.add([&, witness = std::move(witness)](MetricSink&) {
    inside = true;
    while (!go_on) std::this_thread::yield();
    events.record("collector ends");
  });
  std::thread collecting([&] { collected(registry); });
  REQUIRE(eventually([&] { return inside.load(); }));
  std::atomic<bool> destroyed{false};
  std::thread remover([&] {
    removing = true;
    registration.remove();
    destroyed = alive.expired();
    events.record("removed");
  });
  // Once it is gone from the list, the remover waits; then nobody else is asked any more.
  CHECK(eventually([&] { return removing && registry.size() == 0; }));
  CHECK(collected(registry).empty());
  CHECK(events.size() == 0);
  go_on = true;
  collecting.join();
  remover.join();
  CHECK(events.events() == Names{"collector ends", "removed"});
  CHECK(destroyed);
}

TEST_CASE("MetricRegistry: a collector that removes itself waits for other threads that run it",
          "[metrics][registry]") {
  MetricRegistry registry;
  testing::Recorder<std::string> events;
  std::atomic<int> inside{0};
  std::atomic<bool> remove{false};
  std::atomic<bool> go_on{false};
  Registration registration;
  registration = registry.add([&](MetricSink&) {
    if (inside++ == 0) {
      while (!remove) std::this_thread::yield();
      registration.remove();
      events.record("removed");
    } else {
      while (!go_on) std::this_thread::yield();
      events.record("other ends");
    }
  });
  std::thread first([&] { collected(registry); });
  REQUIRE(eventually([&] { return inside == 1; }));
  std::thread second([&] { collected(registry); });
  REQUIRE(eventually([&] { return inside == 2; }));
  remove = true;
  CHECK(eventually([&] { return registry.size() == 0; }));
  go_on = true;
  first.join();
  second.join();
  CHECK(events.events() == Names{"other ends", "removed"});
}

TEST_CASE("MetricRegistry: a registration may outlive the registry", "[metrics][registry]") {
  Registration registration;
  {
    MetricRegistry registry;
    registration = registry.add(emit("a"));
  }
  CHECK(registration);
  registration.remove();
  CHECK_FALSE(registration);
}

TEST_CASE("MetricRegistry: no collector runs once it has been removed", "[metrics][registry][stress]") {
  MetricRegistry registry;
  std::atomic<bool> stop{false};
  std::atomic<int> late{0};
  std::atomic<std::uint64_t> calls{0};
  std::vector<std::thread> threads;
  for (int index = 0; index < 2; ++index) {
    threads.emplace_back([&] {
      while (!stop) {
        NameSink sink;
        registry.collect(sink);
      }
    });
  }
  std::atomic<int> adders{3};
  for (int index = 0; index < 3; ++index) {
    threads.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        // The memory goes right after the removal: a sanitizer sees who comes late.
        const auto component = std::make_unique<std::atomic<bool>>(true);
        Registration registration = registry.add([&, live = component.get()](MetricSink& sink) {
          if (!*live) ++late;
          ++calls;
          sink.counter("a", "", {}, 1);
          if (calls % 7 == 0) throw std::runtime_error("now and then");
        });
        if (round % 4 == 0) std::this_thread::yield();
        registration.remove();
        *component = false;
      }
      --adders;
    });
  }
  const bool done = eventually([&] { return adders == 0; });
  stop = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(done);
  CHECK(late == 0);
  CHECK(registry.size() == 0);
  CHECK(registry.failures() <= calls);
}

}  // namespace
}  // namespace penstock
