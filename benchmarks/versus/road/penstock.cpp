// SPDX-License-Identifier: MIT
#include <chrono>

#include "penstock/route/circuit_breaker.hpp"
#include "penstock/route/rate_limiter.hpp"
#include "road_workloads.hpp"

namespace {

using namespace std::chrono_literals;
using penstock::RateAlgorithm;
using penstock::RateLimiter;
using versus::Arguments;

class Breaker {
 public:
  explicit Breaker(const Arguments& /*arguments*/) : breaker_(penstock::CircuitBreakerOptions{}) {}
  bool call() {
    auto permit = breaker_.try_acquire();
    if (!permit) return false;
    permit->success(1ms);
    return true;
  }

 protected:
  penstock::CircuitBreaker breaker_;
};

class OpenBreaker : public Breaker {
 public:
  explicit OpenBreaker(const Arguments& arguments) : Breaker(arguments) { breaker_.force_open(); }
};

template <RateAlgorithm Algorithm>
class Plenty {
 public:
  explicit Plenty(const Arguments& /*arguments*/)
      : limiter_({.algorithm = Algorithm, .rate_per_second = 1e9, .burst = 1e9}) {}
  bool call() { return limiter_.try_acquire(); }

 private:
  RateLimiter limiter_;
};

template <RateAlgorithm Algorithm>
class Few {
 public:
  explicit Few(const Arguments& /*arguments*/) : limiter_({.algorithm = Algorithm, .rate_per_second = 1e-3}) {
    versus::check(limiter_.try_acquire(), "there was no token at first");
  }
  bool call() { return limiter_.try_acquire(); }

 private:
  RateLimiter limiter_;
};

}  // namespace

int main(int argc, char** argv) {
  return versus::run_program(argc, argv,
                             {{"breaker", versus::calls<Breaker, true>},
                              {"breaker_open", versus::calls<OpenBreaker, false>},
                              {"rate", versus::calls<Plenty<RateAlgorithm::kGcra>, true>},
                              {"rate_bucket", versus::calls<Plenty<RateAlgorithm::kTokenBucket>, true>},
                              {"rate_refused", versus::calls<Few<RateAlgorithm::kGcra>, false>},
                              {"rate_bucket_refused", versus::calls<Few<RateAlgorithm::kTokenBucket>, false>}});
}
