// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Runs a random program and records what each of its parties saw.
///
/// Parties are threads, and coroutines on a loop or on whatever thread resumes them. When everybody waits, the history
/// so far is judged as it stands, and then the runner does something itself so that the program goes on: it cancels,
/// sends, receives, and in the end closes.

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "channel/linearizability.hpp"
#include "channel/linearizability_program.hpp"
#include "penstock/channel/channel.hpp"
#include "penstock/core/context.hpp"
#include "penstock/core/task.hpp"

namespace penstock::testing {

/// Threads that wait for the next program.
class Crew {
 public:
  explicit Crew(std::size_t size) {
    for (std::size_t i = 0; i != size; ++i) threads_.emplace_back([this, i] { serve(i); });
    loop_thread_ = std::thread([this] { loop_.run(); });
  }
  ~Crew() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    loop_.stop();
    for (std::thread& thread : threads_) thread.join();
    loop_thread_.join();
  }

  RunLoop& loop() { return loop_; }
  void start(std::vector<std::function<void()>> jobs) {
    {
      const std::lock_guard lock(mutex_);
      jobs_ = std::move(jobs);
      jobs_.resize(threads_.size());
      running_ = threads_.size();
      ++round_;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  void serve(std::size_t index) {
    for (unsigned round = 1;; ++round) {
      std::function<void()> job;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ended_ || round_ == round; });
        if (ended_) return;
        job = std::move(jobs_[index]);
      }
      if (job) job();
      const std::lock_guard lock(mutex_);
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable done_;
  std::vector<std::function<void()>> jobs_;
  std::size_t running_ = 0;
  unsigned round_ = 0;
  bool ended_ = false;
  RunLoop loop_;
  std::vector<std::thread> threads_;
  std::thread loop_thread_;
};

/// A run of `program` on `Subject`, which has `run(operation, planned, ctx)`, `close_and_drain(channel)`,
/// `stats(channel)`, and `co_await run_async(operation, by_select, ctx)` for what waits if coroutines take part.
template <class Subject>
class ProgramRun {
 public:
  ProgramRun(Subject& subject, const Program& program, std::uint64_t seed)
      : subject_(subject), program_(program), dice_(seed), seats_(program.parties.size() + 1) {
    for (Seat& seat : seats_) seat.operations.reserve(256);  // a line of the reference points into it
  }

  /// Returns what is wrong, with the history that shows it; nothing if nothing is.
  std::optional<std::string> run(Crew& crew) {
    std::vector<std::function<void()>> jobs;
    std::vector<std::size_t> coroutines;
    for (std::size_t party = 0; party != program_.parties.size(); ++party) {
      if (program_.kinds[party] != PartyKind::kThread) {
        coroutines.push_back(party);
      } else {
        jobs.push_back([this, party] { run_party(party); });
      }
    }
    const std::size_t threads = jobs.size();
    crew.start(std::move(jobs));
    while (at_gate_.load() != threads) std::this_thread::yield();
    gate_.store(true);
    std::vector<JoinHandle<>> handles;
    for (const std::size_t party : coroutines) {
      const bool on_loop = program_.kinds[party] == PartyKind::kLoop;
      handles.push_back(
          spawn(on_loop ? static_cast<Executor&>(crew.loop()) : Executor::inline_executor(), run_coroutine(party)));
    }
    std::optional<std::string> problem = see_it_through();
    crew.wait();
    for (JoinHandle<>& handle : handles) handle.get();
    empty_all();
    if (problem) return problem;
    const History all = history();
    if (!is_linearizable(all)) return "no order explains:\n" + to_string(all);
    for (std::size_t channel = 0; channel != program_.capacities.size(); ++channel) {
      const ChannelStats stats = subject_.stats(channel);
      if (stats.sends != stats.receives + stats.drained || stats.blocked_senders + stats.blocked_receivers != 0 ||
          stats.high_water > program_.capacities[channel]) {
        return "the figures do not add up after:\n" + to_string(all);
      }
    }
    return std::nullopt;
  }

 private:
  struct Seat {
    std::vector<Operation> operations;             // by its party; by others only while that waits or has finished
    std::atomic<const Planned*> current{nullptr};  // what it is in
    std::atomic<bool> finished{false};
  };

  std::uint64_t stamp(std::uint64_t unstamped) { return program_.stamped ? clock_.fetch_add(1) : unstamped; }

  Context context_of(const Planned& planned) {
    switch (planned.limit) {
      case Limit::kEnded:
        return Context::background().with_timeout(Duration(0));
      case Limit::kShort:
        return Context::background().with_timeout(std::chrono::microseconds(planned.number));
      case Limit::kFirstSource:
        return sources_[0].context;
      case Limit::kSecondSource:
        return sources_[1].context;
      default:
        return Context::background();
    }
  }

  Operation& begin(Seat& seat, const Planned& planned) {
    if (planned.pause == 1) std::this_thread::yield();
    for (volatile std::size_t turn = 0; turn < planned.pause;) turn = turn + 1;
    Operation& operation = seat.operations.emplace_back(planned.operation);
    operation.invoked = stamp(0);
    seat.current.store(&planned);
    return operation;
  }
  void end(Seat& seat, Operation& operation) {
    seat.current.store(nullptr);
    operation.returned = stamp(1);
  }

  /// What does not wait for a peer.
  bool do_at_once(Seat& seat, const Planned& planned) {
    if (planned.kind == Planned::Kind::kCancel) {
      cancel(planned.number);
    } else if (planned.kind == Planned::Kind::kDrain) {
      drain(seat, planned.number);
    } else {
      return false;
    }
    return true;
  }
  void cancel(std::size_t source) {
    cancelled_[source].store(true);
    sources_[source].source.cancel();
  }
  void drain(Seat& seat, std::size_t channel) {
    // A close, then a receive of each value, and one that finds nothing; others may receive in between.
    Operation each;
    each.waits = false;
    each.cases = {{Action::kShut, channel}};
    each.taken = 0;
    each.invoked = stamp(0);
    const std::vector<int> values = subject_.close_and_drain(channel);
    each.returned = stamp(1);
    seat.operations.push_back(each);
    each.cases = {{Action::kReceive, channel}};
    for (const int value : values) {
      each.value = value;
      seat.operations.push_back(each);
    }
    each.status = OpStatus::kClosed;
    seat.operations.push_back(each);
  }

  void run_party(std::size_t party) {
    at_gate_.fetch_add(1);
    while (!gate_.load()) std::this_thread::yield();
    Seat& seat = seats_[party];
    for (const Planned& planned : program_.parties[party]) {
      if (do_at_once(seat, planned)) continue;
      const Context ctx = context_of(planned);
      Operation& operation = begin(seat, planned);
      subject_.run(operation, planned.by_select, ctx);
      end(seat, operation);
    }
    seat.finished.store(true);
  }

  Task<> run_coroutine(std::size_t party) {
    Seat& seat = seats_[party];
    for (const Planned& planned : program_.parties[party]) {
      if (do_at_once(seat, planned)) continue;
      const Context ctx = context_of(planned);
      Operation& operation = begin(seat, planned);
      if constexpr (requires { subject_.run_async(operation, true, ctx); }) {
        if (operation.waits) {
          co_await subject_.run_async(operation, planned.by_select, ctx);
          end(seat, operation);
          continue;
        }
      }
      subject_.run(operation, planned.by_select, ctx);
      end(seat, operation);
    }
    seat.finished.store(true);
  }

  History history() const {
    History history{program_.capacities, {}};
    for (const Seat& seat : seats_) history.parties.push_back(seat.operations);
    return history;
  }

  /// Until all parties have finished. Where all that are left wait, judges that and sets one of them free. Channels
  /// that are wrong may never look as if all that are left waited: then it sets them free after half a minute.
  std::optional<std::string> see_it_through() {
    std::optional<std::string> problem;
    const auto start = std::chrono::steady_clock::now();
    std::size_t pushes = 0;
    int forced = 0;
    while (!have_all_finished()) {
      const auto elapsed = std::chrono::steady_clock::now() - start;
      if (elapsed > std::chrono::seconds(60)) {
        std::fprintf(stderr, "%s", problem->c_str());
        std::abort();  // its threads cannot be got out
      }
      if (elapsed > std::chrono::seconds(30) + forced * std::chrono::milliseconds(200)) {
        if (!problem) problem = "a program hangs:\n" + to_string(history());
        push(pushes++);
        ++forced;
      } else if (is_quiet()) {
        const History stuck = history();
        if (!problem && !is_linearizable(stuck, Pending::kAreStuck)) {
          problem = "somebody waits who should not:\n" + to_string(stuck);
        }
        push(pushes++);
      }
      std::this_thread::yield();
    }
    return problem;
  }

  bool have_all_finished() const {
    for (std::size_t party = 0; party != program_.parties.size(); ++party) {
      if (!seats_[party].finished.load()) return false;
    }
    return true;
  }

  /// Whether all who have not finished are in line, and nothing is about to end a wait.
  bool is_quiet() {
    std::vector<const Planned*> waiting(program_.parties.size());
    std::vector<std::size_t> senders(program_.capacities.size());
    std::vector<std::size_t> receivers(program_.capacities.size());
    for (std::size_t party = 0; party != waiting.size(); ++party) {
      if (seats_[party].finished.load()) continue;
      const Planned* const planned = seats_[party].current.load();
      if (planned == nullptr || !planned->operation.waits || planned->limit == Limit::kShort) return false;
      if (planned->limit == Limit::kFirstSource && cancelled_[0].load()) return false;
      if (planned->limit == Limit::kSecondSource && cancelled_[1].load()) return false;
      waiting[party] = planned;
      for (const Case& each : planned->operation.cases)
        ++(each.action == Action::kSend ? senders : receivers)[each.channel];
    }
    for (std::size_t channel = 0; channel != senders.size(); ++channel) {
      const ChannelStats stats = subject_.stats(channel);
      if (stats.blocked_senders != senders[channel] || stats.blocked_receivers != receivers[channel]) return false;
    }
    for (std::size_t party = 0; party != waiting.size(); ++party) {
      if (waiting[party] != nullptr && seats_[party].current.load() != waiting[party]) return false;
    }
    return !have_all_finished();
  }

  void push(std::size_t pushes) {
    const std::size_t what = dice_.below(10);
    if (what == 0 && !cancelled_[0].load()) {
      cancel(0);
    } else if (what == 1 && !cancelled_[1].load()) {
      cancel(1);
    } else if (pushes < 6 && what < 5) {
      act({Action::kReceive, dice_.below(program_.capacities.size())});
    } else if (pushes < 6 && what < 8) {
      act({Action::kSend, dice_.below(program_.capacities.size()), 1000 + static_cast<int>(pushes)});
    } else {
      act({Action::kClose, pushes % program_.capacities.size()});
    }
  }

  Operation act(Case each) {
    Planned planned;
    planned.operation.cases = {each};
    planned.operation.waits = false;
    Seat& seat = seats_.back();
    Operation& operation = begin(seat, planned);
    subject_.run(operation, false, Context::background());
    end(seat, operation);
    return operation;
  }

  /// So that the history tells what was left.
  void empty_all() {
    for (std::size_t channel = 0; channel != program_.capacities.size(); ++channel) {
      act({Action::kClose, channel});
      // Against wrong channels, that never become empty: a bound.
      for (int left = 100; left != 0; --left) {
        if (act({Action::kReceive, channel}).status == OpStatus::kClosed) break;
      }
    }
  }

  Subject& subject_;
  const Program& program_;
  Dice dice_;
  std::vector<Seat> seats_;  // the last is the runner's
  std::atomic<std::uint64_t> clock_{1};
  std::atomic<std::size_t> at_gate_{0};
  std::atomic<bool> gate_{false};
  std::array<Context::Cancellable, 2> sources_{Context::background().with_cancel(),
                                               Context::background().with_cancel()};
  std::array<std::atomic<bool>, 2> cancelled_{};
};

}  // namespace penstock::testing
