// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the checker can find, and how it says so.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::checker {

/// A step of the story, and the return addresses of the code that took it, if they matter.
struct TraceLine {
  std::string text;
  std::vector<void*> frames;
};

struct Violation {
  enum class Kind {
    kAssertion,       ///< MODEL_ASSERT failed.
    kRace,            ///< Two accesses to plain memory, one of them a write, and neither happened before the other.
    kDeadlock,        ///< Threads wait, and nobody is left who could wake them: deadlocks and lost wake-ups.
    kLivelock,        ///< Threads spin and nothing changes any more, or an execution does not end.
    kUseAfterFree,    ///< Freed memory, or an atomic, mutex or condition variable that was destroyed, was used.
    kOutOfBounds,     ///< Heap memory outside every block was used.
    kBadFree,         ///< Freed twice, or never allocated.
    kLeak,            ///< Blocks of the execution were alive at its end.
    kThreadLeft,      ///< The scenario ended, or destroyed a Thread, without joining.
    kMisuse,          ///< A mutex was locked twice, unlocked by a stranger, destroyed or left while locked.
    kException,       ///< An exception left a thread.
    kCrash,           ///< std::terminate, abort, or a signal.
    kLimit,           ///< More threads, objects or memory than the checker has.
    kNondeterminism,  ///< The same decisions led elsewhere: the scenario depends on something besides the schedule.
  };

  Kind kind{};
  std::string text;              ///< What happened, in a line or two.
  std::string schedule;          ///< What `replay` takes.
  std::vector<TraceLine> trace;  ///< Step by step; `Result::describe` looks up the places in the code.
  std::uint64_t seed = 0;        ///< Of the random run that found it; 0 if none.
};

std::string_view to_string(Violation::Kind kind);

/// Ends the execution with a violation; its threads are abandoned where they stand. `address` and `size` name the
/// memory in question: the execution is run again, and accesses to it are recorded.
[[noreturn]] void fail(Violation::Kind kind, std::string text, std::uintptr_t address = 0, std::size_t size = 0);

}  // namespace penstock::checker
