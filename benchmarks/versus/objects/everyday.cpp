// SPDX-License-Identifier: MIT
// What everybody writes: a vector under a std::mutex; and lists of a thread's own, which is the least that a pool can
// cost, but what is returned on another thread never comes back, and nothing limits them.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "object_workloads.hpp"

namespace {

using versus::Arguments;

template <class T>
class Locked {
 public:
  explicit Locked(const Arguments& /*arguments*/) { idle_.reserve(kMostIdle); }

  std::unique_ptr<T> get() {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<T> object = std::move(idle_.back());
        idle_.pop_back();
        return object;
      }
    }
    return std::make_unique<T>();
  }
  void put(std::unique_ptr<T> object) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() != kMostIdle) idle_.push_back(std::move(object));
  }
  void purge() {
    std::vector<std::unique_ptr<T>> dropped;
    dropped.reserve(kMostIdle);
    const std::lock_guard lock(mutex_);
    dropped.swap(idle_);
  }

 private:
  static constexpr std::size_t kMostIdle = 1024;

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

/// Of the calling thread. The objects are linked by their second word.
template <class T>
class List {
 public:
  explicit List(const Arguments& /*arguments*/) {}

  T* get() {
    T* const object = first;
    if (object == nullptr) {
      versus::touch(freeing);
      return new T;
    }
    first = next(object);
    return object;
  }
  void put(T* object) {
    object->words[1] = reinterpret_cast<std::uintptr_t>(first);
    first = object;
  }
  void purge() {
    while (first != nullptr) delete std::exchange(first, next(first));
  }

 protected:
  bool has_one() const { return first != nullptr; }

 private:
  struct Freeing {
    ~Freeing() {
      while (first != nullptr) delete std::exchange(first, next(first));
    }
  };
  static T* next(const T* object) { return reinterpret_cast<T*>(object->words[1]); }

  static inline constinit thread_local T* first = nullptr;
  static inline thread_local Freeing freeing;
};

/// With counts that all threads share.
template <class T>
class CountedList : public List<T> {
 public:
  using List<T>::List;

  T* get() {
    (this->has_one() ? hits_ : misses_).fetch_add(1, std::memory_order_relaxed);
    return List<T>::get();
  }
  void put(T* object) {
    returns_.fetch_add(1, std::memory_order_relaxed);
    List<T>::put(object);
  }

 private:
  std::atomic<std::size_t> hits_{0};
  std::atomic<std::size_t> misses_{0};
  std::atomic<std::size_t> returns_{0};
};

/// With the times of the latest get and put.
template <class T>
class TimedList : public List<T> {
 public:
  using List<T>::List;

  T* get() {
    T* const object = List<T>::get();
    object->words[125] = versus::now_ns();
    return object;
  }
  void put(T* object) {
    object->words[126] = versus::now_ns();
    List<T>::put(object);
  }
};

}  // namespace

int main(int argc, char** argv) {
  versus::Workloads workloads = versus::object_workloads<Locked>();
  workloads.merge(versus::object_workloads<List>("list_"));
  workloads.merge(versus::object_workloads<CountedList>("counted_list_"));
  workloads.merge(versus::object_workloads<TimedList>("timed_list_"));
  return versus::run_program(argc, argv, workloads);
}
