// SPDX-License-Identifier: MIT
#include "model/execution.hpp"

#include <cxxabi.h>
#include <exception>
#include <typeinfo>
#include <utility>

#include "model/heap.hpp"
#include "model/trace.hpp"

namespace penstock::checker {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constinit Execution execution;

namespace {

ExceptionGlobals& exception_globals() {
  static auto* const globals = reinterpret_cast<ExceptionGlobals*>(abi::__cxa_get_globals());
  return *globals;
}

/// The scenario itself, as the body of the first thread.
struct ScenarioBody final : ThreadBody {
  const Scenario* scenario = nullptr;
  void run() override { (*scenario)(); }
};

constexpr std::uint32_t kDead = ~0U;                          // in a handle: the object's life has ended
constexpr std::int64_t kStartOfTime = 1'000'000'000'000'000;  // nanoseconds: some 11 days after boot

}  // namespace

// --- from scenario to outcome ---

Execution::Outcome Execution::run(const Options& options, Trail& trail, StateCache* cache, std::uint32_t bound,
                                  const Scenario& scenario) {
  options_ = &options;
  trail_ = &trail;
  cache_ = cache;
  bound_ = bound;
  begin(options);
  ScenarioBody body;
  body.scenario = &scenario;
  current_ = &add_fiber(body);
  explorer_exceptions_ = exception_globals();
  exception_globals() = ExceptionGlobals{};
  shadow.look_as(0, current_->clock);
  running_ = true;
  jump_fcontext(current_->context, nullptr);
  running_ = false;
  observing = false;
  exception_globals() = explorer_exceptions_;
  restore_globals();
  return outcome_;
}

void Execution::begin(const Options& options) {
  if (++number_ == kDead) {  // the numbers are used up: begin again, with nothing remembered
    number_ = 1;
    shadow.forget_everything();
  }
  shadow.start(number_);
  heap.start(options.fail_allocation);
  if (std::exchange(recorded_, false)) {
    trace.start(true);
    trace.watch(watched_, watched_size_);
  }
  objects_.clear();
  fiber_count_ = 0;
  quiet_ = 0;
  bounded_ = false;
  fault_reached_ = false;
  spent_ = timeouts_ = spurious_ = threads_created_ = calm_ = 0;
  steps_ = writes_ = 0;
  now_ = kStartOfTime;
  time_version_ = flush_history_ = allocation_version_ = 0;
}

Fiber& Execution::add_fiber(ThreadBody& body) {
  if (fiber_count_ == kMaxThreads) {
    fail(Violation::Kind::kLimit, "more than " + std::to_string(kMaxThreads) + " threads in one execution");
  }
  Fiber& fiber = fibers_[fiber_count_];
  fiber = Fiber{};
  fiber.id = fiber_count_++;
  fiber.body = &body;
  fiber.name[0] = '\0';
  fiber.clock.counts[fiber.id] = 1;
  fiber.context = make_fcontext(reinterpret_cast<void*>(Region::stack_top(fiber.id)), Region::kStackBytes, &fiber_main);
  return fiber;
}

void Execution::fiber_main(transfer_t from) {
  Execution& self = execution;
  if (from.data == nullptr) {
    self.explorer_ = from.fctx;
  } else {
    static_cast<Fiber*>(from.data)->context = from.fctx;
  }
  observing = true;
  try {
    self.current_->body->run();
  } catch (const std::exception& exception) {
    observing = false;
    fail(Violation::Kind::kException, thread_label(self.current_->id) + " ends with an exception: " + exception.what());
  } catch (...) {
    observing = false;
    fail(Violation::Kind::kException, thread_label(self.current_->id) + " ends with an exception");
  }
  self.finish();
}

void Execution::finish() {
  Fiber& me = *current_;
  while (me.value_count != 0) {
    const Fiber::Value value = me.values[--me.value_count];
    value.destroy(value.value);
    const Entry entry;
    heap.free(me.id, value.value, true);
  }
  if (me.id != 0) delete me.body;
  observing = false;
  drain();
  if (me.mutexes_held != 0) {
    fail(Violation::Kind::kMisuse,
         thread_label(me.id) + " ends with " + std::to_string(me.mutexes_held) + " mutexes locked");
  }
  if (trace.recording()) step("ends");
  me.state = Fiber::State::kFinished;
  me.history = mix(me.history, 2);
  note_write();
  if (me.id == 0) end_of_scenario();
  give_way();
  __builtin_unreachable();
}

void Execution::end_of_scenario() {
  for (std::uint32_t id = 1; id != fiber_count_; ++id) {
    if (fibers_[id].state != Fiber::State::kFinished) {
      fail(Violation::Kind::kThreadLeft, "the scenario has ended, but " + thread_label(id) + " has not");
    }
  }
  heap.check_leaks(options_->allowed_leaks);
  leave(Outcome::kDone);
}

void Execution::leave(Outcome outcome) {
  outcome_ = outcome;
  jump_fcontext(explorer_, nullptr);
  __builtin_unreachable();
}

void Execution::violate(Violation::Kind kind, std::string text, std::uintptr_t address, std::size_t size) {
  observing = false;
  if (!running_) std::terminate();  // the checker itself is broken, and says so to nobody
  if (trace.recording()) trace.event("=> " + text);
  violation.emplace();
  violation->kind = kind;
  violation->text = std::move(text);
  violation_address = address;
  violation_size = size;
  leave(Outcome::kViolated);
}

void fail(Violation::Kind kind, std::string text, std::uintptr_t address, std::size_t size) {
  execution.violate(kind, std::move(text), address, size);
}

// --- threads ---

Fiber& Execution::create(ThreadBody& body) {
  Fiber& child = add_fiber(body);
  child.clock.join(current_->clock);
  child.history = mix(current_->history, 3);
  current_->history = mix(current_->history, 4);
  advance_epoch();
  note_write();
  return child;
}

bool Execution::thread_may_start() {
  if (options_->fail_thread == 0) return true;
  ++threads_created_;
  saw(allocation_version_, 5);  // which creation this is depends on what the others did
  allocation_version_ = mix(current_->history, 5);
  if (threads_created_ != options_->fail_thread) return true;
  fault_reached_ = true;
  return false;
}

void Execution::count_allocation_version() {
  if (heap.allocations() == options_->fail_allocation) fault_reached_ = true;
  saw(allocation_version_, 6);
  allocation_version_ = mix(current_->history, 6);
}

void Execution::switch_to(Fiber& next) {
  Fiber& previous = *current_;
  if (&previous == &next) return;
  previous.exceptions = exception_globals();
  exception_globals() = next.exceptions;
  current_ = &next;
  shadow.look_as(next.id, next.clock);
  const transfer_t from = jump_fcontext(next.context, &previous);
  static_cast<Fiber*>(from.data)->context = from.fctx;
}

// --- objects ---

void Execution::begin_life(ObjectHandle& handle, const void* address, char kind) {
  Object object;
  object.kind = kind;
  object.address = address;
  object.version = mix(current_->history, 7);
  current_->history = mix(current_->history, 8);
  handle.execution_ = number_;
  handle.index_ = static_cast<std::uint32_t>(objects_.size());
  objects_.push_back(object);
  touch(address, true);
  if (trace.recording())
    trace.note_object(describe_object(handle.index_) + ": " +
                      describe_address(reinterpret_cast<std::uintptr_t>(address)));
}

Object& Execution::object(const ObjectHandle& handle, const void* address, char kind) {
  if (handle.execution_ == number_) return objects_[handle.index_];
  const auto place = reinterpret_cast<std::uintptr_t>(address);
  // What lives outside the region, a global, is met for the first time; anything else must have been constructed.
  if (handle.execution_ == kDead || Region::contains(place)) {
    const char* const what = kind == 'A' ? "an atomic" : kind == 'M' ? "a mutex" : "a condition variable";
    fail(Violation::Kind::kUseAfterFree,
         thread_label(current_->id) + " uses " + what + " that was destroyed, at " + describe_address(place), place, 8);
  }
  Object fresh;
  fresh.kind = kind;
  fresh.address = address;
  fresh.version = mix(place, 9);
  handle.execution_ = number_;
  handle.index_ = static_cast<std::uint32_t>(objects_.size());
  objects_.push_back(fresh);
  if (kind == 'A') {
    auto* const cell = const_cast<AtomicCell*>(static_cast<const AtomicCell*>(address));
    globals_.emplace_back(cell, cell->bits_);
  }
  if (trace.recording()) trace.note_object(describe_object(handle.index_) + ": " + describe_address(place));
  return objects_.back();
}

void Execution::end_life(ObjectHandle& handle, const void* address, char kind) {
  Object& ended = object(handle, address, kind);
  touch(address, true);
  if (ended.owner != Object::kNobody) {
    fail(Violation::Kind::kMisuse, thread_label(current_->id) + " destroys " + describe_object(handle.index_) +
                                       ", which " + thread_label(ended.owner) + " has locked");
  }
  for (std::uint32_t id = 0; id != fiber_count_; ++id) {
    if (fibers_[id].state == Fiber::State::kWaiting && fibers_[id].wait_address == address) {
      fail(Violation::Kind::kMisuse, thread_label(current_->id) + " destroys " + describe_object(handle.index_) +
                                         ", in which " + thread_label(id) + " waits");
    }
  }
  handle.execution_ = kDead;
  std::erase_if(globals_, [&](const auto& global) { return global.first == address; });
}

// An execution must not see what an earlier one did, also if that was cut short; so global atomics get their value
// back.
void Execution::restore_globals() {
  for (const auto& [cell, bits] : globals_) cell->bits_ = bits;
  globals_.clear();
}

void Execution::touch(const void* address, bool write) {
  shadow.access(reinterpret_cast<std::uintptr_t>(address), 8, write);
}

std::string Execution::describe_object(std::uint32_t index) const {
  const Object& object = objects_[index];
  return std::string(object.kind == 'A'   ? "atomic A"
                     : object.kind == 'M' ? "mutex M"
                                          : "condition variable C") +
         std::to_string(index + 1);
}

void Execution::step(std::string text) { trace.step(current_->id, std::move(text)); }

std::string thread_label(std::uint32_t thread) {
  std::string label = "T" + std::to_string(thread);
  if (thread < execution.fiber_count() && execution.fiber(thread).name[0] != '\0') {
    label += " '" + std::string(execution.fiber(thread).name) + "'";
  }
  return label;
}

}  // namespace penstock::checker
