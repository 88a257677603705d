// SPDX-License-Identifier: MIT
#include "penstock/core/detail/world.hpp"

#if !defined(PENSTOCK_MODEL)

#include <cerrno>
#include <cstring>
#include <ctime>

#if defined(__linux__)
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace penstock::inline PENSTOCK_ABI::detail::world {
namespace {

struct RandomTag {};

// xorshift64*, Marsaglia 2003 and Vigna 2016: three shifts and a product, good enough for fair choices.
struct Random {
  std::uint64_t state = 0;

  std::uint32_t next() noexcept {
    if (state == 0) {
      // The address of a thread-local value differs per thread, the clock per process.
      state =
          (reinterpret_cast<std::uintptr_t>(&state) ^ static_cast<std::uint64_t>(now().time_since_epoch().count())) |
          1U;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return static_cast<std::uint32_t>((state * 0x2545F4914F6CDD1DULL) >> 32);
  }
};

/// How many processors this process may use.
unsigned processors() noexcept {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return static_cast<unsigned>(CPU_COUNT(&allowed));
#endif
  return std::thread::hardware_concurrency();
}

}  // namespace

TimePoint recent() noexcept {
#if defined(CLOCK_MONOTONIC_COARSE)
  timespec time{};
  if (clock_gettime(CLOCK_MONOTONIC_COARSE, &time) == 0) {  // the tick of what std::chrono::steady_clock reads
    return TimePoint(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
  }
#endif
  return now();
}

std::chrono::nanoseconds recent_lag() noexcept {
#if defined(CLOCK_MONOTONIC_COARSE)
  // A processor that wakes up after a tick may read the time before it renews it.
  constexpr int kTicks = 3;
  timespec step{};
  if (clock_getres(CLOCK_MONOTONIC_COARSE, &step) == 0) {
    return kTicks * (std::chrono::seconds(step.tv_sec) + std::chrono::nanoseconds(step.tv_nsec));
  }
#endif
  return {};
}

std::uint32_t random_below(std::uint32_t bound) noexcept {
  // Multiply and shift (Lemire 2019). The bias, bound / 2^32, is far below what anybody could observe in a choice.
  const std::uint64_t number = thread_local_value<RandomTag, Random>().next();
  return static_cast<std::uint32_t>((number * bound) >> 32);
}

void back_off(std::uint32_t round) noexcept {
  constexpr std::uint32_t kPauses = 64;
  constexpr std::uint32_t kYields = 1000;
  if (round < kPauses) return pause();
  if (round < kPauses + kYields) return yield();
#if defined(__linux__)
  const Atomic<std::uint32_t> unwoken(0);  // only the deadline ends the wait
  static_cast<void>(futex_wait_until(unwoken, 0, now() + std::chrono::microseconds(50)));
#else
  yield();
#endif
}

std::uint32_t spin_limit() noexcept {
  // A few microseconds, about what a wake-up of a sleeping thread costs: so a wait costs at most twice what the better
  // of sleeping and looking would have (Karlin and others, 1991).
  static const std::uint32_t limit = processors() > 1 ? 160 : 0;
  return limit;
}

#if defined(__linux__) && defined(SYS_membarrier)

namespace {

// Of linux/membarrier.h, which older systems lack.
constexpr int kPrivateExpedited = 1 << 3;
constexpr int kRegisterPrivateExpedited = 1 << 4;

long membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0); }

}  // namespace

bool has_heavy_barriers() noexcept {
  static const bool has = membarrier(kRegisterPrivateExpedited) == 0 && membarrier(kPrivateExpedited) == 0;
  return has;
}

namespace {

// Asked while the process is loaded, when it has one thread: with more of them the kernel lets who registers sleep for
// milliseconds, until each processor has been through its scheduler.
[[maybe_unused]] const bool registered = has_heavy_barriers();

}  // namespace

void heavy_barrier() noexcept {
  if (membarrier(kPrivateExpedited) == 0) return;
  // A process that has forbidden itself this call since: then what is left is time. A store leaves its processor within
  // nanoseconds, and a thread that is taken off one passes a full barrier.
  const Atomic<std::uint32_t> unwoken(0);
  const TimePoint end = now() + std::chrono::milliseconds(1);
  while (now() < end) static_cast<void>(futex_wait_until(unwoken, 0, end));  // a signal ends one wait
}

#else

bool has_heavy_barriers() noexcept { return false; }
void heavy_barrier() noexcept {}

#endif

#if defined(__linux__)

static_assert(sizeof(Atomic<std::uint32_t>) == 4 && Atomic<std::uint32_t>::is_always_lock_free,
              "a futex word is a plain 32-bit integer");

namespace {

long futex(const void* word, int operation, std::uint32_t value, const timespec* deadline) noexcept {
  return syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace

void futex_wait(const Atomic<std::uint32_t>& word, std::uint32_t expected) noexcept {
  futex(&word, FUTEX_WAIT_BITSET, expected, nullptr);
}

bool futex_wait_until(const Atomic<std::uint32_t>& word, std::uint32_t expected, TimePoint deadline) noexcept {
  if (deadline == TimePoint::max()) {
    futex_wait(word, expected);
    return true;
  }
  // FUTEX_WAIT_BITSET takes an absolute deadline, and without FUTEX_CLOCK_REALTIME it is one of the monotonic clock,
  // which is what std::chrono::steady_clock reads: a signal or a step of the wall clock changes nothing.
  const auto since_epoch = deadline.time_since_epoch();
  if (since_epoch <= std::chrono::nanoseconds::zero()) return false;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
  timespec when{};
  when.tv_sec = static_cast<std::time_t>(seconds.count());
  when.tv_nsec = static_cast<long>((since_epoch - seconds).count());
  return futex(&word, FUTEX_WAIT_BITSET, expected, &when) == 0 || errno != ETIMEDOUT;
}

void futex_wake_one(const void* word) noexcept { futex(word, FUTEX_WAKE, 1, nullptr); }

void set_thread_name(std::string_view name) noexcept {
  char text[16] = {};
  std::memcpy(text, name.data(), name.size() < sizeof(text) ? name.size() : sizeof(text) - 1);
  pthread_setname_np(pthread_self(), text);
}

#else

void set_thread_name(std::string_view) noexcept {}

#endif

}  // namespace penstock::inline PENSTOCK_ABI::detail::world

#endif  // !PENSTOCK_MODEL
