// SPDX-License-Identifier: MIT
#include "child_system.hpp"

#include <cerrno>
#include <cstdint>
#include <system_error>

#include <fmt/format.h>

#if defined(__linux__)
#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <csignal>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

// What other C libraries than the GNU one do not have, nor it in earlier versions.
#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 32)
#define PENSTOCK_HAS_SIGDESCR 1
#endif
#if __GLIBC_PREREQ(2, 34)
#define PENSTOCK_HAS_CLOSEFROM 1
#endif
#endif
#endif

namespace penstock::inline PENSTOCK_ABI::detail {

std::string error_text(int error) { return std::generic_category().message(error); }

#if defined(__linux__)

namespace {

constexpr int kFirstOther = 3;  // after standard input, output and errors

/// A descriptor that is none of the three standard ones, which a child's file actions write over.
Descriptor moved_up(int number) noexcept {
  Descriptor descriptor(number);
  if (number < 0 || number >= kFirstOther) return descriptor;
  return Descriptor(fcntl(number, F_DUPFD_CLOEXEC, kFirstOther));
}

struct Pipe {
  Descriptor read;
  Descriptor write;
};

int make_pipe(Pipe& made) noexcept {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  made.read = moved_up(ends[0]);
  made.write = moved_up(ends[1]);
  if (!made.read || !made.write) return errno;
  // Our end only: the child expects its output to wait for room.
  return fcntl(made.read.number(), F_SETFL, O_NONBLOCK) == 0 ? 0 : errno;
}

std::string_view name_of(std::string_view variable) noexcept { return variable.substr(0, variable.find('=')); }

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  return pointers;
}

std::vector<char*> environment_of(const ChildCommand& command) {
  std::vector<char*> pointers = pointers_to(command.environment);
  if (command.inherits_environment) {
    for (char** inherited = environ; inherited != nullptr && *inherited != nullptr; ++inherited) {
      const bool is_replaced = std::any_of(command.environment.begin(), command.environment.end(),
                                           [&](const std::string& own) { return name_of(own) == name_of(*inherited); });
      if (!is_replaced) pointers.push_back(*inherited);
    }
  }
  pointers.push_back(nullptr);
  return pointers;
}

class FileActions {
 public:
  FileActions() : error_(posix_spawn_file_actions_init(&actions_)) {}
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }

  template <class Action, class... Arguments>
  void add(Action action, Arguments... arguments) noexcept {
    if (error_ == 0) error_ = action(&actions_, arguments...);
  }
  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
  int error_;
};

class Attributes {
 public:
  Attributes() : error_(posix_spawnattr_init(&attributes_)) {
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    if (error_ == 0) error_ = posix_spawnattr_setsigdefault(&attributes_, &all);
    if (error_ == 0) error_ = posix_spawnattr_setsigmask(&attributes_, &none);
    constexpr int kFlags = POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (error_ == 0) error_ = posix_spawnattr_setflags(&attributes_, static_cast<short>(kFlags));
  }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }

  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
  int error_;
};

timespec spec_of(Duration timeout) noexcept {
  timeout = std::max(timeout, Duration::zero());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  return {static_cast<std::time_t>(seconds.count()), static_cast<long>((timeout - seconds).count())};
}

/// The system refuses to poll more descriptors at once than a process may have open now, however many it has: looks at
/// some of them after the other, and sleeps a little if nothing has happened to any.
void poll_by_parts(std::span<pollfd> entries, Duration timeout) noexcept {
  constexpr Duration kPause = std::chrono::milliseconds(20);
  constexpr timespec kNoTime{};
  rlimit most{};
  const std::size_t part = getrlimit(RLIMIT_NOFILE, &most) == 0 ? std::max<std::size_t>(most.rlim_cur, 1) : 1;
  bool happened = false;
  for (; !entries.empty(); entries = entries.subspan(std::min(part, entries.size()))) {
    happened |= ppoll(entries.data(), std::min(part, entries.size()), &kNoTime, nullptr) > 0;
  }
  const timespec pause = spec_of(std::min(timeout, kPause));
  if (!happened) ppoll(nullptr, 0, &pause, nullptr);
}

enum class Look : unsigned char { kNobody, kSomebody, kFailed };

/// Whether the process of this folder of /proc belongs to the group, and has not ended.
Look look_for_member(int proc, const char* folder, int group) noexcept {
  std::array<char, 32> path{};
  const auto end = fmt::format_to_n(path.data(), path.size() - 1, "{}/stat", folder);
  if (end.size >= path.size()) return Look::kNobody;
  const Descriptor file(openat(proc, path.data(), O_RDONLY | O_CLOEXEC));
  if (!file) return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? Look::kFailed : Look::kNobody;
  std::array<char, 1024> text{};
  const ssize_t size = read(file.number(), text.data(), text.size());
  if (size <= 0) return Look::kNobody;
  // "pid (name) state parent group ... threads ...", where the name may hold anything.
  std::string_view rest(text.data(), static_cast<std::size_t>(size));
  rest.remove_prefix(std::min(rest.size(), rest.rfind(')') + 1));
  const auto next = [&rest] {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(word.size());
    return word;
  };
  const auto next_number = [&next] {
    const std::string_view word = next();
    int number = 0;
    std::from_chars(word.data(), word.data() + word.size(), number);
    return number;
  };
  const std::string_view state = next();
  next();
  if (next_number() != group || state == "X") return Look::kNobody;
  if (state != "Z") return Look::kSomebody;
  // Its first thread has ended: others may go on.
  constexpr int kBetween = 14;  // what stands between the group and the number of threads
  for (int i = 0; i < kBetween; ++i) next();
  return next_number() > 1 ? Look::kSomebody : Look::kNobody;
}

Look look_for_members(int group) noexcept {
  DIR* const proc = opendir("/proc");
  if (proc == nullptr) return Look::kFailed;
  Look seen = Look::kNobody;
  while (const dirent* const entry = readdir(proc)) {
    const char* const name = entry->d_name;
    if (name[0] < '0' || name[0] > '9') continue;
    if (const Look one = look_for_member(dirfd(proc), name, group); one != Look::kNobody) seen = one;
    if (seen == Look::kSomebody) break;
  }
  closedir(proc);
  return seen;
}

/// Once the child was reaped its number is given to nobody while its group lasts: a process of that number tells that
/// the group has ended.
bool is_strangers(const RunningChild& child) noexcept {
  return child.is_reaped && (kill(child.pid, 0) == 0 || errno == EPERM);
}

}  // namespace

void Descriptor::reset() noexcept {
  if (number_ >= 0) close(std::exchange(number_, -1));
}

Descriptor make_bell() {
  Descriptor bell(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell) throw std::system_error(errno, std::generic_category(), "process supervisor: no eventfd");
  return bell;
}

void ring(const Descriptor& bell) noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t size = write(bell.number(), &one, sizeof(one));  // a full counter rings, too
}

void silence(const Descriptor& bell) noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(bell.number(), &count, sizeof(count));
}

void poll_all(std::vector<Interest>& interests, Duration timeout) {
  std::vector<pollfd> entries;
  entries.reserve(interests.size());
  for (const Interest& interest : interests) {
    entries.push_back({interest.descriptor, static_cast<short>(interest.to_write ? POLLOUT : POLLIN), 0});
  }
  const timespec limit = spec_of(timeout);
  const int count = ppoll(entries.data(), entries.size(), timeout == Duration::max() ? nullptr : &limit, nullptr);
  if (count < 0 && errno != EINTR) poll_by_parts(entries, timeout);
  for (std::size_t i = 0; i < entries.size(); ++i) interests[i].happened = entries[i].revents != 0;
}

int read_some(const Descriptor& from, std::span<char> into) noexcept {
  ssize_t size = 0;
  do {
    size = read(from.number(), into.data(), into.size());
  } while (size < 0 && errno == EINTR);
  if (size > 0) return static_cast<int>(size);
  return size < 0 && errno == EAGAIN ? 0 : -1;
}

int spawn_child(const ChildCommand& command, RunningChild& child) {
  std::vector<char*> arguments = pointers_to(command.arguments);
  arguments.push_back(nullptr);
  const std::vector<char*> environment = environment_of(command);

  Pipe output;
  Pipe errors;
  if (const int error = make_pipe(output); error != 0) return error;
  if (const int error = make_pipe(errors); error != 0) return error;

  FileActions actions;
  actions.add(posix_spawn_file_actions_addopen, STDIN_FILENO, "/dev/null", O_RDONLY, mode_t{0});
  actions.add(posix_spawn_file_actions_adddup2, output.write.number(), STDOUT_FILENO);
  actions.add(posix_spawn_file_actions_adddup2, errors.write.number(), STDERR_FILENO);
#if defined(PENSTOCK_HAS_CLOSEFROM)
  actions.add(posix_spawn_file_actions_addclosefrom_np, kFirstOther);
#endif
  if (!command.working_directory.empty()) {
    actions.add(posix_spawn_file_actions_addchdir_np, command.working_directory.c_str());
  }
  const Attributes attributes;
  if (actions.error() != 0) return actions.error();
  if (attributes.error() != 0) return attributes.error();

  pid_t pid = 0;
  const int error =
      posix_spawnp(&pid, arguments[0], actions.get(), attributes.get(), arguments.data(), environment.data());
  if (error != 0) return error;
  child.pid = pid;
  child.output = std::move(output.read);
  child.errors = std::move(errors.read);
  // A child of ours keeps its number until it was reaped. If somebody else has done that by now there may be nothing to
  // watch, and a look finds that out.
  child.watch = Descriptor();
#if defined(SYS_pidfd_open)
  if (command.wants_watch) child.watch = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
#endif
  return 0;
}

ChildExit end_of(RunningChild& child) noexcept {
  constexpr auto kByDescriptor = static_cast<idtype_t>(3);  // P_PIDFD, which older headers lack
  siginfo_t info{};
  const auto look = [&info](idtype_t by, int number) {
    int result = 0;
    do {
      result = waitid(by, static_cast<id_t>(number), &info, WEXITED | WNOHANG | WNOWAIT);
    } while (result != 0 && errno == EINTR);
    return result == 0;
  };
  bool found = child.watch && look(kByDescriptor, child.watch.number());
  // Linux 5.3 has such descriptors, and cannot wait by them.
  if (!found && (!child.watch || errno == EINVAL)) found = look(P_PID, child.pid);
  if (!found) {
    child.is_reaped = true;
    return {ChildEnd::kUnknown, 0};
  }
  if (info.si_pid == 0) return {};
  if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) return {};  // of a host that traces it
  return {info.si_code == CLD_EXITED ? ChildEnd::kExited : ChildEnd::kSignalled, info.si_status};
}

void signal_group(const RunningChild& child, int signal) noexcept {
  if (child.pid > 1 && !is_strangers(child)) kill(-child.pid, signal);  // -0 is our own group, -1 everybody
}

bool group_runs(RunningChild& child) noexcept {
  if (is_strangers(child)) return false;
  const Look seen = look_for_members(child.pid);
  if (seen != Look::kFailed) return seen == Look::kSomebody;
  reap_group(child);
  return kill(-child.pid, 0) == 0 || errno != ESRCH;
}

void reap_orphans(const RunningChild& child) noexcept {
  for (;;) {
    siginfo_t info{};
    if (waitid(P_PGID, static_cast<id_t>(child.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return;
    if (info.si_pid == 0 || info.si_pid == child.pid) return;
    waitpid(info.si_pid, nullptr, WNOHANG);
  }
}

void reap_group(RunningChild& child) noexcept {
  if (is_strangers(child)) return;
  int status = 0;
  for (pid_t seen = 0; (seen = waitpid(-child.pid, &status, WNOHANG)) > 0;) {
    child.is_reaped |= seen == child.pid && !WIFSTOPPED(status);  // a host that traces it is told of stops, too
  }
}

void reap_child(RunningChild& child) noexcept {
  if (!child.is_reaped) child.is_reaped = waitpid(child.pid, nullptr, WNOHANG) == child.pid;
}

bool adopt_orphans() noexcept { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0; }

std::string signal_text(int signal) {
#if defined(PENSTOCK_HAS_SIGDESCR)
  const char* const description = sigdescr_np(signal);
#else
  const char* const description = strsignal(signal);
#endif
  return fmt::format("signal {} ({})", signal, description != nullptr ? description : "unknown");
}

#else

void Descriptor::reset() noexcept { number_ = -1; }

Descriptor make_bell() {
  throw std::system_error(ENOSYS, std::generic_category(), "process supervisor: no child processes on this system");
}
void ring(const Descriptor& /*bell*/) noexcept {}
void silence(const Descriptor& /*bell*/) noexcept {}
void poll_all(std::vector<Interest>& /*interests*/, Duration /*timeout*/) {}
int read_some(const Descriptor& /*from*/, std::span<char> /*into*/) noexcept { return -1; }
int spawn_child(const ChildCommand& /*command*/, RunningChild& /*child*/) { return ENOSYS; }
ChildExit end_of(RunningChild& /*child*/) noexcept { return {ChildEnd::kUnknown, 0}; }
void signal_group(const RunningChild& /*child*/, int /*signal*/) noexcept {}
bool group_runs(RunningChild& /*child*/) noexcept { return false; }
void reap_orphans(const RunningChild& /*child*/) noexcept {}
void reap_group(RunningChild& /*child*/) noexcept {}
void reap_child(RunningChild& /*child*/) noexcept {}
bool adopt_orphans() noexcept { return false; }
std::string signal_text(int signal) { return fmt::format("signal {}", signal); }

#endif

}  // namespace penstock::inline PENSTOCK_ABI::detail
