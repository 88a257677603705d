// SPDX-License-Identifier: MIT
#include "client_watch.hpp"

#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "absl/status/status.h"

namespace gateway {
namespace {

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

}  // namespace

ClientWatch::ClientWatch()
    : epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      stop_(checked(::eventfd(0, EFD_CLOEXEC), "eventfd")) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event), "epoll_ctl");
  thread_ = std::thread([this] { run(); });
}

ClientWatch::~ClientWatch() {
  ::eventfd_write(stop_, 1);
  thread_.join();
  ::close(stop_);
  ::close(epoll_);
}

ClientWatch::Guard ClientWatch::watch(int socket, penstock::CancelSource source) {
  std::uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = ++last_id_;
    sources_.emplace(id, std::move(source));
  }
  // EPOLLHUP and EPOLLERR are always reported. Once is enough, and what the client sends ahead is none of our business.
  epoll_event event{.events = EPOLLRDHUP | EPOLLONESHOT, .data = {.u64 = id}};
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) {
    const int error = errno;
    const std::lock_guard lock(mutex_);
    sources_.erase(id);
    throw std::system_error(error, std::generic_category(), "epoll_ctl");
  }
  return Guard(*this, socket, id);
}

void ClientWatch::forget(int socket, std::uint64_t id) {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
  const std::lock_guard lock(mutex_);
  sources_.erase(id);
}

void ClientWatch::run() {
  for (;;) {
    epoll_event event{};
    const int count = ::epoll_wait(epoll_, &event, 1, -1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 || event.data.u64 == 0) return;

    std::optional<penstock::CancelSource> source;
    {
      const std::lock_guard lock(mutex_);
      const auto found = sources_.find(event.data.u64);
      if (found != sources_.end()) source.emplace(found->second);
    }
    // An event that was under way when its guard went finds nothing: ids are never used again.
    if (source) source->cancel(absl::CancelledError("the client closed the connection"));
  }
}

}  // namespace gateway
