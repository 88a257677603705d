// SPDX-License-Identifier: MIT
#include "penstock/core/executor.hpp"

#include <memory>
#include <stdexcept>
#include <utility>

#include "penstock/core/detail/inline_batch.hpp"
#include "penstock/core/detail/world.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

/// A posted function on the heap; deletes itself when it has run.
struct PostedFunction : Work {
  PostedFunction(Executor& on, absl::AnyInvocable<void() &&> posted)
      : Work([](Work& work) noexcept { static_cast<PostedFunction&>(work).run_and_delete(); }),
        executor(on),
        function(std::move(posted)) {}

  void run_and_delete() noexcept {
    const std::unique_ptr<PostedFunction> self(this);
    std::exception_ptr escaped;
    try {
      std::move(function)();
    } catch (...) {
      escaped = std::current_exception();
    }
    if (escaped) executor.on_exception(std::move(escaped));
  }

  Executor& executor;
  absl::AnyInvocable<void() &&> function;
};

/// What a thread has posted to the inline executor. A thread that is inside already only adds; the outermost call
/// drains.
struct Trampoline {
  WorkQueue queue;
  bool running = false;

  static Trampoline& mine() noexcept { return detail::world::thread_local_value<Trampoline, Trampoline>(); }

  void drain() noexcept {
    while (Work* const next = queue.pop()) next->run(*next);
    running = false;
  }
};

class InlineExecutor final : public Executor {
 public:
  using Executor::post;

  void post(Work& work) noexcept override {
    Trampoline& mine = Trampoline::mine();
    mine.queue.push(work);
    if (!std::exchange(mine.running, true)) mine.drain();
  }

  // What another thread has posted runs in that thread, at once or as soon as it is through with what it does.
  bool revoke(Work& work) noexcept override {
    work.wait_until_posted();
    return Trampoline::mine().queue.remove(work);
  }
};

}  // namespace

detail::InlineBatch::InlineBatch() noexcept : outermost_(!std::exchange(Trampoline::mine().running, true)) {}

detail::InlineBatch::~InlineBatch() {
  if (outermost_) Trampoline::mine().drain();
}

void Work::wait_until_posted() const noexcept {
  while (place.load(std::memory_order_relaxed) == nullptr) detail::world::yield();
}

void Executor::post(absl::AnyInvocable<void() &&> function) {
  if (function == nullptr) throw std::invalid_argument("executor: post was given an empty function");
  post(*new PostedFunction(*this, std::move(function)));  // owns itself until it has run
}

void Executor::on_exception(std::exception_ptr exception) noexcept {
  std::rethrow_exception(std::move(exception));  // noexcept: ends the process, and names the exception
}

Executor& Executor::inline_executor() noexcept {
  // Never destroyed: a timer of the steady clock may post to it until the process has ended.
  static InlineExecutor* const executor = new InlineExecutor;
  return *executor;
}

}  // namespace penstock::inline PENSTOCK_ABI
