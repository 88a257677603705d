// SPDX-License-Identifier: MIT

// Who goes on: the turns that are possible before a step, what they cost, and what it means if there is none.

#include <algorithm>
#include <utility>

#include "model/execution.hpp"
#include "model/trace.hpp"

namespace penstock::checker {

void Execution::schedule(bool is_load) {
  Fiber& me = *current_;
  if (me.spins_on) {
    // Nothing has changed since the last turn of the loop, so a load finds what it found then, and whoever could take
    // over here could have done so before the loop.
    if (is_load && writes_ == me.spin_total) return;
    me.spins_on = false;
    me.history = mix(me.history, 10);
  }
  if (me.owes_turn && others_can_run()) {
    me.owes_turn = false;
    me.state = Fiber::State::kSpinning;
    return give_way();
  }
  if (++steps_ > options_->max_steps) {
    fail(Violation::Kind::kLivelock,
         "no end after " + std::to_string(options_->max_steps) + " steps; " + describe_waits());
  }
  switch_to(pick(false, false));
}

void Execution::give_way(bool offer_to_spin_on) { switch_to(pick(true, offer_to_spin_on)); }

// A loop that waits for another thread would run for ever if nobody else did. So a thread that spins twice while nobody
// else has written anything waits until somebody has. But the loop may be one that gives up after some turns, so going
// on with it is an alternative: then, as long as it only reads, it is taken through its turns without further
// decisions.
void Execution::spin() {
  Fiber& me = *current_;
  ++steps_;
  const bool others_wrote = writes_ - me.writes != me.spin_mark;
  const bool wrote = writes_ != me.spin_total;
  if (others_wrote || wrote) {
    me.spin_mark = writes_ - me.writes;
    me.spin_total = writes_;
    me.spins_on = false;
    me.owes_turn = false;
    me.history =
        mix(me.history, state());  // what others have written decides, so the order with all their steps counts
    me.spin_history = me.history;
  }
  if (others_wrote) {
    me.spins = 0;
    return give_way();
  }
  ++me.spins;
  me.spin_wrote = wrote;
  if (me.spins_on && me.spins < options_->spin_limit) return;
  me.spins_on = false;
  me.state = Fiber::State::kSpinning;
  me.history = me.spin_history;
  // A loop that writes is in a new state with every turn, so following it to its end would be a search of its own.
  give_way(me.spins < (wrote ? 2 : options_->spin_limit));
}

bool Execution::can_run(const Fiber& fiber) const {
  switch (fiber.state) {
    case Fiber::State::kSpinning:
      // It may have come, owing a turn, to a lock or a join.
      if (writes_ - fiber.writes == fiber.spin_mark) return false;
      [[fallthrough]];
    case Fiber::State::kReady:
      if (fiber.wanted_mutex != Fiber::kNothing) return objects_[fiber.wanted_mutex].owner == Object::kNobody;
      if (fiber.joined_thread != Fiber::kNothing) return fibers_[fiber.joined_thread].state == Fiber::State::kFinished;
      return true;
    default:
      return false;
  }
}

bool Execution::others_can_run() const {
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    if (id != current_->id && can_run(fibers_[id])) return true;
  }
  return false;
}

std::uint32_t Execution::list_turns(Alternative* turns, bool offer_to_spin_on, std::uint32_t& common) {
  std::uint32_t count = 0;
  const auto add = [&](Turn turn, std::uint32_t fiber) { turns[count++] = {turn, static_cast<std::uint8_t>(fiber)}; };
  // The running thread first: going on is the first alternative. Then the others in turn.
  for (std::uint32_t i = 0, id = current_->id; i != fiber_count_; ++i, id = id + 1 == fiber_count_ ? 0 : id + 1) {
    if (can_run(fibers_[id])) add(Turn::kRun, id);
  }
  common = count;
  if (count == 0) return 0;
  if (offer_to_spin_on) add(Turn::kSpinOn, current_->id);
  common = count;
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    const Fiber& fiber = fibers_[id];
    if (fiber.state == Fiber::State::kWaiting) {
      if (fiber.timed && timeouts_ < options_->timeouts) add(Turn::kTimeOut, id);
      if (spurious_ < options_->spurious_wakes) add(Turn::kSpurious, id);
    }
    if (fiber.holds_store) add(Turn::kFlush, id);
  }
  return count;
}

Fiber& Execution::pick(bool voluntary, bool offer_to_spin_on) {
  const Fiber* favoured = nullptr;  // has just been made ready by a turn that was paid for
  for (;;) {
    Alternative turns[Trail::kMaxAlternatives];
    std::uint32_t common = 0;
    const std::uint32_t count = list_turns(turns, offer_to_spin_on, common);
    if (count == 0) {
      if (rescue()) continue;
      fail(Violation::Kind::kDeadlock, "nobody can go on: " + describe_waits());
    }
    const bool preempts = !voluntary && turns[0].fiber == current_->id;
    const auto is_free = [&](const Alternative& turn) {
      return !preempts || turn.fiber == current_->id || turn.turn == Turn::kFlush ||
             (turn.turn == Turn::kRun && favoured == &fibers_[turn.fiber]);
    };
    std::uint32_t chosen = 0;
    if (count > 1 && calm_ == 0) {
      std::uint64_t allowed = 1;
      for (std::uint32_t i = 1; i != count; ++i) {
        if (spent_ < bound_ || is_free(turns[i])) {
          allowed |= std::uint64_t{1} << i;
        } else {
          bounded_ = true;
        }
      }
      if (cache_ != nullptr && favoured == nullptr && trail_->at_frontier()) {
        std::uint64_t here = state();
        if (preempts) here = mix(here, current_->id);
        if (offer_to_spin_on) here = mix(here, kMaxThreads + current_->id);
        if (!cache_->insert(here, spent_)) leave(Outcome::kPruned);
      }
      chosen = trail_->decide(count, allowed, common, preempts, current_->history + current_->id);
      if (trail_->diverged()) {
        fail(Violation::Kind::kNondeterminism,
             "the same decisions led elsewhere than before: the scenario depends on more than the schedule");
      }
      if (!is_free(turns[chosen])) ++spent_;
    }
    Fiber& fiber = fibers_[turns[chosen].fiber];
    switch (turns[chosen].turn) {
      case Turn::kSpinOn:
        fiber.spins_on = true;
        [[fallthrough]];
      case Turn::kRun:
        fiber.state = fiber.state == Fiber::State::kSpinning ? Fiber::State::kReady : fiber.state;
        return fiber;
      case Turn::kTimeOut:
        ++timeouts_;
        time_out(fiber);
        break;
      case Turn::kSpurious:
        ++spurious_;
        if (trace.recording()) trace.event("      " + thread_label(fiber.id) + " wakes up without reason");
        wake(fiber);
        break;
      case Turn::kFlush:
        flush(fiber);
        continue;
    }
    favoured = &fiber;
  }
}

// Nobody can run by himself. What is certain to happen sooner or later happens now: a spin loop that may give up goes
// on, a delayed store arrives, time passes.
bool Execution::rescue() {
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    Fiber& fiber = fibers_[id];
    if (fiber.state != Fiber::State::kSpinning || (fiber.spins >= options_->spin_limit && !fiber.spin_wrote)) {
      continue;
    }
    fiber.state = Fiber::State::kReady;
    fiber.spins_on = true;
    fiber.owes_turn = true;  // it may be what keeps the others from running: as soon as one can, it is his turn
    return true;
  }
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    if (!fibers_[id].holds_store) continue;
    flush(fibers_[id]);
    return true;
  }
  Fiber* first = nullptr;
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    Fiber& fiber = fibers_[id];
    if (fiber.state != Fiber::State::kWaiting || !fiber.timed) continue;
    if (first == nullptr || fiber.deadline < first->deadline) first = &fiber;
  }
  if (first == nullptr) return false;
  time_out(*first);
  return true;
}

void Execution::time_out(Fiber& sleeper) {
  if (sleeper.deadline > now_) {
    now_ = sleeper.deadline;
    ++writes_;
  }
  sleeper.state = Fiber::State::kReady;
  sleeper.timed_out = true;
  sleeper.history = mix(sleeper.history, mix(time_version_, 11));
  time_version_ = mix(time_version_, sleeper.history);
  if (trace.recording()) trace.event("      the wait of " + thread_label(sleeper.id) + " times out");
}

void Execution::wake(Fiber& sleeper) {
  sleeper.state = Fiber::State::kReady;
  sleeper.timed_out = false;
  sleeper.history = mix(sleeper.history, 12);
  note_write();
}

std::uint32_t Execution::choose(std::uint32_t count) {
  const std::uint32_t chosen =
      count < 2 || calm_ != 0 ? 0
                              : trail_->decide(count, count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1,
                                               count, false, current_->history);
  current_->history = mix(current_->history, 16 + chosen);
  return chosen;
}

bool Execution::choose_delay() {
  if (calm_ != 0) return false;
  const bool affordable = spent_ < bound_;
  if (!affordable) bounded_ = true;
  const bool delays = trail_->decide(2, affordable ? 3 : 1, 2, true, current_->history) == 1;
  if (delays) ++spent_;
  return delays;
}

bool Execution::choose_spurious_failure() {
  if (spurious_ >= options_->spurious_wakes || calm_ != 0 || trail_->decide(2, 3, 1, false, current_->history) == 0)
    return false;
  ++spurious_;
  current_->history = mix(current_->history, 13);
  return true;
}

std::uint64_t Execution::state() const {
  std::uint64_t sum = flush_history_;
  for (std::uint32_t id = 0; id != fiber_count_; ++id) sum += mix(fibers_[id].history, id);
  return sum;
}

void Execution::hold_store(AtomicCell& cell, std::uint64_t bits, bool releases) {
  Fiber& me = *current_;
  me.holds_store = true;
  me.held_cell = &cell;
  me.held_bits = bits;
  me.held_releases = releases;
  me.held_clock = me.clock;
  me.history = mix(me.history, 14);
}

void Execution::flush(Fiber& owner) {
  owner.holds_store = false;
  AtomicCell& cell = *owner.held_cell;
  Object& target = object(cell.handle_, &cell, 'A');
  if (cell.bits_ != owner.held_bits) note_write(owner);
  cell.bits_ = owner.held_bits;
  target.released = owner.held_releases ? owner.held_clock : VectorClock{};
  flush_history_ = mix(flush_history_, mix(target.version, owner.history));
  target.version = mix(flush_history_, 15);
  if (trace.recording()) {
    trace.event("      the delayed store of " + thread_label(owner.id) + " to " +
                describe_object(index_of(cell.handle_)) + " arrives: " + std::to_string(cell.bits_));
  }
}

std::string Execution::describe_waits() {
  std::string text;
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    const Fiber& fiber = fibers_[id];
    std::string what;
    if (fiber.state == Fiber::State::kFinished) continue;
    if (fiber.state == Fiber::State::kSpinning) {
      what = " spins";
    } else if (fiber.state == Fiber::State::kWaiting) {
      what = " waits in " + describe_address(reinterpret_cast<std::uintptr_t>(fiber.wait_address));
      for (std::uint32_t i = 0; i != objects_.size(); ++i) {
        if (objects_[i].address == fiber.wait_address) what = " waits in " + describe_object(i);
      }
    } else if (fiber.wanted_mutex != Fiber::kNothing) {
      what = " waits for " + describe_object(fiber.wanted_mutex);
      if (const std::uint32_t owner = objects_[fiber.wanted_mutex].owner; owner != Object::kNobody) {
        what += ", which " + thread_label(owner) + " has locked";
      }
    } else if (fiber.joined_thread != Fiber::kNothing) {
      what = " joins " + thread_label(fiber.joined_thread);
    } else {
      what = " runs";
    }
    text += (text.empty() ? "" : "; ") + thread_label(id) + what;
  }
  return text;
}

}  // namespace penstock::checker
