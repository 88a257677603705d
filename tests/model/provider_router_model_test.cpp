// SPDX-License-Identifier: MIT

// A provider that is updated and removed under every schedule: each job is answered once, or refused and left as it
// was; each permit and each slot is given back once.

#include <memory>
#include <utility>

#include "penstock/core/detail/parker.hpp"
#include "penstock/core/manual_clock.hpp"
#include "penstock/route/provider_router.hpp"

#include "model/pool_scenario.hpp"

using namespace penstock;  // NOLINT(google-build-using-namespace)
namespace world = penstock::detail::world;

namespace {

ProviderOptions endless() {
  ProviderOptions options;
  options.pool.workers = 1;
  options.pool.measure = false;  // histograms are many steps, and have scenarios of their own
  options.pool.overflow = OverflowPolicy::kReject;
  options.pool.enqueue_timeout = options.pool.queue_wait_limit = Duration::max();
  options.pool.processing_timeout = options.pool.shutdown_timeout = Duration::max();
  options.breaker.emplace();
  options.breaker->window_size = options.breaker->minimum_calls = 2;
  return options;
}

/// A router with the provider "p".
struct Town {
  explicit Town(const ProviderOptions& options = endless()) {
    const checker::Calm calm;  // the start has scenarios of its own
    router = std::make_unique<ProviderRouter>();
    MODEL_ASSERT(router->add("p", options).ok());
    breaker = router->breaker("p");
  }
  ~Town() {
    const checker::Calm calm;
    router.reset();
    const CircuitBreakerStats stats = breaker->stats();
    MODEL_ASSERT(stats.abandoned == 0);
    MODEL_ASSERT(stats.doubled_reports == 0);
  }

  /// A job that counts, and whose answer is 7, or none; submits it once more if its pool goes. Returns whether it ran.
  bool ask(int& ran) const {
    auto job = router->submit("p", [&ran] {
      ++ran;
      return 7;
    });
    if (!job.ok()) {
      MODEL_ASSERT(absl::IsUnavailable(job.status()) || absl::IsNotFound(job.status()));
      MODEL_ASSERT(ran == 0);
      return false;
    }
    const auto answer = job->get();
    MODEL_ASSERT(answer.ok() ? *answer == 7 && ran == 1 : absl::IsCancelled(answer.status()) && ran == 0);
    return answer.ok();
  }

  std::unique_ptr<ProviderRouter> router;
  std::shared_ptr<CircuitBreaker> breaker;
};

void must_pass(const char* name, const checker::Scenario& scenario) {
  checker::must_pass({.name = name, .preemptions = 0, .executions = 8'000}, scenario);
}

}  // namespace

TEST_CASE("ProviderRouter: an update against a submission", "[model][provider_router]") {
  must_pass("router update against submit", [] {
    const Town town;
    int ran = 0;
    bool served = false;
    world::Thread client([&] { served = town.ask(ran); });
    MODEL_ASSERT(town.router->update("p", endless()).ok());
    client.join();
    MODEL_ASSERT(served);  // never refused for an update
  });
}

TEST_CASE("ProviderRouter: an update moves a job that somebody waits for and cancels", "[model][provider_router]") {
  must_pass("router update against cancel", [] {
    const Town town;
    detail::Parker gate;
    detail::Parker started;
    int ran = 0;
    absl::StatusOr<Job<void>> held = absl::UnknownError("");
    absl::StatusOr<Job<void>> job = absl::UnknownError("");
    {
      const checker::Calm calm;
      held = town.router->submit("p", [&] {
        started.unpark();
        gate.park();
      });
      started.park();
      job = town.router->submit("p", [&ran] { ++ran; });
    }
    world::Thread canceller([&] {
      static_cast<void>(job->cancel());
      gate.unpark();
    });
    MODEL_ASSERT(town.router->update("p", endless()).ok());
    const absl::Status answer = job->get();
    MODEL_ASSERT(answer.ok() ? ran == 1 : absl::IsCancelled(answer) && ran == 0);
    MODEL_ASSERT(held->get().ok());
    canceller.join();
  });
}

TEST_CASE("ProviderRouter: a removal against a submission", "[model][provider_router]") {
  must_pass("router remove against submit", [] {
    const Town town;
    int ran = 0;
    world::Thread client([&] { static_cast<void>(town.ask(ran)); });
    MODEL_ASSERT(town.router->remove("p").ok());
    client.join();
    const checker::Calm calm;
    MODEL_ASSERT(absl::IsNotFound(town.router->state("p").status()));
    MODEL_ASSERT(town.router->add("p", endless()).ok());
  });
}

TEST_CASE("ProviderRouter: a removal against an update", "[model][provider_router]") {
  must_pass("router remove against update", [] {
    const Town town;
    absl::Status removed;
    world::Thread remover([&] { removed = town.router->remove("p").status(); });
    const absl::Status updated = town.router->update("p", endless()).status();
    remover.join();
    // One of them at a time: who came second is refused, or finds it done.
    MODEL_ASSERT(updated.ok() || removed.ok());
    MODEL_ASSERT(updated.ok() || absl::IsFailedPrecondition(updated) || absl::IsNotFound(updated));
    MODEL_ASSERT(removed.ok() || absl::IsFailedPrecondition(removed));
    const checker::Calm calm;
    MODEL_ASSERT(town.router->state("p").ok() == !removed.ok());
  });
}

TEST_CASE("ProviderRouter: a shutdown against an update and a submission", "[model][provider_router]") {
  must_pass("router shutdown against update", [] {
    const Town town;
    int ran = 0;
    absl::Status updated;
    world::Thread client([&] { static_cast<void>(town.ask(ran)); });
    world::Thread updater([&] { updated = town.router->update("p", endless()).status(); });
    static_cast<void>(town.router->shutdown(Context::background()));
    client.join();
    updater.join();
    MODEL_ASSERT(updated.ok() || absl::IsFailedPrecondition(updated));
  });
}

TEST_CASE("ProviderRouter: two callers look for overdue calls at once", "[model][provider_router]") {
  must_pass("router overdue calls", [] {
    ManualClock clock;
    ProviderOptions options = endless();
    options.pool.clock = &clock;
    options.pool.processing_timeout = std::chrono::seconds(5);
    options.limiter = ConcurrencyLimiterOptions{.algorithm = FixedLimit{1}};
    const Town town(options);
    detail::Parker gate;
    detail::Parker started;
    absl::StatusOr<Job<void>> hanging = absl::UnknownError("");
    {
      const checker::Calm calm;
      hanging = town.router->submit("p", [&] {
        started.unpark();
        gate.park();
      });
      started.park();
      clock.advance(std::chrono::seconds(6));
    }
    world::Thread observer([&] { static_cast<void>(town.router->state("p")); });
    world::Thread releaser([&] { gate.unpark(); });
    static_cast<void>(town.router->state("p"));
    observer.join();
    releaser.join();
    const checker::Calm calm;
    const absl::Status answer = hanging->get();  // one that returns just when its time is up may still be heard
    MODEL_ASSERT(answer.ok() || absl::IsDeadlineExceeded(answer));
    static_cast<void>(town.router->shutdown(Context::background()));
    const CircuitBreakerStats breaker = town.breaker->stats();
    MODEL_ASSERT(breaker.failed + breaker.succeeded == 1);
    const ConcurrencyLimiterStats limiter = town.router->limiter("p")->stats();
    MODEL_ASSERT(limiter.in_flight == 0);
    MODEL_ASSERT(limiter.dropped + limiter.success == 1);
    MODEL_ASSERT(limiter.doubled_reports + limiter.abandoned == 0);
  });
}
