// SPDX-License-Identifier: MIT
#include "penstock/swap/decision_reader.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "penstock/core/detail/option_text.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

using detail::kBlockHeadBytes;
using detail::kDecisionHeadBytes;
using detail::load;

absl::Status damaged(std::size_t offset, std::string_view what) {
  return absl::DataLossError(fmt::format("decision log: byte {}: {}", offset, what));
}

/// Whether a block begins here, and is intact.
bool read_block(std::span<const std::byte> rest, detail::BlockHead& head, std::string_view& what) {
  what = "the log ends within the head of a block";
  if (rest.size() < kBlockHeadBytes) return false;
  const std::byte* const from = rest.data();
  what = "no block begins here";
  if (load<std::uint32_t>(from) != detail::kBlockMagic) return false;
  head = {.payload_bytes = load<std::uint32_t>(from + 4),
          .block = load<std::uint64_t>(from + 8),
          .first_event = load<std::uint64_t>(from + 16),
          .first_offset = load<std::uint32_t>(from + 24),
          .events = load<std::uint32_t>(from + 28)};
  what = "the block is larger than any is";
  if (head.payload_bytes > detail::kMostBlockBytes - kBlockHeadBytes) return false;
  what = "the log ends within a block";
  if (head.payload_bytes > rest.size() - kBlockHeadBytes) return false;
  detail::Checksum checksum;
  checksum.add(rest.first(32));
  checksum.add(rest.subspan(kBlockHeadBytes, head.payload_bytes));
  what = "the block's checksum is wrong";
  if (load<std::uint64_t>(from + 32) != checksum.value()) return false;
  what = "the block's first event is beyond its end";
  return head.events == 0 || head.first_offset < head.payload_bytes;
}

/// Reads the header's numbers and names.
class HeaderCursor {
 public:
  HeaderCursor(std::span<const std::byte> bytes, std::size_t offset) : bytes_(bytes), offset_(offset) {}

  bool varint(std::uint64_t& number) {
    number = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return false;
      const auto byte = std::to_integer<std::uint64_t>(bytes_[at_++]);
      if (shift == 63 && byte > 1) return false;
      number |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool name(std::string& name) {
    std::uint64_t size = 0;
    if (!varint(size) || size > bytes_.size() - at_) return false;
    name.resize(size);
    if (size != 0) std::memcpy(name.data(), bytes_.data() + at_, size);
    at_ += size;
    return true;
  }
  [[nodiscard]] std::size_t rest() const { return bytes_.size() - at_; }
  [[nodiscard]] std::size_t offset() const { return offset_ + at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t offset_;
  std::size_t at_ = 0;
};

}  // namespace

std::string_view DecisionLogHeader::name_of(ModelId model) const noexcept {
  const auto id = static_cast<std::size_t>(model);
  return id < models.size() ? std::string_view(models[id]) : std::string_view("(unknown)");
}

absl::StatusOr<DecisionReader> DecisionReader::open(std::span<const std::byte> log) {
  DecisionReader reader(log);
  if (absl::Status status = reader.read_header(); !status.ok()) return status;
  return reader;
}

absl::Status DecisionReader::read_header() {
  const auto& magic = detail::kDecisionMagic;
  if (log_.empty()) return absl::InvalidArgumentError("decision log: empty");
  if (!std::equal(magic.begin(), magic.begin() + static_cast<std::ptrdiff_t>(std::min(magic.size(), log_.size())),
                  log_.begin())) {
    return absl::InvalidArgumentError(
        fmt::format("decision log: none: {} bytes that do not begin with 'PENSTKDL'", log_.size()));
  }
  if (log_.size() < kDecisionHeadBytes) return damaged(log_.size(), "the log ends within its header");
  header_.version = load<std::uint32_t>(log_.data() + 8);
  if (header_.version != detail::kDecisionVersion) {
    return absl::InvalidArgumentError(
        fmt::format("decision log: version {}, and {} is known", header_.version, detail::kDecisionVersion));
  }
  const auto size = load<std::uint32_t>(log_.data() + 12);
  if (size > log_.size() - kDecisionHeadBytes) return damaged(log_.size(), "the log ends within its header");
  const std::span rest = log_.subspan(kDecisionHeadBytes, size);
  detail::Checksum checksum;
  checksum.add(rest);
  if (load<std::uint64_t>(log_.data() + 16) != checksum.value()) return damaged(16, "the header's checksum is wrong");
  if (size < 8) return damaged(kDecisionHeadBytes, "the header is too short");
  header_.options_digest = load<std::uint64_t>(rest.data());
  HeaderCursor cursor(rest.subspan(8), kDecisionHeadBytes + 8);
  std::uint64_t models = 0;
  bool is_whole = cursor.name(header_.name) && cursor.varint(models);
  for (; is_whole && models != 0; --models) is_whole = cursor.name(header_.models.emplace_back());
  if (!is_whole || cursor.rest() != 0) return damaged(cursor.offset(), "the header's names do not fit into it");
  begin_ = kDecisionHeadBytes + size;
  block_ = end_ = at_ = begin_;
  return absl::OkStatus();
}

bool DecisionReader::fail(std::size_t offset, std::string_view what) {
  if (damage_.ok()) damage_ = damaged(offset, what);
  return false;
}

bool DecisionReader::enter_block() {
  if (in_block_ && events_ != head_.events) {
    return fail(end_, fmt::format("{} of the block's {} events are there", events_, head_.events));
  }
  if (end_ == log_.size()) {
    is_out_ = true;
    return false;
  }
  std::string_view what;
  detail::BlockHead head;
  block_ = end_;
  if (!read_block(log_.subspan(block_), head, what)) return fail(block_, what);
  if (in_block_ && head.block != head_.block + 1) {
    is_block_intact_ = true;
    return fail(block_, fmt::format("block {} follows block {}", head.block, head_.block));
  }
  head_ = head;
  in_block_ = true;
  events_ = 0;
  at_ = block_ + kBlockHeadBytes;
  end_ = at_ + head.payload_bytes;
  return true;
}

bool DecisionReader::seek_event() {
  if (!is_synced_) {
    // What comes before the first event is the end of one that has been lost.
    do {
      if (!enter_block()) return false;
    } while (head_.events == 0);
    at_ += head_.first_offset;
    next_ = head_.first_event;
    is_synced_ = true;
  }
  while (at_ == end_) {
    if (!enter_block()) return false;
  }
  if (events_ == head_.events) return fail(at_, "the block's events end before it does");
  if (events_ != 0) return true;
  state_ = {};
  if (at_ != block_ + kBlockHeadBytes + head_.first_offset) return fail(at_, "the block's first event is elsewhere");
  if (head_.first_event != next_) {
    return fail(at_, fmt::format("event {} comes instead of event {}", head_.first_event, next_));
  }
  return true;
}

absl::StatusOr<bool> DecisionReader::next(LoggedDecision& decision) {
  if (!damage_.ok()) return damage_;
  is_out_ = false;
  if (seek_event()) {
    ++events_;
    decision.offset = at_;
    decision.number = next_++;
    decision.actions.clear();
    decision.unloaded.clear();
    read_event(decision);
    ends_within_event_ = is_out_;
  }
  if (!damage_.ok()) return damage_;
  return !is_out_;
}

bool DecisionReader::resume() {
  if (damage_.ok()) return true;
  const std::array magic{std::byte{'P'}, std::byte{'S'}, std::byte{'D'}, std::byte{'B'}};
  for (std::size_t from = std::exchange(is_block_intact_, false) ? block_ : block_ + 1; from < log_.size();) {
    const auto found =
        std::search(log_.begin() + static_cast<std::ptrdiff_t>(from), log_.end(), magic.begin(), magic.end());
    if (found == log_.end()) break;
    const auto offset = static_cast<std::size_t>(found - log_.begin());
    detail::BlockHead head;
    std::string_view what;
    if (read_block(log_.subspan(offset), head, what) && head.events != 0) {
      damage_ = absl::OkStatus();
      in_block_ = is_synced_ = false;
      block_ = at_ = end_ = offset;
      return true;
    }
    from = offset + 1;
  }
  block_ = log_.size();
  return false;
}

}  // namespace penstock::inline PENSTOCK_ABI
