// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The list of all that can be measured in a process, and the one call that asks them all.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/functional/any_invocable.h"

#include "penstock/metrics/sink.hpp"

namespace penstock::inline PENSTOCK_ABI {

/// Calls collectors when somebody wants to see numbers; between two such calls metrics cost nothing here.
///
///     MetricRegistry registry;
///     auto registration = registry.add([&pool](MetricSink& sink) { pool.collect(sink); });
///     PrometheusWriter writer;
///     registry.collect(writer);
///
/// Threads: any member, from any thread, also from within a collector. The registry must outlive each call of
/// `collect`, but not its registrations.
class MetricRegistry {
 public:
  class Registration;

  /// Hands a component's numbers to a sink. Two threads that collect at once run the same collector at once.
  using Collector = absl::AnyInvocable<void(MetricSink&) const>;

  MetricRegistry();
  ~MetricRegistry();
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  /// Has `collector` called in each `collect` that begins from now on, until the registration is destroyed.
  ///
  /// Throws: std::invalid_argument if `collector` is empty.
  [[nodiscard]] Registration add(Collector collector);

  /// Calls all collectors in the order in which they were added, and holds no lock while one runs. One that throws is
  /// counted, and what it has written stays; the others are called all the same.
  ///
  /// Returns: how many of them threw.
  std::size_t collect(MetricSink& sink) const;

  /// How many calls of collectors have thrown so far.
  [[nodiscard]] std::uint64_t failures() const noexcept;

  /// How many collectors are registered.
  [[nodiscard]] std::size_t size() const noexcept;

 private:
  struct State;

  std::shared_ptr<State> state_;
};

/// Keeps a collector registered.
///
/// Threads: one at a time, like any value.
class [[nodiscard]] MetricRegistry::Registration {
 public:
  /// Registers nothing.
  Registration() noexcept = default;
  Registration(Registration&& other) noexcept;
  Registration& operator=(Registration&& other) noexcept;
  ~Registration() { remove(); }

  /// Takes the collector out. When this returns no other thread runs it, none will, and it has been destroyed: what it
  /// refers to may go. From within the collector itself this is allowed, and the collector is destroyed once it
  /// returns.
  ///
  /// Blocks: while other threads run the collector; so the caller must hold no lock that the collector takes.
  void remove() noexcept;

  /// Whether it keeps a collector registered.
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  friend class MetricRegistry;

  Registration(std::shared_ptr<State> state, std::uint64_t id) noexcept : state_(std::move(state)), id_(id) {}

  std::shared_ptr<State> state_;
  std::uint64_t id_ = 0;
};

}  // namespace penstock::inline PENSTOCK_ABI
