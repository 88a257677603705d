// SPDX-License-Identifier: MIT

// How an object pool finds out about misuse, and who holds what.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "object_visit.hpp"

#if defined(__has_include) && !defined(PENSTOCK_MODEL)
#if __has_include(<execinfo.h>)
#include <execinfo.h>
#define PENSTOCK_HAS_BACKTRACE 1
#endif
#endif

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

int take_stack([[maybe_unused]] void** frames, [[maybe_unused]] int most) noexcept {
#if defined(PENSTOCK_HAS_BACKTRACE)
  return backtrace(frames, most);
#else
  return 0;
#endif
}

std::string text_of_stack([[maybe_unused]] void* const* frames, [[maybe_unused]] int depth) {
  std::string text;
#if defined(PENSTOCK_HAS_BACKTRACE)
  const std::unique_ptr<char*, void (*)(void*)> lines(backtrace_symbols(frames, depth),
                                                      [](void* memory) { std::free(memory); });
  for (int i = 0; lines != nullptr && i < depth; ++i) {
    text += lines.get()[i];
    text += '\n';
  }
#endif
  return text;
}

}  // namespace

std::unique_ptr<ObjectSlot> ObjectCore::make_slot() {
  auto slot = std::make_unique<ObjectSlot>();
  slot->core = this;
  slot->care = care_;
  slot->weight = options_.object_bytes;
  return slot;
}

void ObjectCore::trace(ObjectSlot& slot) {
  if (options_.detection == ObjectDetection::kOff) return;
  auto trace = std::make_unique<ObjectTrace>(slot);
  trace->object = slot.object;
  if (options_.is_plain_memory) trace->copy = std::make_unique<std::byte[]>(options_.type_bytes);
  std::map<const void*, ObjectTrace*> one;  // its node is made without the mutex
  one.emplace(slot.object, trace.get());
  slot.trace = trace.release();
  const MutexLock lock(trace_mutex_);
  traces_.all.merge(one);
}

void ObjectCore::free_slot(ObjectSlot& slot) noexcept {
  const std::unique_ptr<ObjectSlot> freed(&slot);
  const std::unique_ptr<ObjectTrace> trace(slot.trace);
  if (trace == nullptr) return;
  std::map<const void*, ObjectTrace*>::node_type node;
  const MutexLock lock(trace_mutex_);
  node = traces_.all.extract(trace->object);
}

void ObjectCore::begin_use(ObjectSlot& slot) noexcept {
  if (options_.timestamps) {
    slot.acquired = now();
    ++slot.uses;
  }
  ObjectTrace* const trace = slot.trace;
  if (trace == nullptr) return;
  void* stack[ObjectTrace::kFrames];
  const bool has_stack = options_.detection == ObjectDetection::kLeaks;
  const int depth = has_stack ? take_stack(stack, ObjectTrace::kFrames) : 0;
  const TimePoint acquired = options_.timestamps ? slot.acquired : has_stack ? now() : TimePoint();
  const MutexLock lock(trace_mutex_);
  trace->is_out = true;
  trace->acquired = acquired;
  trace->depth = depth;
  std::copy(stack, stack + depth, trace->stack);
}

bool ObjectCore::end_use(ObjectSlot& slot) noexcept {
  bool was_out = false;
  {
    const MutexLock lock(trace_mutex_);
    was_out = std::exchange(slot.trace->is_out, false);
  }
  if (!was_out) report(ObjectMisuse::Kind::kDoubleReturn, slot.id);
  return was_out;
}

void ObjectCore::conceal(ObjectSlot& slot) noexcept {
  if (slot.trace->copy == nullptr) return;
  kind_->overwrite(slot.object, slot.trace->copy.get());
  slot.trace->is_hidden = true;
}

bool ObjectCore::reveal(ObjectSlot& slot) noexcept {
  return !std::exchange(slot.trace->is_hidden, false) || kind_->restore(slot.object, slot.trace->copy.get());
}

void ObjectCore::report(ObjectMisuse::Kind kind, std::uint64_t object) noexcept {
  {
    const SpinLockGuard lock(mutex_);
    ++(kind == ObjectMisuse::Kind::kDoubleReturn    ? counts_.double_returns
       : kind == ObjectMisuse::Kind::kForeignReturn ? counts_.foreign_returns
                                                    : counts_.uses_after_return);
  }
  if (options_.on_misuse == nullptr) return;
  try {
    options_.on_misuse({kind, object, misuse_text(kind, object)});
  } catch (...) {
    count_exception();
  }
}

std::string ObjectCore::misuse_text(ObjectMisuse::Kind kind, std::uint64_t object) const {
  switch (kind) {
    case ObjectMisuse::Kind::kDoubleReturn:
      return fmt::format("object pool '{}': object {} was given back twice", options_.name, object);
    case ObjectMisuse::Kind::kUseAfterReturn:
      return fmt::format("object pool '{}': object {} was changed while it was idle", options_.name, object);
    case ObjectMisuse::Kind::kForeignReturn:
      break;
  }
  return fmt::format("object pool '{}': an object was given back that it has not lent", options_.name);
}

void ObjectCore::lend(ObjectSlot& slot) {
  std::map<const void*, ObjectSlot*> one;
  one.emplace(slot.object, &slot);
  const MutexLock lock(trace_mutex_);
  traces_.lent.merge(one);
}

ObjectSlot* ObjectCore::find_lent(const void* object, absl::Status& why) {
  if (is_forked()) {
    why = forked();
    return nullptr;
  }
  std::map<const void*, ObjectSlot*>::node_type node;
  std::uint64_t known = 0;
  {
    const MutexLock lock(trace_mutex_);
    node = traces_.lent.extract(object);
    if (node.empty()) {
      const auto found = traces_.all.find(object);
      // One that is out belongs to a handle; it was not lent.
      if (found != traces_.all.end() && !found->second->is_out) known = found->second->slot.id;
    }
  }
  if (!node.empty()) return node.mapped();
  const auto kind = known != 0 ? ObjectMisuse::Kind::kDoubleReturn : ObjectMisuse::Kind::kForeignReturn;
  report(kind, known);
  why = absl::InvalidArgumentError(misuse_text(kind, known));
  return nullptr;
}

std::vector<ObjectLeak> ObjectCore::leaks() const {
  if (is_forked() || options_.detection != ObjectDetection::kLeaks) return {};
  struct Held {
    std::uint64_t id;
    TimePoint acquired;
    int depth;
    void* stack[ObjectTrace::kFrames];
  };
  std::vector<Held> held;
  for (std::size_t wanted = 0;;) {
    held.reserve(wanted);
    const MutexLock lock(trace_mutex_);
    if (held.capacity() < traces_.all.size()) {
      wanted = traces_.all.size();
      continue;
    }
    for (const auto& [object, trace] : traces_.all) {
      if (!trace->is_out) continue;
      Held& each = held.emplace_back();
      each.id = trace->slot.id;
      each.acquired = trace->acquired;
      each.depth = trace->depth;
      std::copy(trace->stack, trace->stack + trace->depth, each.stack);
    }
    break;
  }
  const TimePoint time = now();
  std::vector<ObjectLeak> leaks;
  leaks.reserve(held.size());
  for (const Held& each : held) leaks.push_back({each.id, time - each.acquired, text_of_stack(each.stack, each.depth)});
  return leaks;
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
