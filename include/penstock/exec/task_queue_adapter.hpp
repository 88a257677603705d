// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// An elastic pool as the task queue of an HTTP server: cpp-httplib's `httplib::TaskQueue`, whose header is not
/// included here.

#include <functional>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "penstock/exec/elastic_pool.hpp"

namespace penstock::inline PENSTOCK_ABI {

namespace detail {

/// Calls that a pool runs for somebody who waits for all of them to end.
class QueuedCalls {
 public:
  explicit QueuedCalls(ElasticPool& pool);
  ~QueuedCalls();
  QueuedCalls(const QueuedCalls&) = delete;
  QueuedCalls& operator=(const QueuedCalls&) = delete;

  /// Has `call` run by the pool; false, with `call` untouched, if the pool refuses it or after `finish`.
  bool run(std::function<void()>& call);
  /// Runs it here. What it throws goes to the pool, which counts and reports it.
  void run_here(const std::function<void()>& call) noexcept;
  /// Takes no more, and waits until all that it took have ended.
  void finish() noexcept;

 private:
  struct Count;
  class Call;

  ElasticPool& pool_;
  const std::shared_ptr<Count> count_;  // the last call may still be leaving it when all have ended
};

}  // namespace detail

/// A `Base`, such as `httplib::TaskQueue`, that runs on an `ElasticPool`. cpp-httplib gives a thread to each connection
/// for as long as it lasts. Its own pool has eight of them, so eight clients that stay, of server-sent events or of
/// long polls, are all that it serves; this one serves all that come, and shrinks when they have gone.
///
///     ElasticPool pool({.name = "http"});
///     httplib::Server server;
///     server.new_task_queue = [&pool] { return new TaskQueueAdapter<httplib::TaskQueue>(pool); };
///
/// The pool outlives the server. Several servers, and tasks of other kinds, may share it; its figures are those of all.
///
/// `Base` has a virtual `enqueue(std::function<void()>)`, which returns nothing or, from cpp-httplib 0.15 on, whether
/// the task was taken; and a virtual `shutdown()`. Its other functions stay as they are: there is nothing to be done
/// while a server is idle, for the pool trims by its own clock.
///
/// Threads: any member, from any thread; but `shutdown` and the destructor not from a task of this queue.
template <class Base>
class TaskQueueAdapter final : public Base {
 public:
  /// void or bool.
  using Enqueued = decltype(std::declval<Base&>().enqueue(std::function<void()>{}));
  static_assert(std::is_void_v<Enqueued> || std::is_same_v<Enqueued, bool>, "enqueue returns nothing or a bool");

  explicit TaskQueueAdapter(ElasticPool& pool) : calls_(pool) {}
  /// Blocks: as `shutdown` does.
  ~TaskQueueAdapter() override { calls_.finish(); }
  TaskQueueAdapter(const TaskQueueAdapter&) = delete;
  TaskQueueAdapter& operator=(const TaskQueueAdapter&) = delete;

  /// Has `task` run by the pool. A pool without limits takes all until it is closed, as long as it has a worker or can
  /// make one.
  ///
  /// Blocks:  where `enqueue` cannot say that a task was refused: then the calling thread runs it, for a connection
  /// that
  ///          nobody serves would never be closed. Meanwhile the server accepts no other.
  /// Returns: where it can, false if the pool refused, or after `shutdown`. Then the server closes the connection.
  /// Throws:  std::invalid_argument if there is nothing to call.
  Enqueued enqueue(std::function<void()> task) override {
    if (!task) throw std::invalid_argument("task queue: there is no function to call");
    const bool is_taken = calls_.run(task);
    if constexpr (std::is_void_v<Enqueued>) {
      if (!is_taken) calls_.run_here(task);
    } else {
      return is_taken;
    }
  }

  /// Takes no more tasks. The pool stays open.
  ///
  /// Blocks: until all tasks of this queue have ended, also those that still wait: they stand for open connections, and
  ///         use the server. Streams have to be told to end, as with the server's own pool.
  void shutdown() override { calls_.finish(); }

 private:
  detail::QueuedCalls calls_;
};

}  // namespace penstock::inline PENSTOCK_ABI
