// SPDX-License-Identifier: MIT
#include "penstock/core/executor.hpp"

#include <memory>
#include <stdexcept>
#include <utility>

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

/// Runs on the posting thread. A thread that is inside already only adds to its queue, and the outermost call drains
/// it.
class InlineExecutor final : public Executor {
 public:
  using Executor::post;

  void post(Work& work) noexcept override {
    Trampoline& mine = detail::world::thread_local_value<InlineExecutor, Trampoline>();
    mine.queue.push(work);
    if (mine.running) return;
    mine.running = true;
    while (Work* const next = mine.queue.pop()) next->run(*next);
    mine.running = false;
  }

  // What another thread has posted runs in that thread, at once or as soon as it is through with what it does.
  bool revoke(Work& work) noexcept override {
    work.wait_until_posted();
    return detail::world::thread_local_value<InlineExecutor, Trampoline>().queue.remove(work);
  }

 private:
  struct Trampoline {
    WorkQueue queue;
    bool running = false;
  };
};

}  // namespace

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
