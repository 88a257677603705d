// SPDX-License-Identifier: MIT
#include <cstddef>
#include <utility>

#include "elastic_workloads.hpp"
#include "penstock/exec/elastic_pool.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t /*workers*/, std::size_t /*capacity*/) {}

  template <class F>
  void run(F job) {
    versus::check(pool_.execute(std::move(job)) == penstock::OpStatus::kOk, "execute failed");
  }

 private:
  penstock::ElasticPool pool_{{.name = "versus"}};
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::elastic_workloads<Pool>()); }
