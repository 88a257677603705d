// SPDX-License-Identifier: MIT
#include "penstock/metrics/registry.hpp"

#include <map>
#include <stdexcept>
#include <utility>

#include "absl/base/thread_annotations.h"

#include "penstock/core/detail/world.hpp"
#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// A call of a collector that goes on now; lives in the frame of the thread that makes it.
struct Running {
  std::uint64_t id;
  detail::world::ThreadId thread;
  Running* next;
};

}  // namespace

struct MetricRegistry::State {
  // Shared by a running call and the map, because a collector may remove itself.
  using Collectors = std::map<std::uint64_t, std::shared_ptr<const Collector>>;

  mutable Mutex mutex;  // leaf: nothing else is locked while it is held
  CondVar ended;        // a collector has returned that somebody may be waiting for
  Collectors collectors ABSL_GUARDED_BY(mutex);
  Running* running ABSL_GUARDED_BY(mutex) = nullptr;
  std::size_t removers ABSL_GUARDED_BY(mutex) = 0;  // threads that wait in `ended`
  std::uint64_t last_id ABSL_GUARDED_BY(mutex) = 0;
  std::uint64_t failures ABSL_GUARDED_BY(mutex) = 0;

  bool runs_elsewhere(std::uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto self = detail::world::this_thread_id();
    for (const Running* call = running; call != nullptr; call = call->next) {
      if (call->id == id && call->thread != self) return true;
    }
    return false;
  }

  void leave(const Running& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    Running** link = &running;
    while (*link != &call) link = &(*link)->next;
    *link = call.next;
  }
};

MetricRegistry::MetricRegistry() : state_(std::make_shared<State>()) {}

MetricRegistry::~MetricRegistry() = default;

MetricRegistry::Registration MetricRegistry::add(Collector collector) {
  if (!collector) throw std::invalid_argument("metric registry: the collector is empty");
  // The node is made outside of the lock.
  State::Collectors made;
  made.emplace(0, std::make_shared<const Collector>(std::move(collector)));
  auto node = made.extract(made.begin());
  const MutexLock lock(state_->mutex);
  node.key() = ++state_->last_id;
  state_->collectors.insert(state_->collectors.end(), std::move(node));
  return Registration(state_, state_->last_id);
}

std::size_t MetricRegistry::collect(MetricSink& sink) const {
  State& state = *state_;
  std::size_t failed = 0;
  std::uint64_t id = 0;
  std::uint64_t last = 0;
  {
    // Those that come later wait for the next time: a collector that registers another one must not run for ever.
    const MutexLock lock(state.mutex);
    last = state.last_id;
  }
  for (;;) {
    std::shared_ptr<const Collector> collector;
    Running call{0, detail::world::this_thread_id(), nullptr};
    {
      const MutexLock lock(state.mutex);
      const auto next = state.collectors.upper_bound(id);
      if (next == state.collectors.end() || next->first > last) return failed;
      id = next->first;
      collector = next->second;
      call.id = id;
      call.next = state.running;
      state.running = &call;
    }
    bool threw = false;
    try {
      (*collector)(sink);
    } catch (...) {
      threw = true;
    }
    collector.reset();  // before whoever removes it goes on: then the remover's is the last reference
    bool awaited = false;
    {
      const MutexLock lock(state.mutex);
      state.leave(call);
      awaited = state.removers > 0;
      if (threw) ++state.failures;
    }
    if (awaited) state.ended.notify_all();
    if (threw) ++failed;
  }
}

std::uint64_t MetricRegistry::failures() const noexcept {
  const MutexLock lock(state_->mutex);
  return state_->failures;
}

std::size_t MetricRegistry::size() const noexcept {
  const MutexLock lock(state_->mutex);
  return state_->collectors.size();
}

MetricRegistry::Registration::Registration(Registration&& other) noexcept
    : state_(std::move(other.state_)), id_(other.id_) {}

MetricRegistry::Registration& MetricRegistry::Registration::operator=(Registration&& other) noexcept {
  if (this != &other) {
    remove();
    state_ = std::move(other.state_);
    id_ = other.id_;
  }
  return *this;
}

void MetricRegistry::Registration::remove() noexcept {
  const std::shared_ptr<State> state = std::move(state_);
  if (state == nullptr) return;
  State::Collectors::node_type removed;  // destroyed, with all that the collector captured, after the lock
  const MutexLock lock(state->mutex);
  removed = state->collectors.extract(id_);
  ++state->removers;
  while (state->runs_elsewhere(id_)) static_cast<void>(state->ended.wait(state->mutex));
  --state->removers;
}

}  // namespace penstock::inline PENSTOCK_ABI
