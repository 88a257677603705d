// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What threads do with a service that lets models take turns, of which one runs at a time. Swaps take no time. An
/// adapter is
///
///     class Service {
///      public:
///       explicit Service(std::size_t models);        // 0, 1, ...
///       void serve(std::uint32_t model, Work work);  // waits for the grant, works, and tells the end
///     };

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "measure.hpp"

namespace versus {

/// Each of the threads asks for one model after the other, all of them beginning with another one. An item is a
/// request: asked for, granted, served, its end told.
template <class Service>
Figures swap_serve(const Arguments& arguments) {
  const std::size_t models = arguments["models"];
  const std::size_t threads = arguments["producers"];
  const std::size_t each = (arguments["items"] + threads - 1) / threads;
  check(models <= 8 && threads < 256, "serve: too many models or threads");
  Service service(models);
  for (std::uint32_t model = 0; model != models; ++model) service.serve(model, [] {});
  std::atomic<std::uint64_t> served{0};
  std::atomic<std::uint64_t> inside{0};  // a byte for each model
  std::vector<std::function<void()>> workers;
  for (std::size_t thread = 0; thread != threads; ++thread) {
    workers.emplace_back([&, thread] {
      std::uint64_t own = 0;
      for (std::size_t i = 0; i != each; ++i) {
        const std::size_t model = (thread + i) % models;
        service.serve(static_cast<std::uint32_t>(model), [&, model] {
          const std::uint64_t before = inside.fetch_add(std::uint64_t{1} << (8 * model));
          check((before & ~(std::uint64_t{0xff} << (8 * model))) == 0, "serve: two models serve at the same time");
          ++own;
          inside.fetch_sub(std::uint64_t{1} << (8 * model));
        });
      }
      served += own;
    });
  }
  const Figures figures = run_together(each * threads, workers);
  check(served == each * threads, "serve: not all were served");
  return figures;
}

/// All of these for an adapter; their names begin with `prefix`.
template <class Service>
Workloads swap_service_workloads(const std::string& prefix = "") {
  return {{prefix + "serve", swap_serve<Service>}};
}

}  // namespace versus
