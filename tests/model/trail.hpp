// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The decisions of an execution: who runs next, who is woken, whether a time-out strikes.
///
/// An execution is a function of its decisions. So all executions are the leaves of a tree, which is walked depth first
/// by running again and again with the longest prefix that still has an untried alternative (stateless search,
/// Godefroid's VeriSoft 1997); a random execution is a random path through it; and a path, written down, is a schedule.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::checker {

/// xorshift64* (Vigna 2016): the same numbers on every machine, which std::uniform_int_distribution does not promise.
class Random {
 public:
  explicit Random(std::uint64_t seed);
  std::uint32_t below(std::uint32_t bound);

 private:
  std::uint64_t state_;
};

class Trail {
 public:
  /// At most this many alternatives.
  static constexpr std::uint32_t kMaxAlternatives = 64;

  /// Begins the search of a tree: the next execution takes the first alternative everywhere.
  void search();
  /// The next execution takes random alternatives: everywhere, or, since some bugs need a thread that goes far
  /// undisturbed, at every fourth, eighth or sixteenth step and otherwise the first.
  void wander(std::uint64_t seed);
  /// The next execution follows a schedule; false if it is none.
  bool follow(std::string_view schedule);

  /// Chooses one of `count` alternatives, at least 2. The search tries those whose bit is set in `allowed`, of which
  /// the first is always one. Alternatives from `common` on are rare events, which a random walk seldom takes.
  /// `goes_on` says that the first means that the running thread goes on. `situation` is a hash that must be the same
  /// whenever the same decisions have led here.
  std::uint32_t decide(std::uint32_t count, std::uint64_t allowed, std::uint32_t common, bool goes_on,
                       std::uint64_t situation);

  /// The next decision has not been made before in this search.
  [[nodiscard]] bool at_frontier() const { return mode_ == Mode::kSearch && position_ == entries_.size(); }

  /// Turns to the next execution of the search; false if there is none.
  bool next();

  /// The execution took another way than the one before it with the same decisions.
  [[nodiscard]] bool diverged() const { return diverged_; }

  /// Decisions of the last execution: "12.1,3.2" is 12 times the first alternative, then alternative 1, then 3 times
  /// the first, then alternative 2, and the first ever after.
  [[nodiscard]] std::string schedule() const;

 private:
  enum class Mode : std::uint8_t { kSearch, kRandom, kReplay };
  struct Entry {
    std::uint64_t allowed;
    std::uint32_t situation;
    std::uint8_t count;
    std::uint8_t chosen;
  };

  std::vector<Entry> entries_;
  std::size_t position_ = 0;
  std::vector<std::uint8_t> script_;
  Random random_{1};
  std::uint32_t stride_ = 1;
  Mode mode_ = Mode::kSearch;
  bool diverged_ = false;
};

}  // namespace penstock::checker
