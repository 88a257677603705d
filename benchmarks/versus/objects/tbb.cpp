// SPDX-License-Identifier: MIT
// No pool: tbb::scalable_allocator.
#include <memory>

#include <oneapi/tbb/scalable_allocator.h>

#include "object_workloads.hpp"

namespace {

template <class T>
class Scalable {
 public:
  explicit Scalable(const versus::Arguments& /*arguments*/) {}
  T* get() { return ::new (allocator_.allocate(1)) T; }
  void put(T* object) {
    std::destroy_at(object);
    allocator_.deallocate(object, 1);
  }

 private:
  tbb::scalable_allocator<T> allocator_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::object_workloads<Scalable>()); }
