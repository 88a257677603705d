// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The decision log's bytes; what they mean is said in decision_log.hpp.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "penstock/swap/swap_model.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

inline constexpr std::array<std::byte, 8> kDecisionMagic{std::byte{'P'}, std::byte{'E'}, std::byte{'N'},
                                                         std::byte{'S'}, std::byte{'T'}, std::byte{'K'},
                                                         std::byte{'D'}, std::byte{'L'}};
inline constexpr std::uint32_t kDecisionVersion = 1;
inline constexpr std::size_t kDecisionHeadBytes = 24;  // of the header, before the digest
inline constexpr std::uint32_t kBlockMagic = 0x4244'5350;
inline constexpr std::size_t kBlockHeadBytes = 40;
inline constexpr std::size_t kMostBlockBytes = std::size_t{1} << 16U;  // with its head
inline constexpr std::size_t kPieceBytes = 64;  // the most that an event or action takes without its list of models

inline constexpr unsigned kHasActions = 0x80;  // of an event's first byte
inline constexpr unsigned kEventKind = 0x0f;
inline constexpr unsigned kFlag0 = 0x10;  // a request has a priority; a report was for something, an unload has a stop
inline constexpr unsigned kFlag1 = 0x20;  // a request has a tenant; a swap has succeeded
inline constexpr unsigned kFlag2 = 0x40;  // a request has a deadline
inline constexpr unsigned kActionKind = 0x07;
inline constexpr unsigned kReasonShift = 3;
inline constexpr unsigned kNever = 0x08;          // a wake-up, in place of the reason
inline constexpr unsigned kHasSwap = 0x01;        // of the byte that follows a refusal's model
inline constexpr unsigned kHasRetryAfter = 0x02;  // of the same

/// Numbers of the same sort are written as differences.
struct DecisionState {
  std::int64_t time = 0;
  std::uint64_t ticket = 0;
  std::uint64_t swap = 0;
  std::uint64_t stop = 0;
  std::uint32_t model = 0;
};

struct BlockHead {
  std::uint32_t payload_bytes = 0;
  std::uint64_t block = 0;
  std::uint64_t first_event = 0;
  std::uint32_t first_offset = 0;
  std::uint32_t events = 0;
};

template <class Number>
constexpr void store(std::byte* to, Number number) noexcept {
  for (std::size_t i = 0; i != sizeof(Number); ++i) to[i] = static_cast<std::byte>(number >> (8 * i));
}
template <class Number>
constexpr Number load(const std::byte* from) noexcept {
  Number number = 0;
  for (std::size_t i = 0; i != sizeof(Number); ++i) {
    number = static_cast<Number>(number | static_cast<Number>(std::to_integer<Number>(from[i]) << (8 * i)));
  }
  return number;
}

constexpr std::uint64_t zigzag(std::int64_t number) noexcept {
  return (static_cast<std::uint64_t>(number) << 1U) ^ static_cast<std::uint64_t>(number >> 63);
}
constexpr std::int64_t unzigzag(std::uint64_t number) noexcept {
  return static_cast<std::int64_t>((number >> 1U) ^ (0 - (number & 1U)));
}

/// Each of its steps loses nothing, so any change within eight bytes is noticed; of others, all but one in 2^64.
class Checksum {
 public:
  void add(std::uint64_t number) noexcept {
    state_ = (state_ ^ number) * 0x9E37'79B9'7F4A'7C15U;
    state_ ^= state_ >> 32U;
  }
  /// Eight at a time, then the rest and its size.
  void add(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::uint64_t value() const noexcept { return state_; }

 private:
  std::uint64_t state_ = 0xCBF2'9CE4'8422'2325U;
};

/// Writes the head of the block of `head.payload_bytes` bytes that follow it.
void seal_block(std::byte* block, const BlockHead& head) noexcept;

}  // namespace penstock::inline PENSTOCK_ABI::detail
