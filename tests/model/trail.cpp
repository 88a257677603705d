// SPDX-License-Identifier: MIT
#include "model/trail.hpp"

#include <bit>
#include <charconv>
#include <iterator>

namespace penstock::checker {
namespace {

/// Reads a number off the front of `text`.
bool take_number(std::string_view& text, std::uint32_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

Random::Random(std::uint64_t seed) {
  // splitmix64, so that neighbouring seeds have nothing in common.
  seed += 0x9E3779B97F4A7C15U;
  seed = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9U;
  seed = (seed ^ (seed >> 27)) * 0x94D049BB133111EBU;
  state_ = (seed ^ (seed >> 31)) | 1U;
}

std::uint32_t Random::below(std::uint32_t bound) {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return static_cast<std::uint32_t>(((state_ * 0x2545F4914F6CDD1DU) >> 32) * bound >> 32);
}

void Trail::search() {
  mode_ = Mode::kSearch;
  entries_.clear();
  position_ = 0;
  diverged_ = false;
}

void Trail::wander(std::uint64_t seed) {
  search();
  mode_ = Mode::kRandom;
  random_ = Random(seed);
  constexpr std::uint32_t kStrides[] = {1, 1, 4, 8, 16};
  stride_ = kStrides[random_.below(std::size(kStrides))];
}

bool Trail::follow(std::string_view schedule) {
  search();
  mode_ = Mode::kReplay;
  script_.clear();
  while (!schedule.empty()) {
    std::uint32_t firsts = 0;
    std::uint32_t chosen = 0;
    if (!take_number(schedule, firsts) || !schedule.starts_with('.')) return false;
    schedule.remove_prefix(1);
    if (!take_number(schedule, chosen) || chosen >= kMaxAlternatives || firsts > 1'000'000) return false;
    script_.insert(script_.end(), firsts, 0);
    script_.push_back(static_cast<std::uint8_t>(chosen));
    if (schedule.starts_with(',')) schedule.remove_prefix(1);
  }
  return true;
}

std::uint32_t Trail::decide(std::uint32_t count, std::uint64_t allowed, std::uint32_t common, bool goes_on,
                            std::uint64_t situation) {
  const std::size_t at = position_++;
  if (mode_ == Mode::kSearch && at < entries_.size()) {
    Entry& entry = entries_[at];
    if (entry.count != count || entry.situation != static_cast<std::uint32_t>(situation)) diverged_ = true;
    return entry.chosen < count ? entry.chosen : 0;
  }
  std::uint32_t chosen = 0;
  if (mode_ == Mode::kRandom) {
    const bool rare = common == 0 || (common < count && random_.below(16) == 0);
    if (!goes_on || stride_ == 1 || random_.below(stride_) == 0) chosen = random_.below(rare ? count : common);
  } else if (mode_ == Mode::kReplay && at < script_.size()) {
    chosen = script_[at];
    if (chosen >= count) {
      diverged_ = true;
      chosen = 0;
    }
  }
  entries_.push_back({allowed, static_cast<std::uint32_t>(situation), static_cast<std::uint8_t>(count),
                      static_cast<std::uint8_t>(chosen)});
  return chosen;
}

bool Trail::next() {
  // An execution that was cut short has not come back to its last decisions: they are as open as before.
  entries_.resize(position_ < entries_.size() ? position_ : entries_.size());
  position_ = 0;
  while (!entries_.empty()) {
    Entry& last = entries_.back();
    const std::uint64_t rest = last.allowed & ~((std::uint64_t{2} << last.chosen) - 1);
    if (rest != 0) {
      last.chosen = static_cast<std::uint8_t>(std::countr_zero(rest));
      return true;
    }
    entries_.pop_back();
  }
  return false;
}

std::string Trail::schedule() const {
  std::string text;
  std::size_t firsts = 0;
  for (const Entry& entry : entries_) {
    if (entry.chosen == 0) {
      ++firsts;
      continue;
    }
    if (!text.empty()) text += ',';
    text += std::to_string(firsts) + '.' + std::to_string(int{entry.chosen});
    firsts = 0;
  }
  return text;
}

}  // namespace penstock::checker
