// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An elastic pool in virtual time: bursts of tasks, a worker for each task that finds none idle, and a trim policy
/// that lets workers go.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "penstock/exec/trim_policy.hpp"

namespace simulation {

/// Tasks that come within a short time.
struct Burst {
  double at_s = 0;
  double within_s = 1;
  std::size_t tasks = 0;
};

struct BurstLoad {
  std::string name{};
  std::string what{};
  double rate = 0;     ///< Tasks per second beside the bursts; the mean of a wave, if there is one.
  double wave_s = 0;   ///< The rate goes from 0 to twice of it and back in this time; 0: it is constant.
  double until_s = 0;  ///< Then there is silence.
  std::vector<Burst> bursts{};
  double task_s = 0.5;        ///< The mean time of a task of no burst.
  double burst_task_s = 15;   ///< Of one of a burst.
  double sigma = 0.7;         ///< Both are log-normal, with this deviation of the logarithm; 0: constant.
  double duration_s = 3'600;  ///< All of it.
};

/// Streams that come in bursts, one burst of 10 000 tasks that block, a steady load, and one in waves; each ends.
[[nodiscard]] const std::vector<BurstLoad>& burst_loads();

struct PoolMoment {
  double time_s = 0;
  std::size_t live = 0;
  std::size_t busy = 0;
};

struct BurstResult {
  std::uint64_t tasks = 0;
  std::uint64_t cold_starts = 0;  ///< Tasks that a thread was made for.
  double thread_seconds = 0;
  double busy_seconds = 0;
  std::size_t most = 0;    ///< Workers.
  double last_task_s = 0;  ///< When the last task ended.
  double to_floor_s = -1;  ///< From then until there were no more than `kPoolFloor`; -1: never.
  std::vector<PoolMoment> moments{};
};
inline constexpr std::size_t kPoolFloor = 3;

/// Without a policy each worker goes after its one task.
[[nodiscard]] BurstResult run(const BurstLoad& load, const std::optional<penstock::TrimPolicy>& policy,
                              std::uint64_t seed);

/// Medians over the seeds.
struct BurstRow {
  std::string contender{};
  double tasks = 0;
  double cold_starts = 0;
  double thread_seconds = 0;
  double use = 0;  ///< The part of the thread-seconds that was busy.
  double most = 0;
  double to_floor_s = 0;
  std::vector<PoolMoment> moments{};  ///< Of the first seed.
};

struct BurstStudy {
  std::string name{};
  std::string what{};
  std::vector<BurstRow> rows{};  ///< A thread for each task, one for each that none was idle for, and the policies.
};
[[nodiscard]] BurstStudy study(const BurstLoad& load, std::uint64_t seeds);

}  // namespace simulation
