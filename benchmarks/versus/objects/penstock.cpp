// SPDX-License-Identifier: MIT
#include <utility>

#include "object_workloads.hpp"
#include "penstock/state/object_pool.hpp"

namespace {

using versus::Arguments;

template <class T, bool Timestamps>
class Pool {
 public:
  explicit Pool(const Arguments& /*arguments*/)
      : pool_({.name = "versus", .purge_every = penstock::Duration::max(), .timestamps = Timestamps}) {}

  penstock::Pooled<T> get() {
    auto object = pool_.acquire();
    versus::check(object.ok(), "acquire failed");
    return *std::move(object);
  }
  static void put(penstock::Pooled<T> object) { object.reset(); }
  void purge() { pool_.purge(); }

 private:
  penstock::ObjectPool<T> pool_;
};

template <class T>
struct Plain : Pool<T, false> {
  using Pool<T, false>::Pool;
};
template <class T>
struct Timed : Pool<T, true> {
  using Pool<T, true>::Pool;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::object_workloads<Plain>();
  workloads.merge(versus::object_workloads<Timed>("timed_"));
  return versus::run_program(argc, argv, workloads);
}
