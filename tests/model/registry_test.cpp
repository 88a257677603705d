// SPDX-License-Identifier: MIT

// Once a collector has been removed nobody runs it, and nobody waits for ever: under every schedule.

#include "penstock/metrics/registry.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

#include "model/planted.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
using checker::must_pass;
namespace world = penstock::detail::world;

namespace {

class NullSink final : public MetricSink {
 public:
  void counter(std::string_view, std::string_view, Labels, std::uint64_t) override {}
  void gauge(std::string_view, std::string_view, Labels, double) override {}
  void histogram(std::string_view, std::string_view, Labels, const LatencyHistogram::Snapshot&) override {}
};

void collect(const MetricRegistry& registry) {
  NullSink sink;
  registry.collect(sink);
}

}  // namespace

TEST_CASE("MetricRegistry: removing waits for all who run the collector", "[model][registry]") {
  must_pass({.name = "remove", .preemptions = 2}, [] {
    MetricRegistry registry;
    auto component = std::make_unique<int>(7);
    MetricRegistry::Registration registration = registry.add([part = component.get()](MetricSink&) {
      world::yield();  // so that others may come in between
      MODEL_ASSERT(*part == 7);
    });
    world::Thread first([&] { collect(registry); });
    world::Thread second([&] { collect(registry); });
    registration.remove();
    component.reset();  // used after it is freed, if somebody still runs the collector
    first.join();
    second.join();
  });
}

TEST_CASE("MetricRegistry: a collector may remove itself while others run it", "[model][registry]") {
  must_pass({.name = "remove itself", .preemptions = 2}, [] {
    MetricRegistry registry;
    world::Atomic<bool> first_here{true};
    auto component = std::make_unique<int>(7);
    MetricRegistry::Registration registration;
    registration = registry.add([&](MetricSink&) {
      if (!first_here.exchange(false, std::memory_order_acq_rel)) {
        MODEL_ASSERT(*component == 7);
        return;
      }
      registration.remove();
      component.reset();
    });
    world::Thread other([&] { collect(registry); });
    collect(registry);
    other.join();
    MODEL_ASSERT(component == nullptr && registry.size() == 0);
  });
}

TEST_CASE("MetricRegistry: each of several who remove is woken", "[model][registry]") {
  must_pass({.name = "two remove", .preemptions = 1}, [] {
    MetricRegistry registry;
    MetricRegistry::Registration one = registry.add([](MetricSink&) { world::yield(); });
    MetricRegistry::Registration two = registry.add([](MetricSink&) { world::yield(); });
    world::Thread first([&] { collect(registry); });
    world::Thread second([&] { collect(registry); });
    world::Thread remover([&] { two.remove(); });
    one.remove();
    first.join();
    second.join();
    remover.join();
  });
}

TEST_CASE("MetricRegistry: collecting, adding and removing at once", "[model][registry]") {
  must_pass({.name = "add and remove", .preemptions = 2}, [] {
    MetricRegistry registry;
    world::Thread collecting([&] { collect(registry); });
    {
      const MetricRegistry::Registration one = registry.add([](MetricSink&) {});
      const MetricRegistry::Registration two = registry.add([](MetricSink&) { throw 1; });
    }
    collecting.join();
    MODEL_ASSERT(registry.size() == 0 && registry.failures() <= 1);
  });
}
