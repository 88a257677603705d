// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// All that a swap scheduler was told and decided, in a few bytes each: to be read, and to be replayed bit for bit.
///
/// The format, version 1. Numbers of fixed size are little-endian; a *varint* has seven bits a byte, the lowest first,
/// and bit 7 says that another byte follows; a *signed* one is a varint of `(n << 1) ^ (n >> 63)`. `delta` is the
/// difference to the last number of the same sort, from zero in each block.
///
/// | Part    | Bytes                                                                                                  |
/// |---------|--------------------------------------------------------------------------------------------------------|
/// | header  | "PENSTKDL", u32 version, u32 length of the rest, u64 checksum of the rest; u64 digest of the options,  |
/// |         | the scheduler's name, varint number of models, their names; a name is a varint length and bytes        |
/// | block   | u32 "PSDB", u32 payload bytes, u64 block number, u64 number of the first event that begins in it, u32  |
/// |         | where in the payload that is, u32 how many begin, u64 checksum of all of that and of the payload       |
/// | payload | at most 65496 bytes: events, one after the other. One may go on in the next block. The first that begins
/// here can be read   | |         | without anything before it | | event   | u8 kind (bits 0 to 3, the place in
/// `SwapEvent`) and flags; signed delta of the time in ns; its         | |         | arguments and result; with bit 7,
/// the varint number of its actions, and these                          | | action  | u8 kind (bits 0 to 2, the place
/// in `SwapAction`) and `SwapReason` (bits 3 to 7); its fields            |
///
/// A checksum is of whole numbers n of 64 bits: from 0xCBF29CE484222325 on, s becomes t ^ (t >> 32) with t = (s ^ n) *
/// 0x9E3779B97F4A7C15. Bytes are eight at a time one n, then the rest of them, if any, one more with how many they are
/// before them: their number, shifted to the left by 8 for each, and it added. Of a block, its first 32 bytes are added
/// so, then its payload. It tells damage, not forgery.
///
/// Tickets, swaps, stops and models are deltas; of a ticket, the lower and upper 32 bits for themselves. A request that
/// is served from a model that is ready takes 16 bytes in all, with its grant and its end; a mixed load, 8 to 11 an
/// event.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "penstock/core/clock.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/swap/detail/decision_format.hpp"
#include "penstock/swap/swap_event.hpp"
#include "penstock/swap/swap_options.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What decides is the same if this is the same: a number made of all options but `name`, with every compiler, and on
/// every machine of 64 bits. Of a planner that is not pairwise it knows the name and properties only, and nothing of
/// the release of the library: where one of these decides otherwise, a replay finds out. Throws what `options.planner`
/// throws.
[[nodiscard]] std::uint64_t decision_digest(const SwapSchedulerOptions& options);

struct DecisionLogOptions {
  /// So many bytes of the latest events are kept, in eight to many blocks; the oldest block goes at once. In [4096,
  /// 2^40]. All of it is allocated at once.
  std::size_t capacity_bytes = std::size_t{1} << 20U;

  /// Gets the header at once, and each block as soon as it is full, before it is overwritten: all that it has got, one
  /// behind the other, is a log. Called on the thread that records, without a lock: that thread waits for it, `bytes`
  /// and `stats` do not. It must not record or flush. What it throws is caught and counted; a block that it throws for
  /// is not tried again, and missing in that log; the header is, before the next block. Empty: what is overwritten is
  /// lost.
  std::function<void(std::span<const std::byte>)> spill = {};

  /// How many events the scheduler has been told of before.
  std::uint64_t first_event = 0;

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

struct DecisionLogStats {
  std::uint64_t events = 0;  ///< ever recorded
  std::uint64_t actions = 0;
  std::uint64_t bytes = 0;           ///< that these took, without the headers of blocks
  std::uint64_t first_event = 0;     ///< the number of the oldest that the ring still holds; if none, of the next one
  std::uint64_t blocks = 0;          ///< ever begun
  std::uint64_t spill_failures = 0;  ///< calls of `spill` that threw
};

/// Records what a scheduler is told and decides, in a ring of a fixed number of bytes.
///
/// Threads: `on_decision` and `flush` one at a time, the rest from any thread.
class DecisionLog final : public SwapObserver {
 public:
  /// A log of a scheduler with these options. Throws: std::invalid_argument with the text of `options.validate()`, or
  /// as `decision_digest`; std::bad_alloc.
  explicit DecisionLog(const SwapSchedulerOptions& scheduler, DecisionLogOptions options = {});
  DecisionLog(const DecisionLog&) = delete;
  DecisionLog& operator=(const DecisionLog&) = delete;
  /// As `flush`.
  ~DecisionLog() override;

  /// Records one event. Cost: one lock, and about 0.1 us in all; allocates nothing.
  void on_decision(const SwapEvent& event, TimePoint now, std::uint64_t result, const SwapActions& actions,
                   std::size_t first) noexcept override ABSL_LOCKS_EXCLUDED(mutex_);

  /// True unless there is a `spill`.
  [[nodiscard]] bool is_quick() const noexcept override { return !options_.spill; }

  /// The header and all that the ring holds: a log. Cost: copies the ring; `on_decision` waits for that.
  [[nodiscard]] std::vector<std::byte> bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

  /// Hands the block that is not full yet to `spill`, too. The next event begins another one.
  void flush() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] DecisionLogStats stats() const noexcept ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void begin_event() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void end_event() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void add(const SwapEvent& event, TimePoint now, std::uint64_t result, bool has_actions)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void add(const SwapAction& action, const SwapActions& actions) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void add(std::span<const ModelId> models) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  template <class Encode>
  void piece(const Encode& encode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void append(const std::byte* from, std::size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void next_block() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void seal() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool spill(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] std::byte* slot(std::uint64_t block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] const std::byte* slot(std::uint64_t block) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] std::uint64_t oldest_block() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const DecisionLogOptions options_;
  const std::vector<std::byte> header_;
  const std::size_t slots_;
  const std::size_t slot_bytes_;
  bool has_spilled_header_ = false;  // of the recording thread

  mutable Mutex mutex_;                                  // let go of while `spill` is called, also within an event
  std::vector<std::byte> ring_ ABSL_GUARDED_BY(mutex_);  // block n in slot n % slots_
  detail::BlockHead open_ ABSL_GUARDED_BY(mutex_);       // of the block that is written
  std::size_t used_ ABSL_GUARDED_BY(mutex_) = 0;         // bytes of its slot
  detail::DecisionState state_ ABSL_GUARDED_BY(mutex_);
  detail::BlockHead whole_ ABSL_GUARDED_BY(mutex_);  // the block, as it was when the last whole event had been written
  DecisionLogStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace penstock::inline PENSTOCK_ABI
