// SPDX-License-Identifier: MIT
// No pool: new and delete, of whichever allocator this program is linked with.
#ifdef VERSUS_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif
#ifdef VERSUS_MIMALLOC
#include <mimalloc.h>
#endif

#include "object_workloads.hpp"

namespace {

template <class T>
class New {
 public:
  explicit New(const versus::Arguments& /*arguments*/) {}
  T* get() { return new T; }
  void put(T* object) { delete object; }
};

/// Whether `operator new` is that of the allocator which is to be measured.
bool is_right() {
#if defined(VERSUS_JEMALLOC)
  const auto allocated = [] {
    std::uint64_t bytes = 0;
    std::size_t size = sizeof(bytes);
    versus::check(mallctl("thread.allocated", &bytes, &size, nullptr, 0) == 0, "mallctl failed");
    return bytes;
  };
  const std::uint64_t before = allocated();
  auto* const object = new versus::Object;
  versus::touch(*object);
  const bool is_right = allocated() - before >= sizeof(versus::Object);
#elif defined(VERSUS_MIMALLOC)
  auto* const object = new versus::Object;
  const bool is_right = mi_is_in_heap_region(object);
#else
  auto* const object = new versus::Object;
  const bool is_right = true;
#endif
  delete object;
  return is_right;
}

}  // namespace

int main(int argc, char** argv) {
  versus::check(is_right(), "this is another allocator");
  return versus::run_program(argc, argv, versus::object_workloads<New>());
}
