// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What the gateway does around each attempt, whichever provider makes it.

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "penstock/metrics/json_writer.hpp"
#include "penstock/metrics/sink.hpp"
#include "penstock/route/interceptor.hpp"

namespace gateway {

/// Counts what attempts have come to, and the tokens that providers say they have used: what they will put on the bill.
class Ledger final : public penstock::Interceptor {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "ledger"; }
  void after(penstock::InterceptedCall& call) override;

  void collect(penstock::MetricSink& sink) const;
  /// The figures of a provider, as members of an object that has begun.
  void write_state(penstock::JsonWriter& json, std::string_view provider) const;

 private:
  struct Account {
    std::map<std::string, std::uint64_t> attempts = {};  // by the name of their status, such as "UNAVAILABLE"
    std::uint64_t prompt_tokens = 0;
    std::uint64_t completion_tokens = 0;
  };

  mutable std::mutex mutex_;
  std::map<std::string, Account, std::less<>> accounts_;
};

/// Requests between two attempts hold neither a worker nor a place in the queue, but the thread of their connection: so
/// that these do not run out, only so many requests of a provider may be tried again at a time. The others end with
/// their first failure.
class RetryRoom final : public penstock::Interceptor {
 public:
  class Place;

  [[nodiscard]] std::string_view name() const noexcept override { return "retry room"; }
  void after(penstock::InterceptedCall& call) override;

  void set_size(const std::string& provider, std::size_t places);
  [[nodiscard]] std::size_t waiting(std::string_view provider) const;

 private:
  struct Room {
    std::size_t places = 0;
    std::set<std::uint64_t> calls = {};
  };

  /// Whether there is room for the call, which may be there already.
  bool enter(std::string_view provider, std::uint64_t call_id);
  void leave(std::uint64_t call_id);

  mutable std::mutex mutex_;
  std::uint64_t last_call_ = 0;
  std::map<std::string, Room, std::less<>> rooms_;
};

/// A call's, until it has ended: whatever it waited for, it waits no more.
class RetryRoom::Place {
 public:
  explicit Place(RetryRoom& room);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { room_.leave(call_id_); }

  /// For `SubmitOptions`.
  [[nodiscard]] std::uint64_t call_id() const noexcept { return call_id_; }

 private:
  RetryRoom& room_;
  std::uint64_t call_id_ = 0;
};

}  // namespace gateway
