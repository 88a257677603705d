// SPDX-License-Identifier: MIT
#include "support/thread_shortage.hpp"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <limits>
#include <utility>

namespace penstock::testing {
namespace {

constexpr int kPlenty = std::numeric_limits<int>::max();

std::atomic<int> threads_left{kPlenty};

/// Whether there is a thread left; takes it.
bool take_thread() noexcept {
  int left = threads_left.load();
  while (left != kPlenty && left != 0 && !threads_left.compare_exchange_weak(left, left - 1)) {
  }
  return left != 0;
}

}  // namespace

ThreadShortage::ThreadShortage(int left) noexcept { threads_left = left; }
ThreadShortage::~ThreadShortage() { threads_left = kPlenty; }

}  // namespace penstock::testing

// Stands before the system's, or a sanitizer's.
extern "C" int pthread_create(
    pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
    void* argument) noexcept(noexcept(pthread_create(std::declval<pthread_t*>(), std::declval<const pthread_attr_t*>(),
                                                     std::declval<void* (*)(void*)>(), std::declval<void*>()))) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return penstock::testing::take_thread() ? next(thread, attributes, start, argument) : EAGAIN;
}
