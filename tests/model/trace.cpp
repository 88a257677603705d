// SPDX-License-Identifier: MIT
#include "model/trace.hpp"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>

#include <cxxabi.h>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <utility>

#include "model/heap.hpp"
#include "model/region.hpp"
#include "model/shadow.hpp"

namespace penstock::checker {

Trace trace;

void Trace::start(bool recording) {
  if (recording_ || recording) {
    lines_.clear();
    objects_.clear();
  }
  recording_ = recording;
  watched_size_ = 0;
  dropped_ = 0;
}

void Trace::watch(std::uintptr_t address, std::size_t size) {
  watched_ = address;
  watched_size_ = size;
  shadow.watch(address, size);
}

void Trace::step(std::uint32_t thread, std::string text) { event(thread_label(thread) + "  " + text); }

void Trace::event(std::string text) {
  if (lines_.size() == kMaxLines) {  // a livelock: its end is what counts
    lines_.erase(lines_.begin(), lines_.begin() + kMaxLines / 2);
    dropped_ += kMaxLines / 2;
  }
  lines_.push_back({std::move(text), {}});
}

void Trace::note_access(std::uint32_t thread, std::uintptr_t address, std::size_t size, bool write) {
  if (!recording_) return;
  const bool was_observing = std::exchange(observing, false);
  step(thread,
       std::string(write ? "  writes " : "  reads ") + std::to_string(size) + " bytes at " + describe_address(address));
  lines_.back().frames = frames_here();
  observing = was_observing;
}

void Trace::note_block_recorded(std::uint32_t thread, std::uintptr_t address, std::size_t size, bool allocated) {
  if (address >= watched_ + watched_size_ || watched_ >= address + size) return;
  const bool was_observing = std::exchange(observing, false);
  step(thread, (allocated ? "  allocates " : "  frees ") + std::to_string(size) + " bytes");
  lines_.back().frames = frames_here();
  observing = was_observing;
}

void Trace::note_object(std::string name) { objects_.push_back({std::move(name), frames_here()}); }

std::vector<TraceLine> Trace::lines() const {
  std::vector<TraceLine> all = objects_;
  for (std::size_t i = 0; i != lines_.size(); ++i) {
    all.push_back({std::to_string(dropped_ + i + 1) + ". " + lines_[i].text, lines_[i].frames});
  }
  return all;
}

std::vector<void*> Trace::frames_here() {
  std::vector<void*> frames(kMaxFrames);
  frames.resize(static_cast<std::size_t>(backtrace(frames.data(), static_cast<int>(frames.size()))));
  return frames;
}

std::string describe_address(std::uintptr_t address) {
  if (Region::contains(address)) {
    if (Region::is_heap(address)) return heap.describe(address);
    const std::uint32_t thread = Region::thread_of(address);
    return "byte " + std::to_string(Region::stack_top(thread) - address) + " of the stack of " + thread_label(thread);
  }
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(address), &info) != 0 && info.dli_sname != nullptr) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status),
                                                       std::free);
    return plain ? plain.get() : info.dli_sname;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "0x%" PRIxPTR, address);
  return text;
}

namespace {

/// What addr2line says about one address of a module: "function at file:line" and the functions it is inlined into.
std::vector<std::string> look_up(void* frame) {
  Dl_info info{};
  if (dladdr(frame, &info) == 0 || info.dli_fname == nullptr) return {};
  const auto* const header = static_cast<const ElfW(Ehdr)*>(info.dli_fbase);
  std::uintptr_t address = reinterpret_cast<std::uintptr_t>(frame) - 1;  // within the call, not after it
  if (header->e_type == ET_DYN) address -= reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  char command[1024];
  std::snprintf(command, sizeof(command), "addr2line -Cfpi -e '%s' 0x%" PRIxPTR " 2>/dev/null", info.dli_fname,
                address);
  std::vector<std::string> lines;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), pclose);
  if (pipe == nullptr) return {};
  char line[1024];
  while (std::fgets(line, sizeof(line), pipe.get()) != nullptr) {
    std::string text = line;
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    constexpr std::string_view inlined = " (inlined by) ";
    if (text.starts_with(inlined)) text.erase(0, inlined.size());
    lines.push_back(std::move(text));
  }
  return lines;
}

bool is_scenery(const std::string& place) {
  for (const std::string_view each : {"penstock::checker::", "std::", "void std::", "operator ", "__tsan", "__wrap",
                                      "__gnu_cxx", "??", "make_fcontext", "__cxa"}) {
    if (place.starts_with(each)) return true;
  }
  for (const std::string_view each : {"/model/world.hpp", "/model/runtime_hooks.cpp", "/c++/"}) {
    if (place.find(each) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::string to_text(const std::vector<TraceLine>& lines) {
  std::map<void*, std::vector<std::string>> known;  // a look-up starts a process
  std::string text;
  for (const TraceLine& line : lines) {
    text += line.text;
    int shown = 0;
    for (std::size_t i = 0; i != line.frames.size() && shown != 3; ++i) {
      const auto [place, fresh] = known.try_emplace(line.frames[i]);
      if (fresh) place->second = look_up(place->first);
      for (const std::string& each : place->second) {
        if (shown == 3 || is_scenery(each)) continue;
        text += (shown++ == 0 ? "\n      at " : "\n      called by ") + each;
      }
    }
    text += '\n';
  }
  return text;
}

}  // namespace penstock::checker
