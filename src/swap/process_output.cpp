// SPDX-License-Identifier: MIT

// What children write: read by the supervisor's thread, whoever listens; and what listeners are told.

#include <algorithm>
#include <array>

#include "penstock/core/detail/option_text.hpp"
#include "process_core.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

constexpr std::size_t kChunk = 16 * 1024;
constexpr int kChunksAtATime = 4;        // then it is another child's turn
constexpr int kChunksAtTheEnd = 16;      // what a pipe holds, and some more
constexpr std::size_t kLastLines = 5;    // in the text of an error
constexpr std::size_t kLastBytes = 200;  // of each

}  // namespace

void ProcessCore::read_stream(ProcessStream stream, bool to_the_end) {
  Descriptor& from = stream == ProcessStream::kOutput ? child_->running.output : child_->running.errors;
  LineSplitter& lines = child_->lines[static_cast<std::size_t>(stream)];
  // What has left the group may write for ever, so even the end has an end.
  for (int chunks = to_the_end ? kChunksAtTheEnd : kChunksAtATime; chunks > 0 && from; --chunks) {
    std::array<char, kChunk> bytes;
    const int size = read_some(from, bytes);
    if (size < 0) from.reset();
    if (size <= 0) break;
    {
      const MutexLock lock(mutex_);
      counts_.log_bytes += static_cast<std::uint64_t>(size);
    }
    lines.feed(std::string_view(bytes.data(), static_cast<std::size_t>(size)), options_.line_bytes,
               [&](std::string_view line) { add_line(stream, line); });
  }
  if (options_.on_line) listeners_.run_now();
}

void ProcessCore::end_line(ProcessStream stream) {
  child_->lines[static_cast<std::size_t>(stream)].flush([&](std::string_view line) { add_line(stream, line); });
  if (options_.on_line) listeners_.run_now();
}

void ProcessCore::add_line(ProcessStream stream, std::string_view line) {
  if (const auto* const probe = std::get_if<ReadyOnLine>(&options_.ready); probe != nullptr && !child_->is_ready) {
    child_->is_ready = line.find(probe->text) != std::string_view::npos;
  }
  const MutexLock lock(mutex_);
  ring_.append(stream, line);
}

std::string ProcessCore::last_words() const {
  std::vector<ProcessLine> lines;
  {
    const MutexLock lock(mutex_);
    const std::uint64_t own = ring_.lines() - child_->first_line;
    lines = ring_.last(static_cast<std::size_t>(std::min<std::uint64_t>(own, kLastLines)));
  }
  std::string words;
  for (const ProcessLine& line : lines) {
    std::string text = shortened(line.text, kLastBytes);
    // A log that quotes it shall not be forged, nor a terminal be steered.
    std::replace_if(
        text.begin(), text.end(),
        [](char byte) { return (static_cast<unsigned char>(byte) < ' ' && byte != '\t') || byte == '\x7f'; }, '?');
    words += words.empty() ? "" : " | ";
    words += text;
  }
  return words;
}

// --- listeners ---

void ProcessCore::call_listeners() {
  while (call_one()) {
  }
}

bool ProcessCore::call_one() {
  std::optional<ProcessTransition> transition;
  ProcessLine line;
  {
    const MutexLock lock(mutex_);
    if (!tells_) return false;
    if (!untold_.empty()) {
      transition = std::move(untold_.front());
      untold_.pop_front();
    } else if (!options_.on_line || !ring_.read(told_, line, counts_.missed_lines)) {
      return false;
    }
    is_telling_ = true;
    teller_ = world::this_thread_id();
  }
  try {
    transition.has_value() ? options_.on_transition(*transition) : options_.on_line(line);
  } catch (...) {
    count_exception();
  }
  const MutexLock lock(mutex_);
  is_telling_ = false;
  return true;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
