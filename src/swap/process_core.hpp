// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a `Process` is.
///
/// State, and what is wanted, are guarded by a mutex, and anybody may change them: who asks for a start or a stop makes
/// the step, so whoever looks next sees it. What a step takes (to start, to send signals, to reap, to report, to answer
/// who waits) is done by the supervisor's thread, which looks at the process each time that somebody has rung, and
/// whenever something has happened to its child. So:
///
///   - The child belongs to that thread alone. There is at most one, and at most one group.
///   - Steps are reported in order, and who waits is answered after the steps that lead to the answer were reported.
///   - `kStopping` is left by that thread only, once nobody of the group runs.
///
/// Starts and stops are counted. A wait is for the end of one of them, so it cannot be answered by a later one.

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "child_system.hpp"
#include "line_ring.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/detail/wait_list.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/exec/periodic_runner.hpp"
#include "penstock/swap/detail/process_wait.hpp"
#include "penstock/swap/process_options.hpp"
#include "probe_attempt.hpp"
#include "supervisor_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
class MetricSink;
}

namespace penstock::inline PENSTOCK_ABI::detail {

/// Writes the metrics of a process, with the label process = `name`.
void collect_process(MetricSink& sink, const std::string& name, const ProcessStats& stats);

/// A child and its group: the thread's own.
struct ProcessChild {
  RunningChild running;
  std::uint64_t start = 0;
  TimePoint since{};
  std::array<LineSplitter, 2> lines;  // by stream
  std::uint64_t first_line = 0;       // of its own, in the log
  bool is_ready = false;              // its line or its answer has come
  bool has_begun_check = false;       // of the user's
  bool has_ended = false;             // what is left is its group
  bool was_last = false;              // nothing is left
  bool was_asked = false;             // the stop signal was sent
  TimePoint killed_at = TimePoint::max();
  Duration next_look = std::chrono::milliseconds(1);

  ProbeAttempt probe;
  TimePoint probe_ends{};
  TimePoint next_probe{};
  Duration probe_gap{};
};

class ProcessCore : public std::enable_shared_from_this<ProcessCore> {
 public:
  using Report = std::function<void(ModelState)>;

  /// `options` are valid.
  ProcessCore(std::shared_ptr<SupervisorCore> supervisor, ProcessOptions options);
  ProcessCore(const ProcessCore&) = delete;
  ProcessCore& operator=(const ProcessCore&) = delete;

  /// The second half of the constructor. Throws: std::system_error, std::bad_alloc.
  void begin();
  /// Shuts down, and waits until nothing of it runs any more.
  void destroy() noexcept ABSL_LOCKS_EXCLUDED(mutex_);

  // Anybody's.

  bool enter(const ProcessWish& wish, const Context& ctx, ProcessWait& wait, WaitNode* node)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status leave(const Context& ctx, ProcessWait& wait, WaitNode& node, Waiter::Outcome outcome)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void abandon(WaitNode& node) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// Asks for it, whatever comes of that. `gives_up`: what cannot be killed is not waited for.
  void begin_shutdown(bool gives_up) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  /// From now on the thread calls `report` with each state, and first with the present one.
  void report_to(Report report) ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] const ProcessOptions& options() const noexcept { return options_; }
  [[nodiscard]] bool is_forked() const noexcept { return supervisor_->is_forked(); }
  [[nodiscard]] bool is_own_thread() const noexcept { return supervisor_->is_own_thread(); }
  [[nodiscard]] ModelState state() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] int pid() const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::vector<ProcessLine> log(std::size_t most) const ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] ProcessStats stats() const ABSL_LOCKS_EXCLUDED(mutex_);

  // The supervisor's thread's.

  /// Does what is due, and says what to wait for.
  void turn(Sleep& sleep) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Looks at what has happened.
  void look(const Sleep& sleep) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  /// What is wanted of the thread.
  struct Orders {
    ModelState state = ModelState::kStopped;
    std::uint64_t start = 0;
    TimePoint kill_at{};
    bool check_passed = false;
    bool gives_up = false;
    bool is_overdue = false;
  };

  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);
  struct Places {  // in the last `Sleep`
    std::size_t watch = kNowhere;
    std::array<std::size_t, 2> streams{kNowhere, kNowhere};
    std::size_t probe = kNowhere;
  };

  struct Step {
    ModelState from{};
    ModelState to{};
    TimePoint at{};
    absl::Status cause;
  };

  // process_core.cpp
  void want_ready(ProcessWait& wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void want_stop(const ProcessWish& wish, ProcessWait& wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void step(ModelState to, absl::Status cause = {}) noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void abort_starts() noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Whether somebody waits for the start that is under way, or is to come.
  [[nodiscard]] bool is_start_awaited() const noexcept ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void call_check(const Context& ctx) ABSL_LOCKS_EXCLUDED(mutex_);
  void count_exception() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] absl::Status late(const Context& ctx, const ProcessWait& wait, OpStatus how) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // process_turn.cpp, process_end.cpp: the thread's
  [[nodiscard]] Orders orders() const ABSL_LOCKS_EXCLUDED(mutex_);
  /// Reports the steps that were made, and answers who waits for what has ended. If `start` is not 0, that start has
  /// ended with `result`.
  void publish(std::uint64_t start = 0, const absl::Status& result = {}) ABSL_LOCKS_EXCLUDED(mutex_);
  void answer(std::uint64_t start, const absl::Status& result, WakeList& wake) noexcept
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void report(ModelState state) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void tell(const Step& step) noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void spawn(const Orders& orders) ABSL_LOCKS_EXCLUDED(mutex_);
  void fail_start(std::uint64_t start, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);
  void end_stop() ABSL_LOCKS_EXCLUDED(mutex_);
  void be_stopped(const Orders& orders, TimePoint now, Sleep& sleep) ABSL_LOCKS_EXCLUDED(mutex_);
  void fail_stop() ABSL_LOCKS_EXCLUDED(mutex_);
  void kill_group(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  void see_end() ABSL_LOCKS_EXCLUDED(mutex_);
  void see_group(const Orders& orders, TimePoint now, Sleep& sleep) ABSL_LOCKS_EXCLUDED(mutex_);
  void forget_child() ABSL_LOCKS_EXCLUDED(mutex_);
  void await_events(Sleep& sleep);

  // process_ready.cpp: the thread's
  void be_started(const Orders& orders, TimePoint now, Sleep& sleep) ABSL_LOCKS_EXCLUDED(mutex_);
  void time_out_start(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  void begin_check() ABSL_LOCKS_EXCLUDED(mutex_);
  void end_check() noexcept ABSL_LOCKS_EXCLUDED(mutex_);
  void become_ready(TimePoint now) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] bool is_ready(const Orders& orders, TimePoint now, Sleep& sleep);
  /// For a probe over a connection.
  template <class Probe>
  [[nodiscard]] bool is_ready_on(const Probe& probe, TimePoint now, Sleep& sleep);

  // process_output.cpp: the thread's
  void read_stream(ProcessStream stream, bool to_the_end) ABSL_LOCKS_EXCLUDED(mutex_);
  void end_line(ProcessStream stream) ABSL_LOCKS_EXCLUDED(mutex_);
  void add_line(ProcessStream stream, std::string_view line) ABSL_LOCKS_EXCLUDED(mutex_);
  [[nodiscard]] std::string last_words() const ABSL_LOCKS_EXCLUDED(mutex_);

  // process_output.cpp
  void call_listeners() ABSL_LOCKS_EXCLUDED(mutex_);
  /// Calls with one line or one step; false: there was none.
  bool call_one() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<SupervisorCore> supervisor_;
  const ProcessOptions options_;
  Clock& clock_;
  const absl::Status aborted_;
  const absl::Status gone_;  // shut down
  PeriodicTask listeners_;   // set by begin()
  PeriodicTask check_;
  std::optional<DoneCallback> lifetime_;

  mutable Mutex mutex_;  // leaf: nothing else is locked while it is held
  ModelState state_ ABSL_GUARDED_BY(mutex_) = ModelState::kStopped;
  TimePoint state_since_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t start_ ABSL_GUARDED_BY(mutex_) = 0;            // the latest one
  std::uint64_t aborted_through_ ABSL_GUARDED_BY(mutex_) = 0;  // starts that have not ended otherwise
  bool starts_again_ ABSL_GUARDED_BY(mutex_) = false;          // as start_ + 1, once it has stopped
  std::uint64_t stop_ ABSL_GUARDED_BY(mutex_) = 0;             // the latest one
  std::uint64_t stopped_ ABSL_GUARDED_BY(mutex_) = 0;          // stops that have ended
  TimePoint kill_at_ ABSL_GUARDED_BY(mutex_){};                // in kStopping
  bool shuts_down_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status overdue_ ABSL_GUARDED_BY(mutex_);   // not OK: the stop has failed, and goes on
  bool gives_up_ ABSL_GUARDED_BY(mutex_) = false;  // the destructor does not wait for what cannot be killed
  bool has_child_ ABSL_GUARDED_BY(mutex_) = false;
  bool check_passed_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<CancelSource> check_source_ ABSL_GUARDED_BY(mutex_);  // of the check that is being called
  // Made and not yet reported. Others than the thread make two at most until it has looked, to start and to stop; and
  // it makes two at most, when a stop ends, before it reports.
  std::array<Step, 8> steps_ ABSL_GUARDED_BY(mutex_);
  std::size_t step_count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool has_news_ ABSL_GUARDED_BY(mutex_) = false;  // for waits_
  WaitList waits_ ABSL_GUARDED_BY(mutex_);
  CondVar idle_;  // has no child, and nothing to report
  LineRing ring_ ABSL_GUARDED_BY(mutex_);
  LineRing::Place told_ ABSL_GUARDED_BY(mutex_);  // of on_line
  std::deque<ProcessTransition> untold_ ABSL_GUARDED_BY(mutex_);
  bool is_telling_ ABSL_GUARDED_BY(mutex_) = false;  // a listener is being called
  world::ThreadId teller_ ABSL_GUARDED_BY(mutex_);
  bool tells_ ABSL_GUARDED_BY(mutex_) = true;  // until a listener has destroyed the process
  ProcessStats counts_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Report> report_ ABSL_GUARDED_BY(mutex_);
  bool reports_state_ ABSL_GUARDED_BY(mutex_) = false;  // to who has not heard of it yet

  // The thread's own.
  std::optional<ProcessChild> child_;
  Places places_;
};

}  // namespace penstock::inline PENSTOCK_ABI::detail
