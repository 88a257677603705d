// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Threads with names, a hard limit, an end that somebody waits for, and a list of what each one does right now.

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/channel/broadcaster.hpp"
#include "penstock/core/clock.hpp"
#include "penstock/core/context.hpp"
#include "penstock/exec/detail/thread_call.hpp"

namespace penstock::inline PENSTOCK_ABI {

class MetricSink;

/// What a managed thread is doing.
enum class ThreadState : std::uint8_t {
  kCreated,      ///< Spawned; its function has not begun.
  kRunning,      ///< In its function, awake, and in none of the scopes below.
  kWaiting,      ///< In a `ThreadManager::Waiting`, or asleep in a wait of this library: for a message, an answer.
  kBlocking,     ///< In a `ThreadManager::Blocking`: in a system call, or in code that knows no context.
  kMaintenance,  ///< In a `ThreadManager::Maintenance`: cleaning up, purging.
  kTerminated,   ///< Its function has ended, and is being destroyed.
};
inline constexpr std::size_t kThreadStates = 6;

/// Such as "running".
std::string_view to_string(ThreadState state) noexcept;

/// How a function ended.
enum class ThreadOutcome : std::uint8_t {
  kReturned,
  kThrew,
  kCancelled,  ///< Returned after its context had ended.
};

/// Such as "returned".
std::string_view to_string(ThreadOutcome outcome) noexcept;

/// One managed thread at one moment.
struct ThreadInfo {
  std::uint64_t id = 0;
  std::string name;
  ThreadState state = ThreadState::kCreated;
  TimePoint started{};                            ///< when it was spawned
  TimePoint since{};                              ///< when it entered `state`
  Duration age{};                                 ///< since it was spawned
  Duration in_state{};                            ///< since it entered `state`
  std::array<Duration, kThreadStates> time_in{};  ///< by ThreadState; the sum is `age`

  friend bool operator==(const ThreadInfo&, const ThreadInfo&) = default;
};

/// The beginning or the end of a managed thread.
struct ThreadEvent {
  enum class Kind : std::uint8_t { kSpawned, kFinished };

  Kind kind = Kind::kSpawned;
  std::uint64_t id = 0;
  std::string name;
  TimePoint started{};  ///< when it was spawned
  // Of an end.
  TimePoint ended{};
  ThreadOutcome outcome = ThreadOutcome::kReturned;
  std::string error;  ///< "std::runtime_error: connection reset" if it threw; limited in length
};

/// An exception that a manager has caught.
struct CaughtThreadException {
  std::string_view manager;
  std::uint64_t id;       ///< 0: it came from one of the hooks.
  std::string_view name;  ///< The thread's, or that of the hook: "on_thread_start".
  std::string_view text;  ///< Type and text, "std::runtime_error: connection reset", limited in length.
  std::exception_ptr exception;
};

/// How long a thread may stay in one state before it is called stuck; `Duration::max()` is for ever. Created,
/// terminated and maintaining threads never are. Who waits for a message may do so for hours: a limit for that is for
/// managers whose threads all wait for something that has to come.
struct StuckLimits {
  Duration running = std::chrono::seconds(60);
  Duration waiting = Duration::max();
  Duration blocking = std::chrono::seconds(60);

  [[nodiscard]] Duration of(ThreadState state) const noexcept;
};

/// Those of `threads` that have been in one state for as long as `limits` allow, or longer. A function of its arguments
/// alone.
std::vector<ThreadInfo> stuck_threads(const std::vector<ThreadInfo>& threads, const StuckLimits& limits);

struct ThreadManagerOptions {
  /// Names the manager in texts and metrics; 1 to 256 bytes.
  std::string name = {};
  /// Threads that may exist at once, at work, idle, and on their way in and out; 1 to 4096. With `on_stuck` one more
  /// watches.
  std::size_t max_threads = 64;
  /// Idle threads do not end if that would leave fewer than these; none is started ahead. At most max_threads.
  std::size_t min_threads = 0;
  /// How long an idle thread waits for its next function before it ends; 0: not at all.
  Duration idle_timeout = std::chrono::seconds(60);
  /// How long the destructor waits before it only waits on.
  Duration shutdown_timeout = std::chrono::seconds(5);
  StuckLimits stuck_after = {};
  /// How often `on_stuck` is looked for, while any thread is at work; positive.
  Duration health_interval = std::chrono::seconds(1);
  /// How many ends `history()` remembers; at most a million.
  std::size_t history_size = 256;
  /// How many events a subscriber may be behind before it misses the oldest; 1 to a million.
  std::size_t event_capacity = 256;
  /// Decides all these times; outlives the manager.
  Clock* clock = &Clock::steady();

  // Hooks. What they throw is contained, counted and reported; they may use the manager, but not destroy it.

  /// Called in each thread before its first function, and at its end. `slot` is in [0, max_threads) and belongs to no
  /// other thread meanwhile: for affinity, priority, thread-local set-up.
  std::function<void(std::size_t slot)> on_thread_start = {};
  std::function<void(std::size_t slot)> on_thread_stop = {};
  /// Called once for each time that a thread gets stuck, by a thread of the manager that does nothing else.
  std::function<void(const ThreadInfo&)> on_stuck = {};
  /// Called for each exception that a function, or another hook, lets escape; by several threads at once.
  std::function<void(const CaughtThreadException&)> on_exception = {};

  /// OK, or InvalidArgument with all that is wrong.
  [[nodiscard]] absl::Status validate() const;
};

/// The state of a manager at one moment.
///
///   live     = starting + idle + all of by_state
///   spawned  = finished + all of by_state
///   finished = returned + threw + cancelled
///   live + ending <= max
struct ThreadManagerStats {
  std::size_t max = 0;
  std::size_t live = 0;                               ///< threads, but for those on their way out
  std::size_t starting = 0;                           ///< inside `spawn`
  std::size_t idle = 0;                               ///< waiting for a function
  std::size_t ending = 0;                             ///< on their way out; the last one's memory stays until the next
  std::array<std::size_t, kThreadStates> by_state{};  ///< by ThreadState
  std::size_t stuck = 0;                              ///< longer in one state than allowed
  std::size_t high_water = 0;                         ///< the most that ever were live or ending at once

  std::uint64_t spawned = 0;
  std::uint64_t reused = 0;  ///< of these, by a thread that had been idle
  std::uint64_t finished = 0;
  std::uint64_t returned = 0;
  std::uint64_t threw = 0;
  std::uint64_t cancelled = 0;       ///< returned after their context had ended
  std::uint64_t rejected = 0;        ///< spawns refused at the limit
  std::uint64_t start_failures = 0;  ///< spawns refused because the system had no thread
  std::uint64_t refused_closed = 0;  ///< spawns during or after shutdown
  std::uint64_t idle_expired = 0;    ///< threads that ended because nobody needed them
  std::uint64_t stuck_episodes = 0;  ///< calls of `on_stuck`
  std::uint64_t exceptions = 0;      ///< caught from functions and hooks

  friend bool operator==(const ThreadManagerStats&, const ThreadManagerStats&) = default;
};

/// What a shutdown came to.
struct ThreadShutdownReport {
  bool in_time = true;           ///< it did not have to give up waiting
  std::uint64_t finished = 0;    ///< threads that ended meanwhile
  std::vector<ThreadInfo> left;  ///< those still at work, but for the caller's own; by id

  /// Whether all have ended, but for the one that the calling thread is.
  [[nodiscard]] bool is_complete() const noexcept { return in_time && left.empty(); }
};

/// Runs functions in threads of their own, up to a limit.
///
///     auto threads = ThreadManager::create({.name = "gateway", .max_threads = 16});
///     absl::StatusOr<std::uint64_t> id = (*threads)->spawn("poller", [&](const Context& ctx) {
///       while (!ctx.is_done()) poll(queue.receive(ctx));       // the context ends at shutdown
///     });
///     if (!id.ok()) return id.status();                        // "...: limit of 16 threads reached ..."
///     ...
///     ThreadShutdownReport report = (*threads)->shutdown(Context::background().with_timeout(5s));
///     for (const ThreadInfo& left : report.left) log(left.name, to_string(left.state), left.in_state);
///
/// Each spawn has an id, from 1 up, that is never used again. Its thread is called `name-id` in `top -H` and in
/// debuggers: 15 bytes, of which the id gets what it needs.
///
/// A thread whose function has ended is idle: the next spawn takes the one that became idle last. One that stays idle
/// for `idle_timeout` ends, so that the threads that a burst has left behind go, and those that are needed stay.
///
/// A thread that sleeps in a wait of this library, as for a channel, a job, a place in a pool, a lease, a `CondVar` or
/// work for its `RunLoop`, is shown as waiting by itself, unless it is in a scope. That costs two readings of the clock
/// and no lock, and only where it comes to sleeping. A `Mutex`, which is held for short, is not among these.
///
/// For all else a thread says what it does by scopes, which cost as much, and do nothing on a thread that is not
/// managed. They may be nested, and are not held across a `co_await`:
///
///     { ThreadManager::Blocking blocking;  response = legacy_client.call(request); }
///
/// Forked children have none of the threads: there `spawn` returns FailedPrecondition, every other member finds
/// nothing, and the destructor leaves the memory alone. A child of a managed thread ends by `_exit` or `exec`.
///
/// Threads: any member, from any thread, also from managed ones and from hooks.
class ThreadManager {
 public:
  using Waiting = detail::ThreadScope<ThreadState, ThreadState::kWaiting>;
  using Blocking = detail::ThreadScope<ThreadState, ThreadState::kBlocking>;
  using Maintenance = detail::ThreadScope<ThreadState, ThreadState::kMaintenance>;

  /// Makes a manager without threads, but for the one that watches if there is an `on_stuck`; that one sleeps while
  /// nothing is at work.
  ///
  /// Returns: InvalidArgument for options that make no sense; ResourceExhausted if the watching thread, or that of the
  ///          clock, cannot be started.
  static absl::StatusOr<std::unique_ptr<ThreadManager>> create(ThreadManagerOptions options);

  /// `shutdown` with `options.shutdown_timeout`, then waits for all threads to be gone. Not called from one of them.
  ///
  /// Blocks: while a function runs that ignores the end of its context: a thread cannot be stopped from outside.
  ~ThreadManager();
  ThreadManager(const ThreadManager&) = delete;
  ThreadManager& operator=(const ThreadManager&) = delete;

  /// Has `function(const Context&)` or `function()` called once, in a thread of its own for as long as it runs. The
  /// context ends at shutdown. The function may be movable only, and returns nothing; its thread destroys it before its
  /// end can be seen. What it throws is contained, counted and reported, and its thread lives on.
  ///
  /// Blocks:  at the limit, until a thread is gone that is just ending. One that is still in `on_thread_stop` is not
  ///          waited for, and counts.
  /// Returns: the id; or, with a text that gives the numbers and `function` untouched: ResourceExhausted (the limit, or
  ///          the system refuses a thread), Unavailable (shut down), FailedPrecondition (a forked child),
  ///          InvalidArgument (nothing to call, a name that is not of 1 to 256 bytes).
  /// Throws:  std::bad_alloc.
  /// Cost:    two locks, some four allocations and a wake-up; a new thread if none is idle.
  template <class F>
  absl::StatusOr<std::uint64_t> spawn(std::string_view name, F&& function);

  /// Ends the contexts of all functions, the intake for good, and the idle threads; and waits. May be called again, and
  /// by several threads at once.
  ///
  /// Blocks:  until all functions have ended, or `ctx` ends. From a managed thread it does not wait for that one, nor
  ///          for others that are in here. In `on_thread_start`, and where an end is being delivered, as to a coroutine
  ///          on the inline executor, it does not wait at all.
  /// Throws:  std::system_error if the clock of `ctx` needs a thread and cannot start it; then nothing has happened.
  ThreadShutdownReport shutdown(const Context& ctx);

  /// Begins to listen: gets a kSpawned when a function is about to begin, a kFinished when it has ended, and kClosed
  /// after a shutdown that was complete. A thread never waits for a subscriber, who is told how many events it has
  /// missed.
  ///
  /// Order: those of one thread in theirs. Who has got a kFinished finds it counted, and its thread idle or gone.
  [[nodiscard]] Subscription<ThreadEvent> subscribe();

  /// The last ends, oldest first, at most `options.history_size`. Cost: one lock, held while pointers are copied.
  [[nodiscard]] std::vector<ThreadEvent> history() const;

  /// All threads that are at work, by id. Cost: one lock, held while they are copied.
  [[nodiscard]] std::vector<ThreadInfo> snapshot() const;

  /// Those that are stuck now: `stuck_threads(snapshot(), options.stuck_after)`. Calls no hook.
  [[nodiscard]] std::vector<ThreadInfo> check() const;

  /// The id of the calling thread's function, in whichever manager; 0 if it is not managed.
  [[nodiscard]] static std::uint64_t current_id() noexcept;

  [[nodiscard]] const std::string& name() const noexcept;
  /// Cost: one lock, held while the threads at work are looked at.
  [[nodiscard]] ThreadManagerStats stats() const;
  /// Writes `stats()` to `sink`: metrics `penstock_threads_...`, with the label `manager`.
  void collect(MetricSink& sink) const;

 private:
  friend struct detail::ThreadManagerAccess;
  explicit ThreadManager(std::unique_ptr<detail::ThreadCore> core) noexcept;

  std::unique_ptr<detail::ThreadCore> core_;
};

// --- implementation ---

template <class F>
absl::StatusOr<std::uint64_t> ThreadManager::spawn(std::string_view name, F&& function) {
  absl::Status refusal;
  detail::ThreadAdmission admission(*core_, name, detail::is_empty_function(function), refusal);
  if (!admission.is_granted()) return refusal;
  return admission.enter(detail::ThreadCall(detail::thread_call(std::forward<F>(function))));
}

}  // namespace penstock::inline PENSTOCK_ABI
