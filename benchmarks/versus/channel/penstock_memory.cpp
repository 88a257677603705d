// SPDX-License-Identifier: MIT
// Ours, memory: what an empty channel takes, and what each of `items` coroutines takes that wait on one. A program of
// its own, because it counts allocations.
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include <unistd.h>

#include "penstock/channel/channel.hpp"
#include "penstock/core/run_loop.hpp"
#include "penstock/core/task.hpp"

#include "measure.hpp"

namespace {

// What was asked for, by the one thread that allocates. What is given back meanwhile would be counted, too.
std::size_t allocated_bytes = 0;

void* counted(void* memory, std::size_t size) {
  if (memory == nullptr) throw std::bad_alloc();
  allocated_bytes += size;
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size), size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto to = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(to, (size + to - 1) / to * to), size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept { std::free(memory); }

namespace {

using penstock::Channel;
using penstock::OpStatus;
using penstock::RunLoop;
using penstock::Task;
using versus::Arguments;
using versus::check;
using versus::Figures;

double resident_bytes() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "r"), std::fclose);
  std::size_t all = 0;
  std::size_t resident = 0;
  check(file && std::fscanf(file.get(), "%zu %zu", &all, &resident) == 2, "cannot read /proc/self/statm");
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

Task<> receive(Channel<std::uint64_t>& channel, std::size_t& ended) {
  std::uint64_t value = 0;
  const OpStatus status = co_await channel.async_receive(value);
  ended += static_cast<std::size_t>(status == OpStatus::kClosed);
}

/// The same coroutine, which waits for nothing: what it takes beside the wait.
Task<> suspend(std::coroutine_handle<>* self, std::size_t& ended) {
  struct Awaiter : std::suspend_always {
    std::coroutine_handle<>* self;
    explicit Awaiter(std::coroutine_handle<>* handle) : self(handle) {}
    void await_suspend(std::coroutine_handle<> coroutine) const noexcept { *self = coroutine; }
  };
  std::uint64_t value = 1;
  co_await Awaiter(self);
  ended += value;
}

/// What one of `count` coroutines takes, as allocations and as resident memory.
struct PerCoroutine {
  double bytes;
  double resident;
};

template <class Make>
PerCoroutine measure(RunLoop& loop, std::size_t count, Make make) {
  const std::size_t allocated = allocated_bytes;
  const double resident = resident_bytes();
  for (std::size_t i = 0; i != count; ++i) static_cast<void>(spawn(loop, make(i)));
  loop.run_ready();
  const double number = static_cast<double>(count);
  return {static_cast<double>(allocated_bytes - allocated) / number, (resident_bytes() - resident) / number};
}

std::optional<Figures> memory(const Arguments& arguments) {
  const std::size_t count = arguments["items"];
  const std::size_t before = allocated_bytes;
  auto channel = std::make_unique<Channel<std::uint64_t>>(0);
  const std::size_t channel_bytes = allocated_bytes - before;

  RunLoop loop;
  std::size_t ended = 0;
  // Before the others: its coroutines leave memory behind for nobody.
  const PerCoroutine waiting = measure(loop, count, [&](std::size_t) { return receive(*channel, ended); });
  channel->close();
  loop.run_ready();
  check(ended == count, "memory: a coroutine was not woken");

  std::vector<std::coroutine_handle<>> handles(1000);
  const PerCoroutine suspended =
      measure(loop, handles.size(), [&](std::size_t i) { return suspend(&handles[i], ended); });
  for (const std::coroutine_handle<> handle : handles) handle.resume();

  Figures figures{.items = 1};
  figures.more = {{"channel_bytes", static_cast<double>(channel_bytes)},
                  {"coroutine_bytes", waiting.bytes},
                  {"resident_bytes", waiting.resident},
                  {"frame_bytes", suspended.bytes},
                  {"waiter_bytes", waiting.bytes - suspended.bytes}};
  return figures;
}

}  // namespace

int main(int argc, char** argv) { return versus::run_program(argc, argv, {{"memory", memory}}); }
