// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Random worlds for swap schedulers: models, planners and policies from a seed, and what happens in them as steps that
/// can be told again, and left out one by one.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "penstock/swap/swap_options.hpp"

namespace penstock::testing {

/// SplitMix64 (Steele, Lea and Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed) {}

  std::uint64_t operator()() noexcept {
    std::uint64_t z = state_ += 0x9e37'79b9'7f4a'7c15;
    z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
    z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t end) noexcept { return static_cast<std::size_t>((*this)() % end); }
  std::size_t between(std::size_t least, std::size_t most) noexcept { return least + below(most - least + 1); }
  bool chance(int percent) noexcept { return below(100) < static_cast<std::size_t>(percent); }

 private:
  std::uint64_t state_;
};

/// Which worlds.
enum class WorldKind {
  kPairwise,  ///< up to 10 models, groups and relations
  kGeneral,   ///< up to 10 models, planners that are asked: not monotone, by history, with faults
  kPolicy,    ///< up to 8 models, any planner, deadlines and other orders and bounds
  kIdle,      ///< models that go when nobody uses them, learned times
  kClaim,     ///< the same, and claims
  kDeep,      ///< queues of thousands
  kWide,      ///< hundreds of models
};

struct World {
  std::uint64_t seed = 0;
  WorldKind kind = WorldKind::kPairwise;
  SwapSchedulerOptions options;
  std::string planner;                                                                ///< which one it is
  std::shared_ptr<std::uint64_t> bad_questions = std::make_shared<std::uint64_t>(0);  ///< that it was asked
  std::size_t steps = 0;                                                              ///< how many are taken
  std::size_t most_queued = 0;  ///< beyond which fewer requests come
  bool has_deadlines = false;
  bool has_rough_ends = false;  ///< processes that end by themselves, unloads, doubled reports, a shutdown
};

[[nodiscard]] World make_world(WorldKind kind, std::uint64_t seed);

/// "seed 7: 5 models, group planner, limit at grant, published"
[[nodiscard]] std::string to_text(const World& world);

/// Something that happens, said so that it keeps its sense when others are left out. Who is not there stands for a
/// report about nothing.
struct Step {
  enum class What : std::uint8_t {
    kRequest,  ///< `which`: the model; `value`: its priority; `name`: what the next three call it
    kCancel,   ///< `which`: the name of the request
    kRefuse,
    kServed,
    kSwapDone,  ///< `which`: the target; `name`: of how many more swaps to it have begun since; `value`: it has
                ///< succeeded
    kState,     ///< `which`: the model; `value`: its state
    kUnload,    ///< `models`
    kStopped,   ///< `name`: how many more stops have begun since
    kTimer,
    kShutdown,
  };
  What what = What::kTimer;
  std::uint32_t which = 0;
  std::uint32_t name = 0;
  std::int32_t value = 0;
  std::uint32_t tenant = 0;
  std::int64_t deadline_us = -1;  ///< from then on; negative: none
  std::int64_t after_us = 0;      ///< since the step before
  std::vector<ModelId> models = {};
};

[[nodiscard]] std::string to_text(const Step& step);

}  // namespace penstock::testing
