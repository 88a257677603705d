// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What a swap runner is made of: a scheduler, those who tell it of events and carry out what it says, and what these
/// know of tickets, tasks and unloads.
///
/// Who has the turn (swap_mailbox.hpp) decides: the thread all that comes, a client what is said of tickets. Each event
/// is decided and carried out before the next one is looked at. A client stops where it comes to what may call somebody
/// else's code (a task, the end of a context, a coroutine that waits), to what has to do with time, or to an allocation
/// that fails; it leaves the rest of that event where it is, and hands the turn to the thread, which goes on from
/// there. So it makes no difference for what is decided, or in which order, who does it.
///
/// A ticket is decided by one compare-and-swap of its phase:
///
///     pending --the runner--> granted --the client--> taken --its lease ends--> over
///        |  |                    '-----the client--> cancelled: the grant does not count
///        |  '-----the client--> cancelled
///        '--the runner--> refused
///
/// Whoever wins tells the other side: the runner by `decided`, the client by mail, of which each ticket has a last one:
/// its lease has ended, its grant was not taken, or it was cancelled. The runner keeps a share of the ticket until that
/// has come, or it has refused it. So a node in the mailbox is never one that has gone.
///
/// A task is settled by the first who says so; the runner keeps a share until it has seen that.
///
/// Locks: scheduler_mutex_, held by who decides while the scheduler does, which asks the planner, and by who asks where
/// a ticket stands; books_lock_; the mailbox's and each happening's. Nothing is locked while one of them is held. The
/// back end and the observer are called, contexts ended, and waiters woken without any.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "penstock/core/context.hpp"
#include "penstock/core/detail/fork.hpp"
#include "penstock/core/detail/spin_lock.hpp"
#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/swap/detail/happening.hpp"
#include "penstock/swap/swap_runner.hpp"
#include "penstock/swap/swap_scheduler.hpp"
#include "swap_mailbox.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// What the back end said, for all whom it is about. Not a copy of the status for each of them: its count of references
/// is kept where ThreadSanitizer does not see it.
using SwapVerdict = std::shared_ptr<const absl::Status>;

/// The same status, sharing nothing with it.
absl::Status unshared(const absl::Status& status);

struct SwapTicketState : SwapMail {
  enum class Phase : std::uint8_t { kPending, kGranted, kTaken, kRefused, kCancelled };
  // What a client says.
  static constexpr std::uint8_t kAsks = 1;
  static constexpr std::uint8_t kHasCancelled = 2;
  static constexpr std::uint8_t kHasNotTaken = 4;
  static constexpr std::uint8_t kIsServed = 8;

  SwapTicketState(std::shared_ptr<SwapRunnerCore> runner, const SwapRequest& asked, TimePoint now) noexcept
      : SwapMail(About::kTicket), core(std::move(runner)), request(asked), since(now) {}

  bool change(Phase from, Phase to) noexcept {
    return phase.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_acquire);  // T1
  }
  [[nodiscard]] Phase seen() const noexcept { return phase.load(std::memory_order_acquire); }  // T1

  // Of clients.
  static SwapTicket handle(std::shared_ptr<SwapTicketState> state) noexcept { return SwapTicket(std::move(state)); }
  /// Takes the lease, with the share, or says why there is none.
  static absl::StatusOr<SwapLease> take(std::shared_ptr<SwapTicketState>&& state, Waiter::Outcome outcome);
  /// Takes the lease, or the request back.
  static absl::StatusOr<SwapLease> take_or_cancel(std::shared_ptr<SwapTicketState>&& state, Waiter::Outcome outcome);
  /// Waits, and does that; also if the wait throws.
  static absl::StatusOr<SwapLease> wait_and_take(std::shared_ptr<SwapTicketState> state, const Context& ctx);
  bool cancel() noexcept;
  void end_lease() noexcept;
  [[nodiscard]] absl::Status refusal() const;
  [[nodiscard]] absl::Status ended_wait(Waiter::Outcome outcome) const;

  const std::shared_ptr<SwapRunnerCore> core;
  const SwapRequest request;
  const TimePoint since;

  //   T1  release in change() -> acquire by who sees the phase: the runner's findings below are there, and what the
  //       client did before it ended a lease.
  world::Atomic<Phase> phase{Phase::kPending};
  Happening decided;
  // Written by the runner before it decides, read after that.
  SwapReason reason{};
  Duration waited{};
  Duration retry_after{};
  SwapVerdict error;

  // Of who has the turn.
  std::shared_ptr<SwapTicketState> self;  // until the scheduler knows it, and of a stray
  TicketId id{};                          // these two are written under the scheduler's lock
  bool is_known = false;                  // to the scheduler, by that id
  bool is_stray = false;
  SwapTicketState* next_stray = nullptr;
  SwapTicketState* previous_stray = nullptr;
  SwapTicketState* next_lost = nullptr;
};

struct SwapTaskState : SwapMail {
  SwapTaskState(std::shared_ptr<SwapRunnerCore> runner, Context::Cancellable given) noexcept
      : SwapMail(About::kTask), core(std::move(runner)), life(std::move(given)) {}

  static SwapTask handle(std::shared_ptr<SwapTaskState> state) noexcept { return SwapTask(std::move(state)); }
  /// Settles it; false if somebody has before. `drops`: the back end has let go of it.
  bool settle(absl::Status how, bool drops) noexcept;

  const std::shared_ptr<SwapRunnerCore> core;
  const Context::Cancellable life;
  std::uint64_t id = 0;  // of the swap; without a target, of the stop
  ModelId target = kNoModel;
  std::vector<ModelId> to_stop;
  Duration stop_timeout{};
  world::Atomic<bool> settled{false};  // who sets it writes the rest, which the mail publishes; so it is relaxed
  absl::Status result;
  bool was_dropped = false;
  // Guarded by the runner's books_lock_.
  SwapTaskState* next_task = nullptr;
  SwapTaskState* previous_task = nullptr;
};

struct SwapUnloadState : SwapMail {
  SwapUnloadState(std::vector<ModelId> given, Duration limit)
      : SwapMail(About::kUnload), models(std::move(given)), timeout(limit) {}

  const std::vector<ModelId> models;
  const Duration timeout;
  std::string subject;  // for texts
  Happening ended;
  SwapVerdict result;                     // written before that; null: OK
  std::shared_ptr<SwapUnloadState> self;  // the runner's, from the request until it has seen it
};

absl::Status result_of(const SwapUnloadState& unload, Waiter::Outcome outcome);

/// What the runner counts that the scheduler does not know.
struct SwapModelBooks {
  std::uint64_t granted = 0;
  std::uint64_t refused = 0;
  std::uint64_t swaps_succeeded = 0;
  std::uint64_t swaps_failed = 0;
  std::unique_ptr<LatencyHistogram::Snapshot> wait;
};

class SwapRunnerCore : public std::enable_shared_from_this<SwapRunnerCore> {
 public:
  explicit SwapRunnerCore(SwapRunnerOptions options);
  SwapRunnerCore(const SwapRunnerCore&) = delete;
  SwapRunnerCore& operator=(const SwapRunnerCore&) = delete;

  [[nodiscard]] const ModelTable& models() const noexcept { return models_; }
  [[nodiscard]] const SwapSchedulerOptions& scheduler_options() const noexcept { return options_.scheduler; }
  [[nodiscard]] const std::string& name() const noexcept { return options_.scheduler.name; }
  [[nodiscard]] Clock& clock() const noexcept { return clock_; }
  /// Whether this is a copy in a forked child, which has no thread, and whose locks may be held for ever.
  [[nodiscard]] bool is_forked() const noexcept { return process_ != fork_generation(); }
  /// Whether the calling thread is the runner's.
  [[nodiscard]] bool is_inside() const noexcept;

  // Life (swap_runner_end.cpp).
  void start();
  SwapShutdownReport shutdown(const Context& ctx);
  void destroy() noexcept;
  [[nodiscard]] bool is_closed() const noexcept;

  // Requests (swap_ticket.cpp).
  absl::StatusOr<std::shared_ptr<SwapTicketState>> submit(ModelChoice model, const SwapRequestOptions& options,
                                                          const Context* ctx);
  absl::StatusOr<std::shared_ptr<SwapUnloadState>> unload(std::vector<ModelId> models, Duration timeout);
  [[nodiscard]] SwapMailbox& mailbox() noexcept { return mailbox_; }
  /// Of a client: posts, and decides about it on this thread, if nobody else is deciding. False once it is closed.
  bool say(SwapTicketState& ticket, std::uint8_t bit) noexcept;

  // What the scheduler says (swap_runner_report.cpp). Nothing while it is deciding on the calling thread.
  [[nodiscard]] TicketState state_of(const SwapTicketState& ticket) const noexcept;
  [[nodiscard]] TicketId id_of(const SwapTicketState& ticket) const noexcept;
  [[nodiscard]] std::optional<std::size_t> position_of(const SwapTicketState& ticket) const noexcept;
  [[nodiscard]] SwapExplanation explain(const SwapTicketState& ticket) const;
  [[nodiscard]] std::optional<Duration> eta_of(const SwapTicketState& ticket) const;
  /// In words: "place 3 of 12; waits for 'a', which serves 3 requests".
  [[nodiscard]] std::string standing_of(const SwapTicketState& ticket) const;
  [[nodiscard]] ModelState model_state(ModelId model) const noexcept;
  [[nodiscard]] SwapRunnerStats stats() const;
  [[nodiscard]] SwapModelStats model_stats(ModelId model) const;
  [[nodiscard]] bool is_idle() const noexcept;
  void collect(MetricSink& sink) const;

  // Texts (swap_runner_report.cpp).
  [[nodiscard]] std::string subject() const;
  [[nodiscard]] std::string subject(ModelId model) const;
  [[nodiscard]] absl::Status inside_error(std::string_view what) const;
  [[nodiscard]] absl::Status forked_error() const;
  [[nodiscard]] absl::Status shut_down_error() const;

  // What others tell it.
  void report_state(ModelId model, ModelState state) noexcept;
  void count_late_answer() noexcept;
  /// Whether `task` is being handed over on this thread: then who hands it over learns of its end.
  [[nodiscard]] bool hands_over(const SwapTaskState& task) const noexcept;
  void note_drop() noexcept { was_dropped_ = true; }

 private:
  struct ModelMail : SwapMail {
    ModelMail() noexcept : SwapMail(About::kModel) {}
  };
  using Tasks = std::unordered_map<std::uint64_t, std::shared_ptr<SwapTaskState>>;
  /// The scheduler, for one look, under its lock; null in a forked child, and while it decides on this thread.
  class Look;

  // Who has the turn (swap_runner_core.cpp). On a client's thread these may stop in the middle: then the rest has been
  // left for the thread.
  void run() noexcept;
  void decide_as_client(SwapMailbox::Taken first) noexcept;
  [[nodiscard]] bool has_left_something() const noexcept;
  void go_on() noexcept;
  void do_what_is_due() noexcept;
  void open(const SwapMailbox::Taken& taken) noexcept;
  /// What `apply` returns. For a request, with its ticket. Throws: std::bad_alloc.
  std::uint64_t ask(const SwapEvent& event, SwapTicketState* asking = nullptr);
  /// What `apply` returns; nothing if it was left.
  std::optional<std::uint64_t> decide(const SwapEvent& event) noexcept;
  /// Decides, and carries out what comes of it.
  void handle(const SwapEvent& event) noexcept;
  void carry_out() noexcept;
  /// False if it was left.
  bool carry_out_actions() noexcept;
  [[nodiscard]] bool is_for_thread(const SwapAction& action) const noexcept;
  /// Has `step` done, and tries again as long as there is no memory for it. Of the thread.
  template <class Step>
  void insist(Step step) noexcept;
  void count_shortage() noexcept;
  void count_withdrawn() noexcept;

  /// Null if there is none of that id.
  [[nodiscard]] SwapTicketState* find(TicketId id) const noexcept;
  void forget(TicketId id) noexcept;
  /// Of a ticket that has ended for the scheduler, whose id may come again: its cancellation is still on its way.
  void keep_stray(std::shared_ptr<SwapTicketState> ticket) noexcept;
  void drop_stray(SwapTicketState& ticket) noexcept;
  void begin_request(SwapTicketState& ticket) noexcept;
  void answer_before(TicketId ended) noexcept;
  void end_request(SwapTicketState& ticket, std::uint8_t said) noexcept;
  /// False if the client has cancelled it.
  bool refuse(const std::shared_ptr<SwapTicketState>& ticket, SwapReason reason, Duration retry_after) noexcept;
  void wake(const std::shared_ptr<SwapTicketState>& ticket) noexcept;
  void note_grant(const SwapTicketState& ticket) noexcept;

  // What it carries out.
  void perform(const GrantTicket& grant) noexcept;
  void perform(const RejectTicket& reject) noexcept;
  void perform(const StartSwap& start) noexcept;
  void perform(const CancelSwap& cancel) noexcept;
  void perform(const StopModels& stop) noexcept;
  void perform(const WakeAt& wake) noexcept;

  // Tasks, unloads and the end (swap_runner_tasks.cpp).
  void begin_task(Tasks& tasks, std::uint64_t id, ModelId target, ModelList to_stop, Duration stop_timeout) noexcept;
  void hand_over(const std::shared_ptr<SwapTaskState>& task) noexcept;
  void end_task(SwapTaskState& task) noexcept;
  void begin_unload(SwapUnloadState& unload) noexcept;
  void end_unload(SwapUnloadState& unload, SwapVerdict result) noexcept;
  void begin_shutdown() noexcept;
  void stop_the_rest() noexcept;

  SwapRunnerOptions options_;  // never changes, but has no back end: that is backend_
  Clock& clock_;
  const std::uint32_t process_;
  const ModelTable models_;
  const bool knows_deadlines_;  // the scheduler makes use of them

  SwapMailbox mailbox_;
  std::vector<ModelMail> model_mail_;
  SwapMail shutdown_mail_{SwapMail::About::kShutdown};

  mutable Mutex scheduler_mutex_;
  SwapScheduler scheduler_ ABSL_GUARDED_BY(scheduler_mutex_);
  // To decide calls nobody's code: no planner, which might also take its time, and no observer but one that is quick.
  const bool clients_decide_;

  mutable SpinLock books_lock_;
  SwapRunnerStats counts_ ABSL_GUARDED_BY(books_lock_);  // but for what is made on demand
  std::vector<SwapModelBooks> model_books_ ABSL_GUARDED_BY(books_lock_);
  bool closed_ ABSL_GUARDED_BY(books_lock_) = false;
  std::uint64_t refused_at_end_ ABSL_GUARDED_BY(books_lock_) = 0;
  SwapTaskState* first_task_ ABSL_GUARDED_BY(books_lock_) = nullptr;  // of those that are out

  Happening quiet_;  // shut down, and no task is out

  // Of who has the turn.
  SwapActions actions_;          // of the event that is under way
  std::size_t carried_out_ = 0;  // of these
  TimePoint now_{};
  bool is_deciding_ = false;
  TimePoint wake_at_ = TimePoint::max();
  TimePoint sleeps_until_ = TimePoint::max();  // the thread, unless it is woken
  SwapVerdict error_;                          // of the task whose end is carried out
  SwapTicketState* lost_ = nullptr;            // grants that nobody was there for
  SwapTicketState** last_lost_ = &lost_;
  // By the low half of their ids, which is a place that the scheduler uses again.
  std::vector<std::shared_ptr<SwapTicketState>> tickets_;
  std::size_t places_ = 0;  // that it has used
  SwapTicketState* strays_ = nullptr;
  std::vector<bool> has_waits_;  // for each model, whether its waits are counted
  // What a client has left, besides actions.
  std::shared_ptr<SwapTicketState> unheard_;  // decided, and those who wait for it do not know
  std::optional<SwapEvent> undecided_;
  SwapMailbox::Taken unopened_;

  // The thread's alone; after it has been joined, the destroying one's.
  std::shared_ptr<SwapBackend> backend_;
  bool is_closing_ = false;
  const SwapTaskState* handing_over_ = nullptr;
  bool was_dropped_ = false;  // what is handed over
  Tasks swaps_;
  Tasks stops_;
  std::unordered_map<std::uint64_t, std::shared_ptr<SwapUnloadState>> unloads_;
  std::vector<std::uint8_t> stops_tried_;  // by the shutdown, for each model

  world::Thread thread_;
};

// --- implementation ---

template <class Step>
void SwapRunnerCore::insist(Step step) noexcept {
  for (std::uint32_t round = 0;; ++round) {
    try {
      return step();
    } catch (const std::bad_alloc&) {
      count_shortage();
    }
    world::back_off(round);
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
