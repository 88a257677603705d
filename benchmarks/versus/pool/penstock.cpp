// SPDX-License-Identifier: MIT
// Ours; coroutines are in a file of their own.
#include <memory>
#include <utility>

#include "penstock/exec/worker_pool.hpp"

#include "penstock_pool.hpp"
#include "pool_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t workers, std::size_t capacity) : pool_(versus::make_pool(workers, capacity)) {}

  template <class F>
  void run(F job) {
    versus::check(pool_->execute(std::move(job)) == penstock::OpStatus::kOk, "execute failed");
  }

  template <class F>
  penstock::Job<int> submit(F job) {
    absl::StatusOr<penstock::Job<int>> submitted = pool_->submit(std::move(job));
    versus::check(submitted.ok(), "submit failed");
    return *std::move(submitted);
  }
  static int wait(penstock::Job<int>& job) {
    const absl::StatusOr<int> result = job.get();
    versus::check(result.ok(), "a job failed");
    return *result;
  }

 private:
  const std::unique_ptr<penstock::WorkerPool> pool_;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::pool_workloads<Pool>();
  workloads.merge(versus::coroutine_workloads());
  return versus::run_program(argc, argv, workloads);
}
