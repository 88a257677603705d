// SPDX-License-Identifier: MIT
// boost::lockfree::stack of idle objects; and boost::singleton_pool, memory under a mutex.
#include <cstddef>
#include <memory>
#include <new>

#include <boost/lockfree/stack.hpp>
#include <boost/pool/singleton_pool.hpp>

#include "object_workloads.hpp"

namespace {

using versus::Arguments;

template <class T>
class Stack {
 public:
  explicit Stack(const Arguments& /*arguments*/) {}
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  ~Stack() { purge(); }

  T* get() {
    T* object = nullptr;
    return idle_.pop(object) ? object : new T;
  }
  void put(T* object) {
    if (!idle_.bounded_push(object)) delete object;
  }
  void purge() {
    idle_.consume_all([](T* object) { delete object; });
  }

 private:
  boost::lockfree::stack<T*> idle_{1024};
};

template <class T>
class Pool {
 public:
  explicit Pool(const Arguments& /*arguments*/) {}
  T* get() {
    void* const memory = Memory::malloc();
    versus::check(memory != nullptr, "singleton_pool has no memory");
    return ::new (memory) T;
  }
  void put(T* object) {
    std::destroy_at(object);
    Memory::free(object);
  }

 private:
  using Memory = boost::singleton_pool<T, sizeof(T)>;
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::object_workloads<Stack>("stack_");
  workloads.merge(versus::object_workloads<Pool>("pool_"));
  return versus::run_program(argc, argv, workloads);
}
