// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The story of an execution that went wrong. Nothing is recorded while searching; an execution that violates something
/// is run again with the recorder on.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/vector_clock.hpp"
#include "model/violation.hpp"

namespace penstock::checker {

class Trace {
 public:
  /// Forgets everything, and records from now on if asked to.
  void start(bool recording);
  [[nodiscard]] bool recording() const { return recording_; }

  /// Accesses to these bytes, and allocations of them, are worth a line.
  void watch(std::uintptr_t address, std::size_t size);

  /// A step of `thread`. Only while recording.
  void step(std::uint32_t thread, std::string text);
  /// What cannot be attributed to a thread, or is no step of it.
  void event(std::string text);
  void note_access(std::uint32_t thread, std::uintptr_t address, std::size_t size, bool write);
  void note_block(std::uint32_t thread, std::uintptr_t address, std::size_t size, bool allocated) {
    if (recording_) note_block_recorded(thread, address, size, allocated);
  }
  /// Remembers where an object was first met, for the legend.
  void note_object(std::string name);

  /// The objects that took part, then all steps.
  [[nodiscard]] std::vector<TraceLine> lines() const;

 private:
  static constexpr std::size_t kMaxFrames = 16;
  static constexpr std::size_t kMaxLines = 400;

  void note_block_recorded(std::uint32_t thread, std::uintptr_t address, std::size_t size, bool allocated);
  static std::vector<void*> frames_here();

  bool recording_ = false;
  std::uintptr_t watched_ = 0;
  std::size_t watched_size_ = 0;
  std::size_t dropped_ = 0;
  std::vector<TraceLine> lines_;
  std::vector<TraceLine> objects_;
};

extern Trace trace;

/// "T1 'worker'".
std::string thread_label(std::uint32_t thread);
/// What is at an address: part of a block, of a stack, of a global, or just the number.
std::string describe_address(std::uintptr_t address);

/// The lines as text, with function, file and line of the first few frames of each that belong to the code under test.
std::string to_text(const std::vector<TraceLine>& lines);

}  // namespace penstock::checker
