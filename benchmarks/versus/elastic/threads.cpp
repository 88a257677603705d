// SPDX-License-Identifier: MIT
// No pool: a std::thread for each job.
#include <cstddef>
#include <thread>
#include <utility>

#include "elastic_workloads.hpp"

namespace {

class Threads {
 public:
  Threads(std::size_t /*workers*/, std::size_t /*capacity*/) {}

  template <class F>
  void run(F job) {
    std::thread(std::move(job)).detach();
  }
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::elastic_workloads<Threads>()); }
