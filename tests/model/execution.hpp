// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// One run of a scenario: threads as fibers on one thread of the machine, of which exactly one runs at a time, until it
/// comes to its next step and a decision says who goes on.

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/cells.hpp"
#include "model/explore.hpp"
#include "model/history.hpp"
#include "model/shadow.hpp"
#include "model/trail.hpp"
#include "model/vector_clock.hpp"

namespace penstock::checker {

/// What the checker knows of an atomic, a mutex or a condition variable.
struct Object {
  static constexpr std::uint32_t kNobody = ~0U;

  char kind;                      // 'A', 'M' or 'C'
  std::uint32_t owner = kNobody;  // of a mutex
  std::uint64_t version = 0;      // changes with every write, see history.hpp
  const void* address = nullptr;
  VectorClock released;  // what whoever acquires gets to see
};

/// An exception in flight belongs to a thread, so what the C++ runtime keeps of it is switched with the fibers.
struct ExceptionGlobals {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

struct Fiber {
  enum class State : std::uint8_t {
    kReady,     // runs, or could, once the mutex it wants is free and the thread it joins has ended
    kWaiting,   // in a condition variable or futex
    kSpinning,  // until somebody writes something
    kFinished,
  };
  struct Value {  // thread-local
    const void* key = nullptr;
    void* value = nullptr;
    void (*destroy)(void*) = nullptr;
  };
  static constexpr std::uint32_t kNothing = ~0U;
  static constexpr std::size_t kMaxValues = 16;

  std::uint32_t id = 0;
  State state = State::kReady;
  bool timed = false;       // the wait has a deadline
  bool timed_out = false;   // how the last wait ended
  bool spins_on = false;    // goes through a spin loop with nothing changing
  bool spin_wrote = false;  // wrote something itself in the last turn of the loop
  bool owes_turn = false;   // spins on because nobody else could run
  bool holds_store = false;
  bool held_releases = false;
  std::uint32_t wanted_mutex = kNothing;  // index of an object
  std::uint32_t joined_thread = kNothing;
  std::uint32_t mutexes_held = 0;
  std::uint32_t spins = 0;
  std::uint32_t value_count = 0;
  std::uint32_t random_counter = 0;
  std::uint64_t writes = 0;                      // its own
  std::uint64_t spin_mark = ~std::uint64_t{0};   // number of writes of the others when it last spun
  std::uint64_t spin_total = ~std::uint64_t{0};  // the same of all
  std::uint64_t spin_history = 0;
  std::uint64_t history = 0;
  const void* wait_address = nullptr;
  std::int64_t deadline = 0;
  AtomicCell* held_cell = nullptr;  // store buffer of one store
  std::uint64_t held_bits = 0;
  boost::context::detail::fcontext_t context = nullptr;
  ExceptionGlobals exceptions;
  ThreadBody* body = nullptr;
  VectorClock clock;
  VectorClock held_clock;
  Value values[kMaxValues]{};
  char name[16]{};
};

class Execution {
 public:
  enum class Outcome : std::uint8_t { kDone, kPruned, kViolated };

  /// Runs `scenario` once. `cache` may be null; decisions cost at most `bound`.
  Outcome run(const Options& options, Trail& trail, StateCache* cache, std::uint32_t bound, const Scenario& scenario);

  // --- for explore ---
  std::optional<Violation> violation;
  std::uintptr_t violation_address = 0;
  std::size_t violation_size = 0;
  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  [[nodiscard]] bool was_bounded() const { return bounded_; }
  [[nodiscard]] bool fault_reached() const { return fault_reached_; }
  [[nodiscard]] const std::string& schedule_prefix() const { return *schedule_prefix_; }
  [[nodiscard]] Trail& trail() { return *trail_; }
  void set_schedule_prefix(const std::string& prefix) { schedule_prefix_ = &prefix; }
  /// The next run is recorded, and with it whatever touches these bytes.
  void record_next(std::uintptr_t address, std::size_t size) {
    recorded_ = true;
    watched_ = address;
    watched_size_ = size;
  }
  /// Changes with every step of every execution.
  [[nodiscard]] std::uint64_t progress() const { return (std::uint64_t{number_} << 32) + steps_; }

  // --- for the cells: who, when, in which order ---
  [[nodiscard]] bool running() const { return running_; }
  /// Operations are steps now.
  [[nodiscard]] bool controls() const { return running_ && quiet_ == 0; }
  [[nodiscard]] const Options& options() const { return *options_; }
  Fiber& me() { return *current_; }
  Fiber& fiber(std::uint32_t id) { return fibers_[id]; }
  [[nodiscard]] std::uint32_t fiber_count() const { return fiber_count_; }

  /// The decision before a step. A load in a spin loop with nothing changing is none.
  void schedule(bool is_load = false);
  /// The calling thread cannot go on, or does not want to; returns when it is its turn.
  void give_way(bool offer_to_spin_on = false);
  void spin();
  void calm(bool begins) { begins ? ++calm_ : --calm_; }
  /// One of `count`, where all are as good.
  std::uint32_t choose(std::uint32_t count);
  /// Whether to delay a store; that costs as much as a preemption.
  bool choose_delay();
  bool choose_spurious_failure();
  void wake(Fiber& sleeper);

  Fiber& create(ThreadBody& body);
  [[noreturn]] void finish();
  bool thread_may_start();

  // --- for the cells: objects ---
  Object& object(const ObjectHandle& handle, const void* address, char kind);
  Object& object_at(std::uint32_t index) { return objects_[index]; }
  static std::uint32_t index_of(const ObjectHandle& handle) { return handle.index_; }
  void begin_life(ObjectHandle& handle, const void* address, char kind);
  void end_life(ObjectHandle& handle, const void* address, char kind);
  void touch(const void* address, bool write);

  /// The calling thread's step met an object in its present version.
  void saw(const Object& object, std::uint32_t what) {
    if (current_->spins_on && writes_ == current_->spin_total) return;
    current_->history = mix(current_->history + what, object.version);
  }
  void saw(std::uint64_t version, std::uint32_t what) { current_->history = mix(current_->history + what, version); }
  /// ... and changed it.
  void changed(Object& object) { object.version = mix(current_->history, 1); }
  void acquire(const VectorClock& released) { current_->clock.join(released); }
  void advance_epoch() { ++current_->clock.counts[current_->id]; }
  void note_write() { note_write(*current_); }

  // --- store buffers ---
  void hold_store(AtomicCell& cell, std::uint64_t bits, bool releases);
  void flush(Fiber& owner);
  /// All delayed stores arrive.
  void flush_all() {
    for (std::uint32_t id = 0; id != fiber_count_; ++id) {
      if (fibers_[id].holds_store) flush(fibers_[id]);
    }
  }
  void flush_mine() {
    if (current_->holds_store) flush(*current_);
  }

  /// Before a step that empties the buffer and is no decision of its own: others may still see the old value first.
  void drain() {
    if (!current_->holds_store) return;
    schedule();
    flush_mine();
  }

  // --- time ---
  [[nodiscard]] std::int64_t now() const { return now_; }
  [[nodiscard]] std::uint64_t time_version() const { return time_version_; }

  [[noreturn]] void violate(Violation::Kind kind, std::string text, std::uintptr_t address, std::size_t size);
  void count_allocation_version();
  [[nodiscard]] std::string describe_object(std::uint32_t index) const;
  void step(std::string text);

  std::uint32_t quiet_ = 0;  // depth of Unobserved and of initializations of statics

 private:
  enum class Turn : std::uint8_t { kRun, kSpinOn, kTimeOut, kSpurious, kFlush };
  struct Alternative {
    Turn turn;
    std::uint8_t fiber;
  };

  static void fiber_main(boost::context::detail::transfer_t from);
  [[noreturn]] void leave(Outcome outcome);
  void begin(const Options& options);
  void restore_globals();
  Fiber& add_fiber(ThreadBody& body);
  void end_of_scenario();
  [[nodiscard]] bool can_run(const Fiber& fiber) const;
  [[nodiscard]] bool others_can_run() const;
  Fiber& pick(bool voluntary, bool offer_to_spin_on);
  std::uint32_t list_turns(Alternative* turns, bool offer_to_spin_on, std::uint32_t& common);
  bool rescue();
  void time_out(Fiber& sleeper);
  void switch_to(Fiber& next);
  void note_write(Fiber& by) {
    ++writes_;
    ++by.writes;
  }
  [[nodiscard]] std::uint64_t state() const;
  [[nodiscard]] std::string describe_waits();

  const Options* options_ = nullptr;
  Trail* trail_ = nullptr;
  StateCache* cache_ = nullptr;
  std::uint32_t calm_ = 0;  // Calm objects that are alive
  std::uint32_t bound_ = 0;
  std::uint32_t number_ = 0;  // of the execution, from 1
  bool running_ = false;
  bool bounded_ = false;  // a turn was not allowed, so there are schedules beyond the bound
  bool fault_reached_ = false;
  bool recorded_ = false;
  std::uintptr_t watched_ = 0;
  std::size_t watched_size_ = 0;
  Outcome outcome_ = Outcome::kDone;
  std::uint32_t spent_ = 0;
  std::uint32_t timeouts_ = 0;
  std::uint32_t spurious_ = 0;
  std::uint32_t threads_created_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t writes_ = 0;
  std::int64_t now_ = 0;
  std::uint64_t time_version_ = 0;
  std::uint64_t flush_history_ = 0;
  std::uint64_t allocation_version_ = 0;
  Fiber* current_ = nullptr;
  std::uint32_t fiber_count_ = 0;
  std::vector<Object> objects_;
  std::vector<std::pair<AtomicCell*, std::uint64_t>>
      globals_;  // that this execution has met, and their value before it
  const std::string* schedule_prefix_ = nullptr;
  ExceptionGlobals explorer_exceptions_;
  boost::context::detail::fcontext_t explorer_ = nullptr;
  Fiber fibers_[kMaxThreads];
};

extern constinit Execution execution;

/// Work of the checker on behalf of code under test: what it touches and allocates does not count.
class Entry {
 public:
  Entry() noexcept : was_observing_(observing) { observing = false; }
  ~Entry() { observing = was_observing_; }
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

 private:
  bool was_observing_;
};

}  // namespace penstock::checker
