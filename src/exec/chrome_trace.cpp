// SPDX-License-Identifier: MIT
#include "penstock/exec/chrome_trace.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <ostream>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "penstock/exec/job.hpp"
#include "penstock/metrics/json_writer.hpp"
#include "trace_buffer.hpp"

namespace penstock::inline PENSTOCK_ABI {
using detail::TraceBuffer;
using detail::TraceChunk;
using detail::TraceChunks;
using detail::TraceKind;
using detail::TraceRecord;

namespace {

TraceRecord record_of(TraceKind kind, const JobEvent& event) noexcept {
  TraceRecord record{};
  record.kind = kind;
  record.code = event.code;
  record.outcome = event.outcome;
  record.attempt = event.attempt;
  record.call_id = event.call_id;
  record.job_id = event.job_id;
  record.worker_id = event.worker_id;
  record.since = event.since;
  record.at = event.at;
  return record;
}

}  // namespace

/// The text of the trace, and what its writer has to know: which tracks have a name, and what still runs.
class ChromeTrace::Text {
 public:
  explicit Text(std::ostream& to) : stream(to) {}

  [[nodiscard]] bool has_epoch() const noexcept { return epoch_ != TimePoint::max(); }
  void begin_at(TimePoint at) noexcept { epoch_ = std::min(epoch_, at); }

  /// What is running may have ended among the events that were lost.
  void forget_running() noexcept { running_.clear(); }

  /// Throws what the stream throws.
  void write(const TraceChunk& chunk) {
    for (std::size_t i = 0; i < chunk.records_used; ++i) add(chunk, chunk.records[i]);
    put_out();
  }

  /// Also of what still runs, as if it had ended with the newest event.
  void write_end(std::uint64_t lost) {
    for (const auto& [key, job] : running_) run(key.first, job.worker_id, key.second, job.tag, job.since, newest_, {});
    running_.clear();
    open();
    text_ += fmt::format("\n],\"otherData\":{{\"lost\":{}}}}}\n", lost);
    put_out();
    stream.flush();
  }

  std::ostream& stream;
  bool failed = false;
  bool finished = false;
  std::uint64_t lost_before = 0;

 private:
  // Numbers from 1: to the viewers a thread 0 is the same one in all processes.
  static constexpr std::size_t kPoolTrack = 1'000'000;
  static std::size_t track(std::size_t worker_id) noexcept {
    return worker_id == kCallerThread ? kPoolTrack : worker_id + 1;
  }

  struct Running {
    std::size_t worker_id;
    TimePoint since;
    std::string tag;
  };

  /// What is said of a slice's end; of one that still runs, that.
  struct End {
    std::string code = "running";
    JobOutcome outcome = JobOutcome::kNone;
    std::uint32_t attempt = 1;
    std::uint64_t call_id = 0;
  };
  static End end_of(const TraceRecord& record) {
    return {absl::StatusCodeToString(record.code), record.outcome, record.attempt, record.call_id};
  }

  /// Puts `record` into words.
  void add(const TraceChunk& chunk, const TraceRecord& record) {
    const std::string_view pool(chunk.text.data() + record.text_at, record.pool_bytes);
    const std::string_view tag(chunk.text.data() + record.text_at + record.pool_bytes, record.tag_bytes);
    const std::size_t pid = process(pool);
    newest_ = std::max(newest_, record.at);
    switch (record.kind) {
      case TraceKind::kStart:
        wait(pid, record, tag);
        running_[{pid, record.job_id}] = {record.worker_id, record.at, std::string(tag)};
        break;
      case TraceKind::kFinish:
        running_.erase({pid, record.job_id});
        run(pid, record.worker_id, record.job_id, tag, record.since, record.at, end_of(record));
        break;
      case TraceKind::kDrop:
        wait(pid, record, tag);
        begin("drop", "i", pid, kPoolTrack, record.at);
        json_.key("s").value("p");
        finish(record.job_id, tag, end_of(record));
        break;
      case TraceKind::kState:
        begin(to_string(record.state), "i", pid, kPoolTrack, record.at);
        json_.key("s").value("p").end_object();
        append();
        break;
    }
  }

  void put_out() {
    stream.write(text_.data(), static_cast<std::streamsize>(text_.size()));
    text_.clear();
  }

  void open() {
    if (!std::exchange(opened_, true)) text_ += "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  }

  std::size_t process(std::string_view pool) {
    if (const auto known = pools_.find(pool); known != pools_.end()) return known->second;
    const std::size_t pid = pools_.size() + 1;
    pools_.emplace(pool, pid);
    name("process_name", pid, 0, pool);
    return pid;
  }

  void name(std::string_view what, std::size_t pid, std::size_t tid, std::string_view text) {
    json_.begin_object().key("name").value(what).key("ph").value("M").key("pid").value(pid);
    if (tid != 0) json_.key("tid").value(tid);
    json_.key("args").begin_object().key("name").value(text).end_object().end_object();
    append();
  }

  [[nodiscard]] double microseconds(Duration duration) const noexcept {
    return std::chrono::duration<double, std::micro>(std::max(duration, Duration::zero())).count();
  }

  /// Begins an event, up to its arguments.
  void begin(std::string_view name_of_event, std::string_view phase, std::size_t pid, std::size_t tid, TimePoint at) {
    if (tracks_.emplace(pid, tid).second) {
      name("thread_name", pid, tid, tid == kPoolTrack ? std::string("pool") : fmt::format("worker {}", tid - 1));
    }
    json_.begin_object().key("name").value(name_of_event).key("ph").value(phase);
    json_.key("pid").value(pid).key("tid").value(tid).key("ts").value(microseconds(at - epoch_));
  }

  void finish(std::uint64_t job_id, std::string_view tag, const End& end) {
    json_.key("args").begin_object().key("job").value(job_id);
    if (!tag.empty()) json_.key("tag").value(tag);
    json_.key("code").value(end.code);
    if (end.outcome != JobOutcome::kNone) json_.key("outcome").value(to_string(end.outcome));
    if (end.attempt != 1) json_.key("attempt").value(end.attempt).key("call").value(end.call_id);
    json_.end_object().end_object();
    append();
  }

  void asynchronous(std::string_view event, std::string_view category, std::size_t pid, std::uint64_t job_id,
                    std::string_view tag, TimePoint since, TimePoint at, const End& end) {
    const std::string id = fmt::format("{}-{}", pid, job_id);
    begin(event, "b", pid, kPoolTrack, since);
    json_.key("cat").value(category).key("id").value(id).end_object();
    append();
    begin(event, "e", pid, kPoolTrack, std::max(since, at));
    json_.key("cat").value(category).key("id").value(id);
    finish(job_id, tag, end);
  }

  void wait(std::size_t pid, const TraceRecord& record, std::string_view tag) {
    asynchronous("queued", "queue", pid, record.job_id, tag, record.since, record.at, end_of(record));
  }

  void run(std::size_t pid, std::size_t worker_id, std::uint64_t job_id, std::string_view tag, TimePoint since,
           TimePoint at, const End& end) {
    const std::string_view event = tag.empty() ? std::string_view("job") : tag;
    // Several threads may be such callers at once, and slices of one thread must not overlap.
    if (worker_id == kCallerThread) return asynchronous(event, "caller", pid, job_id, tag, since, at, end);
    begin(event, "X", pid, track(worker_id), since);
    json_.key("dur").value(microseconds(at - since));
    finish(job_id, tag, end);
  }

  void append() {
    open();
    text_ += std::exchange(has_event_, true) ? ",\n" : "\n";
    text_ += json_.take();
  }

  JsonWriter json_;
  std::string text_;
  bool opened_ = false;
  bool has_event_ = false;
  TimePoint epoch_ = TimePoint::max();
  TimePoint newest_ = TimePoint::min();
  std::map<std::string, std::size_t, std::less<>> pools_;
  std::set<std::pair<std::size_t, std::size_t>> tracks_;
  std::map<std::pair<std::size_t, std::uint64_t>, Running> running_;
};

ChromeTrace::ChromeTrace(std::ostream& stream, Options options)
    : buffer_(std::make_unique<TraceBuffer>(options.max_bytes)), text_(std::make_unique<Text>(stream)) {
  constexpr std::size_t kLeast = std::size_t{64} << 10;
  if (options.max_bytes < kLeast) {
    throw std::invalid_argument(
        fmt::format("chrome trace: options.max_bytes must be at least {}, got {}", kLeast, options.max_bytes));
  }
}

ChromeTrace::~ChromeTrace() { static_cast<void>(finish()); }

absl::Status ChromeTrace::flush() { return write(false); }

absl::Status ChromeTrace::finish() { return write(true); }

std::uint64_t ChromeTrace::lost() const { return buffer_->lost(); }

void ChromeTrace::on_start(const JobEvent& event) {
  buffer_->add(record_of(TraceKind::kStart, event), event.pool, event.tag);
}

void ChromeTrace::on_finish(const JobEvent& event) {
  buffer_->add(record_of(TraceKind::kFinish, event), event.pool, event.tag);
}

void ChromeTrace::on_drop(const JobEvent& event) {
  buffer_->add(record_of(TraceKind::kDrop, event), event.pool, event.tag);
}

void ChromeTrace::on_state(std::string_view pool, PoolState state, TimePoint at) {
  TraceRecord record{};
  record.kind = TraceKind::kState;
  record.state = state;
  record.worker_id = kCallerThread;
  record.since = record.at = at;
  buffer_->add(record, pool, {});
}

absl::Status ChromeTrace::write(bool is_last) {
  Text& text = *text_;
  const bool ends_now = is_last && !std::exchange(text.finished, text.finished || is_last);
  std::array<TraceChunks, TraceBuffer::kParts> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) buffer_->take(i, is_last, parts[i]);
  if (!text.has_epoch()) {
    for (const TraceChunks& part : parts) {
      for (const TraceChunk* chunk = part.first(); chunk != nullptr; chunk = chunk->next) {
        for (std::size_t i = 0; i < chunk->records_used; ++i) text.begin_at(chunk->records[i].since);
      }
    }
  }
  for (TraceChunks& part : parts) {
    while (TraceChunk* const chunk = part.pop()) {
      const auto events = static_cast<std::size_t>(chunk->records_used);
      if (!text.failed) guarded([&] { text.write(*chunk); });
      buffer_->free_chunk(chunk);
      if (text.failed) buffer_->lose(events);
    }
  }
  if (const std::uint64_t lost = buffer_->lost(); lost != std::exchange(text.lost_before, lost)) text.forget_running();
  if (ends_now && !text.failed) guarded([&] { text.write_end(buffer_->lost()); });
  if (!text.failed) return absl::OkStatus();
  return absl::DataLossError(fmt::format("chrome trace: the stream has failed ({} events lost)", buffer_->lost()));
}

template <class Write>
void ChromeTrace::guarded(Write write_text) noexcept {
  try {
    write_text();
    text_->failed = !text_->stream;
  } catch (...) {
    text_->failed = true;  // of the stream's, or no memory for the text: there is a gap either way
  }
}

}  // namespace penstock::inline PENSTOCK_ABI
