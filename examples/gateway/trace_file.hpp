// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// A picture of the run: which worker served which request when, for ui.perfetto.dev.

#include <chrono>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "penstock/channel/ticker.hpp"
#include "penstock/exec/chrome_trace.hpp"

namespace gateway {

/// A `ChromeTrace` that is written to its file once a second, so that it may grow longer than the memory for it.
class TraceFile {
 public:
  /// Throws: std::runtime_error if the file cannot be written.
  explicit TraceFile(const std::string& path) : file_(path), writer_([this] { run(); }) {
    if (file_) return;
    end();
    throw std::runtime_error(path + ": cannot be written");
  }
  ~TraceFile() { end(); }
  TraceFile(const TraceFile&) = delete;
  TraceFile& operator=(const TraceFile&) = delete;

  /// For pools, which it outlives.
  [[nodiscard]] penstock::PoolObserver* observer() noexcept { return &trace_; }

 private:
  void run() {
    for (penstock::TimePoint now : ticker_.channel()) {
      static_cast<void>(now);
      static_cast<void>(trace_.flush());  // a full disk costs the picture, not the requests
    }
  }
  void end() {
    ticker_.channel().close();
    writer_.join();
  }

  std::ofstream file_;
  penstock::ChromeTrace trace_{file_};  // finishes the file at its end
  penstock::Ticker ticker_{std::chrono::seconds(1)};
  std::thread writer_;
};

}  // namespace gateway
