// SPDX-License-Identifier: MIT
// boost::asio::thread_pool. It has no bound.
#include <future>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include "pool_workloads.hpp"

namespace {

class Pool {
 public:
  Pool(std::size_t workers, std::size_t /*capacity*/) : pool_(workers) {}
  ~Pool() { pool_.join(); }

  template <class F>
  void run(F job) {
    boost::asio::post(pool_, std::move(job));
  }

  template <class F>
  std::future<int> submit(F job) {
    return boost::asio::post(pool_, boost::asio::use_future(std::move(job)));
  }
  static int wait(std::future<int>& result) { return result.get(); }

 private:
  boost::asio::thread_pool pool_;
};

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, versus::pool_workloads<Pool>()); }
