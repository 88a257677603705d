// SPDX-License-Identifier: MIT

// Threads, their names and values, virtual time, and chance.

#include <algorithm>
#include <cstring>

#include "model/execution.hpp"
#include "model/heap.hpp"
#include "model/trace.hpp"

namespace penstock::checker {
namespace {

enum What : std::uint32_t { kJoin = 64, kNow, kAdvance };

}  // namespace

bool may_create_thread() noexcept {
  if (!execution.controls()) return false;  // a real thread has no place here
  const Entry entry;
  execution.schedule();
  return execution.thread_may_start();
}

std::uint32_t create_thread(ThreadBody& body) noexcept {
  const Entry entry;
  execution.flush_mine();  // after the decision in may_create_thread
  const std::uint32_t id = execution.create(body).id;
  if (trace.recording()) execution.step("starts " + thread_label(id));
  return id;
}

void join_thread(std::uint32_t thread) noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  Fiber& me = execution.me();
  if (thread == me.id) fail(Violation::Kind::kDeadlock, thread_label(me.id) + " joins itself");
  execution.drain();
  me.joined_thread = thread;
  execution.schedule();
  me.joined_thread = Fiber::kNothing;
  const Fiber& ended = execution.fiber(thread);
  execution.acquire(ended.clock);
  execution.saw(ended.history, kJoin);
  if (trace.recording()) execution.step("joins " + thread_label(thread));
}

void joinable_thread_dropped(std::uint32_t thread) noexcept {
  observing = false;
  fail(Violation::Kind::kThreadLeft,
       thread_label(execution.me().id) + " destroys the Thread of " + thread_label(thread) + " without joining it");
}

std::uint32_t this_thread() noexcept { return execution.running() ? execution.me().id : 0; }

void set_this_thread_name(std::string_view name) noexcept {
  if (!execution.running()) return;
  char* const to = execution.me().name;
  const std::size_t length = std::min<std::size_t>(name.size(), sizeof(Fiber::name) - 1);
  std::memcpy(to, name.data(), length);
  to[length] = '\0';
}

TimePoint virtual_now() noexcept {
  if (execution.controls()) {
    const Entry entry;
    execution.schedule(true);
    execution.saw(execution.time_version(), kNow);
  }
  return TimePoint(std::chrono::nanoseconds(execution.now()));
}

void spin() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.spin();
}

bool has_heavy_barriers() noexcept { return !execution.running() || execution.options().heavy_barriers; }

void heavy_barrier() noexcept {
  if (!execution.controls()) return;
  const Entry entry;
  execution.schedule();
  execution.flush_all();
}

std::uint32_t choose_below(std::uint32_t bound) noexcept {
  if (!execution.controls()) return 0;
  const Entry entry;
  if (execution.options().random_values && bound <= Trail::kMaxAlternatives) return execution.choose(bound);
  return execution.me().random_counter++ % bound;
}

void* thread_value(const void* key) noexcept {
  const Fiber& me = execution.me();
  for (std::uint32_t i = 0; i != me.value_count; ++i) {
    if (me.values[i].key == key) return me.values[i].value;
  }
  return nullptr;
}

void* make_thread_value(const void* key, std::size_t size, std::size_t alignment, void (*destroy)(void*)) noexcept {
  const Entry entry;
  Fiber& me = execution.me();
  if (me.value_count == Fiber::kMaxValues) fail(Violation::Kind::kLimit, "more thread-local values than the model has");
  void* const memory = heap.allocate_quietly(me.id, size, alignment);
  me.values[me.value_count++] = {key, memory, destroy};
  return memory;
}

bool in_execution() noexcept { return execution.running(); }

Unobserved::Unobserved() noexcept : was_observing_(observing) {
  observing = false;
  ++execution.quiet_;
}

Unobserved::~Unobserved() {
  --execution.quiet_;
  observing = was_observing_;
}

Calm::Calm() noexcept { execution.calm(true); }

Calm::~Calm() { execution.calm(false); }

void assertion_failed(const char* condition, const char* file, int line) noexcept {
  observing = false;
  fail(Violation::Kind::kAssertion,
       thread_label(this_thread()) + ": '" + condition + "' is false at " + file + ":" + std::to_string(line));
}

}  // namespace penstock::checker
