// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with what stands in a provider's road: breakers, rate limiters, concurrency limiters. An adapter is
///
///     struct Gate {
///       explicit Gate(const Arguments& arguments);
///       bool call();   // a call that would do nothing: whether it was let through
///     };

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "measure.hpp"

namespace versus {

/// `producers` threads make `items` calls, which are all let through, or all refused. An item is a call.
template <class Gate, bool LetThrough>
Figures calls(const Arguments& arguments) {
  const std::size_t threads = arguments["producers"];
  const std::size_t each = (arguments["items"] + threads - 1) / threads;
  Gate gate(arguments);
  std::atomic<std::size_t> let_through{0};
  const std::vector<std::function<void()>> workers(threads, [&] {
    std::size_t own = 0;
    for (std::size_t left = each; left != 0; --left) own += gate.call() ? 1 : 0;
    let_through += own;
  });
  const Figures figures = run_together(each * threads, workers);
  check(let_through == (LetThrough ? each * threads : 0), "calls: a wrong number was let through");
  return figures;
}

}  // namespace versus
