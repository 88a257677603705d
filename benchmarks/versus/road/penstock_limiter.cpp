// SPDX-License-Identifier: MIT
#include "penstock/route/concurrency_limiter.hpp"
#include "road_workloads.hpp"

namespace {

using penstock::ConcurrencyLimiter;
using versus::Arguments;

class Limiter {
 public:
  explicit Limiter(const Arguments& arguments)
      : limiter_({.algorithm = penstock::FixedLimit{.limit = arguments["capacity"]}}) {}
  bool call() {
    auto slot = limiter_.acquire();
    if (!slot.ok()) return false;
    slot->success();
    return true;
  }
  bool try_call() {
    auto slot = limiter_.try_acquire();
    if (!slot) return false;
    slot->success();
    return true;
  }

 private:
  ConcurrencyLimiter limiter_;
};

struct TryingLimiter : Limiter {
  using Limiter::Limiter;
  bool call() { return try_call(); }
};

}  // namespace

int main(int argc, char** argv) {
  return versus::run_program(
      argc, argv, {{"limiter", versus::calls<Limiter, true>}, {"limiter_try", versus::calls<TryingLimiter, true>}});
}
