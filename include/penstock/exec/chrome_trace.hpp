// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A picture of what pools do: an observer that writes a trace for ui.perfetto.dev and chrome://tracing.

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string_view>

#include "absl/status/status.h"

#include "penstock/exec/pool_observer.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {
class TraceBuffer;
}

/// Keeps what the pools that it is given to do, and writes it as a trace in Chrome's Trace Event Format:
///
///     std::ofstream file("trace.json");
///     ChromeTrace trace(file);                                        // outlives the pool
///     auto pool = WorkerPool::create({.name = "openai", .observer = &trace});
///     ...
///     pool->reset();
///     absl::Status written = trace.finish();                          // then open the file in ui.perfetto.dev
///
/// A pool is a process in the picture and a worker a thread, in which each job is a slice, with its id, tag, code and
/// outcome. A job's wait in the queue, and a job that its submitter runs itself, is an asynchronous slice of the pool.
/// Jobs that are dropped and the states of the pool are instants. Each slice is recorded as a whole when it ends, so
/// that none lacks its begin or its end; a job that still runs at the end of the trace is a slice up to there.
///
/// The pools never wait for the stream: their events are kept in memory, up to a limit, until `flush` or `finish`
/// writes them. An event that finds no room is lost, and counted. Pools with the same name look like one.
///
/// Threads: the calls of the pools from any thread; `flush`, `finish` and the destructor one at a time.
/// Cost:    two short locks and two copies of the tag for each job.
class ChromeTrace final : public PoolObserver {
 public:
  struct Options {
    /// Memory for events that have not been written yet; at least 64 KiB. A job takes some 200 bytes.
    std::size_t max_bytes = std::size_t{64} << 20;
  };

  /// Names and tags are cut off after this many bytes.
  static constexpr std::size_t kMaxTextBytes = 256;

  /// Writes to `stream`, which outlives the trace, and which nobody else writes to meanwhile.
  /// Throws: std::invalid_argument if the limit is too low; std::bad_alloc.
  explicit ChromeTrace(std::ostream& stream) : ChromeTrace(stream, Options()) {}
  ChromeTrace(std::ostream& stream, Options options);
  /// `finish`. No pool uses the trace any more.
  ~ChromeTrace() override;
  ChromeTrace(const ChromeTrace&) = delete;
  ChromeTrace& operator=(const ChromeTrace&) = delete;

  /// Writes what has been recorded so far, and makes room. The text is a valid trace only after `finish`, although
  /// both viewers read it without its end.
  ///
  /// Returns: OK; DataLoss if the stream has failed, now or before: then nothing is written any more.
  /// Blocks:  while the stream takes the text.
  absl::Status flush();

  /// Writes the rest and the end of the text. What happens afterwards is lost.
  absl::Status finish();

  /// Events that were not written and never will be: there was no room, the stream had failed, or the trace was
  /// finished.
  [[nodiscard]] std::uint64_t lost() const;

  void on_start(const JobEvent& event) override;
  void on_finish(const JobEvent& event) override;
  void on_drop(const JobEvent& event) override;
  void on_state(std::string_view pool, PoolState state, TimePoint at) override;

 private:
  class Text;

  absl::Status write(bool is_last);
  template <class Write>
  void guarded(Write write_text) noexcept;

  const std::unique_ptr<detail::TraceBuffer> buffer_;
  const std::unique_ptr<Text> text_;  // of who flushes
};

}  // namespace penstock::inline PENSTOCK_ABI
