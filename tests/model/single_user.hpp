// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// What only one may use at a time, as pools and queues lend it.

#include "model/explore.hpp"

namespace penstock::checker {

/// Says when it is used by two at once, or destroyed while it is used.
class SingleUser {
 public:
  SingleUser() = default;
  SingleUser(const SingleUser&) = delete;
  SingleUser& operator=(const SingleUser&) = delete;
  ~SingleUser() { MODEL_ASSERT(!in_use_); }

  /// Plain memory: the checker reports it if two are here, or if the next one does not see what this one did.
  void use() {
    MODEL_ASSERT(!in_use_);
    in_use_ = true;
    ++uses_;
    in_use_ = false;
  }
  [[nodiscard]] int uses() const { return uses_; }

 private:
  bool in_use_ = false;
  int uses_ = 0;
};

}  // namespace penstock::checker
