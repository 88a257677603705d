// SPDX-License-Identifier: MIT
#include "penstock/swap/detail/decision_format.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

void Checksum::add(std::span<const std::byte> bytes) noexcept {
  const std::size_t whole = bytes.size() / 8 * 8;
  for (std::size_t i = 0; i != whole; i += 8) add(load<std::uint64_t>(bytes.data() + i));
  std::uint64_t rest = bytes.size() - whole;
  for (std::size_t i = whole; i != bytes.size(); ++i) rest = rest << 8U | std::to_integer<std::uint64_t>(bytes[i]);
  add(rest);
}

void seal_block(std::byte* block, const BlockHead& head) noexcept {
  store(block, kBlockMagic);
  store(block + 4, head.payload_bytes);
  store(block + 8, head.block);
  store(block + 16, head.first_event);
  store(block + 24, head.first_offset);
  store(block + 28, head.events);
  Checksum checksum;
  checksum.add(std::span(block, 32));
  checksum.add(std::span(block + kBlockHeadBytes, head.payload_bytes));
  store(block + 32, checksum.value());
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
