// SPDX-License-Identifier: MIT
#include "penstock/exec/task_queue_adapter.hpp"

#include <cstddef>
#include <exception>
#include <new>

#include "penstock/core/mutex.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

struct QueuedCalls::Count {
  Mutex mutex;  // leaf: nothing else is locked while it is held, but by a wait for `none`
  CondVar none;
  std::size_t running ABSL_GUARDED_BY(mutex) = 0;  // taken and not ended
  bool is_closed ABSL_GUARDED_BY(mutex) = false;

  bool begin() {
    MutexLock lock(mutex);
    if (is_closed) return false;
    ++running;
    return true;
  }
  void end() noexcept {
    bool is_last = false;
    {
      MutexLock lock(mutex);
      is_last = --running == 0 && is_closed;
    }
    if (is_last) none.notify_all();
  }
};

/// One call; it has ended when this is destroyed.
class QueuedCalls::Call {
 public:
  Call(std::shared_ptr<Count> count, std::function<void()>& call) noexcept
      : count_(std::move(count)), call_(std::move(call)) {}
  Call(Call&&) noexcept = default;
  Call& operator=(Call&&) = delete;
  ~Call() {
    if (count_ == nullptr) return;  // moved from, or taken back
    call_ = nullptr;                // what it owns may be the server's, too
    count_->end();
  }

  void operator()() const { call_(); }

  /// Undoes the construction.
  void take_back(std::function<void()>& call) noexcept {
    call = std::move(call_);
    count_ = nullptr;
  }

 private:
  std::shared_ptr<Count> count_;
  std::function<void()> call_;
};

QueuedCalls::QueuedCalls(ElasticPool& pool) : pool_(pool), count_(std::make_shared<Count>()) {}
QueuedCalls::~QueuedCalls() { finish(); }

bool QueuedCalls::run(std::function<void()>& call) {
  if (!count_->begin()) return false;
  Call queued(count_, call);
  try {
    if (pool_.execute(std::move(queued)) == OpStatus::kOk) return true;
  } catch (const std::bad_alloc&) {  // as if there were no place
  }
  queued.take_back(call);
  count_->end();
  return false;
}

void QueuedCalls::run_here(const std::function<void()>& call) noexcept {
  try {
    call();
  } catch (...) {
    pool_.on_exception(std::current_exception());
  }
}

void QueuedCalls::finish() noexcept {
  MutexLock lock(count_->mutex);
  count_->is_closed = true;
  while (count_->running != 0) {
    if (count_->none.wait(count_->mutex) != OpStatus::kOk) std::terminate();  // the background never ends
  }
}

}  // namespace penstock::inline PENSTOCK_ABI::detail
