// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Reads a decision log, says in words what is in it, and replays it.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/clock.hpp"
#include "penstock/swap/detail/decision_format.hpp"
#include "penstock/swap/swap_event.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// What a log says of the scheduler.
struct DecisionLogHeader {
  std::uint32_t version = 0;
  std::uint64_t options_digest = 0;  ///< `decision_digest` of its options
  std::string name = {};
  std::vector<std::string> models = {};  ///< by `ModelId`

  /// Its name, or "(unknown)".
  [[nodiscard]] std::string_view name_of(ModelId model) const noexcept;
};

/// One event, and what it brought about.
struct LoggedDecision {
  LoggedDecision() = default;
  LoggedDecision(LoggedDecision&&) = default;
  LoggedDecision& operator=(LoggedDecision&&) = default;

  std::uint64_t number = 0;  ///< from 0 on, from the scheduler's beginning
  std::size_t offset = 0;    ///< where in the log it begins, in bytes
  TimePoint now{};
  SwapEvent event = TimerEvent{};
  std::uint64_t result = 0;  ///< as `apply` returned it
  SwapActions actions = {};
  std::vector<ModelId> unloaded = {};  ///< the models of an `UnloadEvent`
};

/// Reads a log event by event. Whatever the bytes are, it reads none but them, and says what is wrong and where. The
/// log has to stay as long as the reader is used.
///
/// Threads: none of its own.
class DecisionReader {
 public:
  /// A reader of the log, at its first whole event. InvalidArgument: it is none, or of another version; DataLoss: its
  /// header is damaged.
  [[nodiscard]] static absl::StatusOr<DecisionReader> open(std::span<const std::byte> log);

  [[nodiscard]] const DecisionLogHeader& header() const noexcept { return header_; }

  /// Reads the next event. Returns: false at the end. DataLoss: the log is damaged, the text names the byte; so do all
  /// further calls until `resume`. Throws: std::bad_alloc. Cost: reused, `decision` mostly allocates nothing; whatever
  /// the bytes are, it takes at most a hundred times as many of memory as the event.
  [[nodiscard]] absl::StatusOr<bool> next(LoggedDecision& decision);

  /// After damage, goes on to the next block that is intact and in which an event begins. Returns: false if there is
  /// none. Cost: looks through what is passed over; at each mark of a block in there, also through as much as a block
  /// has, so it is linear whatever the bytes are.
  bool resume();

  /// At the end: whether the log ends within an event, as a file does whose writer ended unasked.
  [[nodiscard]] bool ends_within_event() const noexcept { return ends_within_event_; }

 private:
  explicit DecisionReader(std::span<const std::byte> log) noexcept : log_(log) {}

  [[nodiscard]] absl::Status read_header();
  bool enter_block();
  bool seek_event();
  void read_event(LoggedDecision& decision);
  void read_action(LoggedDecision& decision);
  ModelList read_models(SwapActions& actions);
  void read_models(std::vector<ModelId>& models);

  [[nodiscard]] bool is_reading() const noexcept { return damage_.ok() && !is_out_; }
  unsigned byte();
  std::uint64_t varint();
  std::int64_t number() { return detail::unzigzag(varint()); }
  std::int32_t number32();
  TicketId ticket();
  ModelId model();
  SwapId swap();
  StopId stop();
  TimePoint time();
  Duration duration() { return Duration(number()); }
  bool fail(std::size_t offset, std::string_view what);

  std::span<const std::byte> log_;
  DecisionLogHeader header_;
  std::size_t begin_ = 0;  // of the first block
  std::size_t block_ = 0;  // where the present one begins
  detail::BlockHead head_;
  bool in_block_ = false;
  bool is_block_intact_ = false;  // though it is damage that it is there
  bool is_synced_ = false;        // at the end of an event, or at the beginning of the first
  std::uint32_t events_ = 0;      // of the block, that have been begun
  std::size_t at_ = 0;            // in the log
  std::size_t end_ = 0;           // of the block
  std::uint64_t next_ = 0;        // number of the next event
  detail::DecisionState state_;
  std::vector<ModelId> list_;
  absl::Status damage_;
  bool is_out_ = false;  // within an event, there was no further block
  bool ends_within_event_ = false;
};

/// "grant t7 of 'qwen' (swapped)"
[[nodiscard]] std::string to_text(const SwapAction& action, const SwapActions& actions, const DecisionLogHeader& header,
                                  TimePoint begin);
/// "#12 +1.250000 s  request t7 for 'qwen', priority 3"; times are given from `begin` on.
[[nodiscard]] std::string to_text(const LoggedDecision& decision, const DecisionLogHeader& header, TimePoint begin);
/// The same, and below it a line for each action, indented.
[[nodiscard]] std::string to_lines(const LoggedDecision& decision, const DecisionLogHeader& header, TimePoint begin);

struct ReplayRange {
  /// The scheduler is as it was before this event: 0 for a fresh one, else that of a checkpoint.
  std::uint64_t from_event = 0;
  /// It stops before this one.
  std::uint64_t until_event = std::numeric_limits<std::uint64_t>::max();
};

struct ReplayReport {
  std::uint64_t events = 0;   ///< that were replayed
  std::uint64_t actions = 0;  ///< that were compared
};

/// Tells `scheduler` of the events of a log, and compares all that it answers with what was recorded, bit for bit. At
/// the end it is in the state in which the recorded one was then.
///
/// Returns: how much was replayed, if all of it was the same. Aborted: something is not; the text names the event, and
/// what was recorded and done. InvalidArgument, DataLoss: as `DecisionReader`. FailedPrecondition: the scheduler has
/// other options. OutOfRange: the log begins after `from_event`; what a ring has overwritten is lost. Throws: as the
/// scheduler.
[[nodiscard]] absl::StatusOr<ReplayReport> replay(std::span<const std::byte> log, SwapScheduler& scheduler,
                                                  const ReplayRange& range = {});

}  // namespace penstock::inline PENSTOCK_ABI
