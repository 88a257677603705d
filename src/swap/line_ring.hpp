// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The last lines that a child has written, in a fixed number of bytes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/swap/process_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// A ring of bytes. Each line is kept as a letter for its stream, its text, and a newline, so a short line costs little
/// more than its text; the oldest go when there is no room.
///
/// Threads: guarded by its owner's lock.
class LineRing {
 public:
  /// A reader's place: it reads on from there, or from the oldest line that is left.
  struct Place {
    std::uint64_t offset = 0;
    std::uint64_t line = 0;
  };

  explicit LineRing(std::size_t capacity) noexcept : capacity_(capacity) {}

  /// Allocates, the first time. Throws: std::bad_alloc.
  void prepare() { bytes_.resize(capacity_); }

  /// A line without its end. What does not fit is cut. Until it was prepared, nothing is kept.
  void append(ProcessStream stream, std::string_view text) noexcept;

  /// The next line from `place` on, which moves behind it; false: there is none. `missed` grows by the lines that have
  /// gone before they were read. Throws: std::bad_alloc.
  bool read(Place& place, ProcessLine& line, std::uint64_t& missed) const;

  /// The last `most` lines, oldest first. Throws: std::bad_alloc.
  [[nodiscard]] std::vector<ProcessLine> last(std::size_t most) const;

  /// So many lines were appended so far.
  [[nodiscard]] std::uint64_t lines() const noexcept { return end_.line; }

 private:
  [[nodiscard]] char& at(std::uint64_t offset) noexcept { return bytes_[offset % capacity_]; }
  [[nodiscard]] char at(std::uint64_t offset) const noexcept { return bytes_[offset % capacity_]; }
  void drop_oldest() noexcept;

  std::size_t capacity_;
  std::vector<char> bytes_;
  Place begin_;  // of the oldest line
  Place end_;
};

/// Cuts what comes from one stream into lines.
class LineSplitter {
 public:
  /// Calls `on_line(std::string_view)` for each line that `bytes` ends; a carriage return before its end is dropped,
  /// and one of more than `most` bytes is cut. Throws: std::bad_alloc, having taken some of `bytes`.
  template <class OnLine>
  void feed(std::string_view bytes, std::size_t most, OnLine on_line) {
    while (!bytes.empty()) {
      if (begun_.size() == most && bytes.front() != '\n') flush(on_line);
      const std::size_t end = bytes.find('\n');
      const std::size_t room = most - begun_.size();
      if (end != std::string_view::npos && end <= room) {
        const std::string_view rest = bytes.substr(0, end);
        bytes.remove_prefix(end + 1);
        if (begun_.empty()) {
          on_line(without_return(rest));
        } else {
          begun_.append(rest);
          flush(on_line);
        }
        continue;
      }
      const std::string_view part = bytes.substr(0, room);
      bytes.remove_prefix(part.size());
      begun_.append(part);
    }
  }

  /// The line that has no end.
  template <class OnLine>
  void flush(OnLine on_line) {
    if (begun_.empty()) return;
    on_line(without_return(begun_));
    begun_.clear();
  }

  void clear() noexcept { begun_.clear(); }

 private:
  static std::string_view without_return(std::string_view line) noexcept {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
  }

  std::string begun_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
