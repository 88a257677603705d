// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A run loop that keeps what escaped from its work.

#include <exception>
#include <utility>
#include <vector>

#include "penstock/core/executor.hpp"
#include "penstock/core/run_loop.hpp"

namespace penstock {

/// Keeps what escaped, in order.
class CatchingLoop final : public Executor {
 public:
  void post(Work& work) noexcept override { loop_.post(work); }
  bool revoke(Work& work) noexcept override { return loop_.revoke(work); }
  void on_exception(std::exception_ptr exception) noexcept override { escaped.push_back(std::move(exception)); }
  void run_ready() { loop_.run_ready(); }
  std::vector<std::exception_ptr> escaped;

 private:
  RunLoop loop_;
};

}  // namespace penstock
