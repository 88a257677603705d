// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Random programs of a few parties on a few channels. A program follows from its seed; what happens in it does not.

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "channel/linearizability.hpp"

namespace penstock::testing {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : engine_(seed) {}
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(engine_() % bound); }
  bool percent(std::size_t chance) { return below(100) < chance; }

 private:
  std::mt19937_64 engine_;
};

/// What may end an operation early.
enum class Limit : unsigned char { kNone, kEnded, kShort, kFirstSource, kSecondSource };

struct Planned {
  enum class Kind : unsigned char { kOperation, kCancel, kDrain };
  Kind kind = Kind::kOperation;
  Operation operation{};
  bool by_select = false;  ///< Else in the plain form; for one case only.
  Limit limit = Limit::kNone;
  std::size_t number = 0;  ///< Microseconds of a short limit, the source to cancel, the channel to drain.
  std::size_t pause = 0;   ///< Before it: so many turns of doing nothing, or one yield if 1.
};

enum class PartyKind : unsigned char { kThread, kLoop, kInline };

struct Program {
  std::vector<std::size_t> capacities;
  std::vector<PartyKind> kinds;
  std::vector<std::vector<Planned>> parties;
  bool stamped = true;  ///< Else only each party's own order counts, and no stamp orders the parties' memory.

  static Program from(std::uint64_t seed, bool with_coroutines) {
    Dice dice(seed);
    Program program;
    constexpr std::array<std::size_t, 8> kCapacities{0, 0, 0, 1, 1, 3, 3, 64};
    const std::size_t channels = dice.percent(60) ? 1 : 2 + dice.below(2);
    for (std::size_t i = 0; i != channels; ++i) program.capacities.push_back(kCapacities[dice.below(8)]);
    program.stamped = dice.percent(70);
    const std::size_t parties = 2 + dice.below(3);
    int next_value = 1;
    for (std::size_t party = 0; party != parties; ++party) {
      const std::size_t kind = with_coroutines ? dice.below(5) : 0;
      program.kinds.push_back(kind < 3 ? PartyKind::kThread : kind == 3 ? PartyKind::kLoop : PartyKind::kInline);
      const std::size_t send_chance = 20 + 30 * dice.below(3);
      std::vector<Planned>& all = program.parties.emplace_back();
      for (std::size_t left = 2 + dice.below(5); left != 0; --left)
        all.push_back(plan(dice, channels, send_chance, next_value));
    }
    return program;
  }

 private:
  static Planned plan(Dice& dice, std::size_t channels, std::size_t send_chance, int& next_value) {
    Planned planned;
    planned.pause = dice.percent(50) ? 0 : dice.percent(30) ? 1 : dice.below(400);
    const std::size_t what = dice.below(100);
    if (what < 4) {
      planned.kind = Planned::Kind::kCancel;
      planned.number = dice.below(2);
      return planned;
    }
    if (what < 6) {
      planned.kind = Planned::Kind::kDrain;
      planned.number = dice.below(channels);
      return planned;
    }
    Operation& operation = planned.operation;
    if (what < 9) {
      operation.waits = false;
      operation.cases.push_back({Action::kClose, dice.below(channels)});
      return planned;
    }
    planned.by_select = dice.percent(40);
    operation.waits = dice.percent(60);
    const std::size_t cases = planned.by_select ? 1 + dice.below(3) : 1;
    for (std::size_t i = 0; i != cases; ++i) {
      const bool sends = dice.percent(send_chance);
      operation.cases.push_back(
          {sends ? Action::kSend : Action::kReceive, dice.below(channels), sends ? next_value++ : 0});
    }
    if (operation.waits) {
      const std::size_t limit = dice.below(10);
      if (limit == 0) planned.limit = Limit::kEnded;
      if (limit == 1 || limit == 2) planned.limit = Limit::kShort;
      if (limit == 3) planned.limit = Limit::kFirstSource;
      if (limit == 4) planned.limit = Limit::kSecondSource;
      planned.number = dice.below(60);
    }
    operation.in_order = planned.by_select && dice.percent(50);
    // At random, the end of a select's context is a case like the others; in order it comes last.
    operation.prefers = !planned.by_select || !operation.waits || operation.in_order;
    if (planned.limit == Limit::kEnded) operation.waits = false;
    return planned;
  }
};

}  // namespace penstock::testing
