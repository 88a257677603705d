// SPDX-License-Identifier: MIT
#include "penstock/core/work_stealing_executor.hpp"

#include <stdexcept>

#include <fmt/format.h>

#include "penstock/core/detail/stealing_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

std::size_t checked(std::size_t threads, std::string_view name) {
  if (threads == 0) {
    throw std::invalid_argument(fmt::format("work stealing executor '{}': threads must be at least 1, got 0", name));
  }
  return threads;
}

}  // namespace

WorkStealingExecutor::WorkStealingExecutor(std::size_t threads, std::string_view name)
    : pool_(std::make_unique<detail::StealingPool>(checked(threads, name), name)) {
  pool_->start();
}

WorkStealingExecutor::~WorkStealingExecutor() = default;

void WorkStealingExecutor::post(Work& work) noexcept { pool_->post(work); }

bool WorkStealingExecutor::revoke(Work& work) noexcept { return pool_->revoke(work); }

const std::string& WorkStealingExecutor::name() const noexcept { return pool_->name(); }

std::size_t WorkStealingExecutor::threads() const noexcept { return pool_->threads(); }

bool WorkStealingExecutor::on_own_thread() const noexcept { return pool_->on_own_thread(); }

}  // namespace penstock::inline PENSTOCK_ABI
