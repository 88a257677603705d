// SPDX-License-Identifier: MIT
// GLib's GThreadPool, without a limit; threads that have become idle are kept.
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include <glib.h>

#include "elastic_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t /*workers*/, std::size_t /*capacity*/)
      : pool_(g_thread_pool_new(call, nullptr, -1, FALSE, nullptr)) {
    versus::check(pool_ != nullptr, "g_thread_pool_new failed");
    g_thread_pool_set_max_unused_threads(-1);
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { g_thread_pool_free(pool_, FALSE, TRUE); }

  template <class F>
  void run(F job) {
    versus::check(g_thread_pool_push(pool_, new Job(std::move(job)), nullptr) != FALSE, "g_thread_pool_push failed");
  }

 private:
  using Job = std::function<void()>;

  static void call(void* job, void* /*pool*/) { (*std::unique_ptr<Job>(static_cast<Job*>(job)))(); }

  GThreadPool* const pool_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::elastic_workloads<Pool>()); }
