// SPDX-License-Identifier: MIT
#include "line_ring.hpp"

#include <algorithm>

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kFrame = 2;  // the letter and the newline
constexpr char kErrorLetter = 'e';
constexpr char kOutputLetter = 'o';

}  // namespace

void LineRing::drop_oldest() noexcept {
  while (at(begin_.offset) != '\n') ++begin_.offset;
  ++begin_.offset;
  ++begin_.line;
}

void LineRing::append(ProcessStream stream, std::string_view text) noexcept {
  if (bytes_.empty()) return;
  text = text.substr(0, capacity_ - kFrame);
  while (end_.offset - begin_.offset + text.size() + kFrame > capacity_) drop_oldest();
  at(end_.offset++) = stream == ProcessStream::kErrors ? kErrorLetter : kOutputLetter;
  for (const char byte : text) at(end_.offset++) = byte;
  at(end_.offset++) = '\n';
  ++end_.line;
}

bool LineRing::read(Place& place, ProcessLine& line, std::uint64_t& missed) const {
  if (place.offset < begin_.offset) {
    missed += begin_.line - place.line;
    place = begin_;
  }
  if (place.offset == end_.offset) return false;
  std::uint64_t end = place.offset;
  while (at(end) != '\n') ++end;
  std::string text;
  text.reserve(end - place.offset - 1);
  for (std::uint64_t i = place.offset + 1; i < end; ++i) text.push_back(at(i));
  line = {at(place.offset) == kErrorLetter ? ProcessStream::kErrors : ProcessStream::kOutput, std::move(text)};
  place = {end + 1, place.line + 1};
  return true;
}

std::vector<ProcessLine> LineRing::last(std::size_t most) const {
  Place place = begin_;
  const std::uint64_t kept = end_.line - begin_.line;
  const std::uint64_t skipped = kept - std::min<std::uint64_t>(kept, most);
  for (std::uint64_t i = 0; i < skipped; ++i) {
    while (at(place.offset) != '\n') ++place.offset;
    ++place.offset;
    ++place.line;
  }
  std::vector<ProcessLine> lines;
  lines.reserve(kept - skipped);
  ProcessLine line;
  std::uint64_t missed = 0;
  while (read(place, line, missed)) lines.push_back(std::move(line));
  return lines;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
