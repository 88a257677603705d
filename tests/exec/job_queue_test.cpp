// SPDX-License-Identifier: MIT
#include "penstock/exec/detail/job_queue.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "penstock/core/manual_clock.hpp"
#include "penstock/exec/detail/pool_core.hpp"
#include "penstock/exec/detail/typed_job.hpp"
#include "support/catch.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {
namespace {

using namespace std::chrono_literals;

// What a pool writes into a job when it accepts it. An explicit instantiation may name what is private.
template <class Tag, typename Tag::Type Member>
struct Reveal {
  friend typename Tag::Type member(Tag) { return Member; }
};
struct EnqueuedAt {
  using Type = TimePoint JobState::*;
  friend Type member(EnqueuedAt);
};
struct ExpiresAt {
  using Type = TimePoint AnsweredJob::*;
  friend Type member(ExpiresAt);
};
struct Id {
  using Type = std::uint64_t JobState::*;
  friend Type member(Id);
};
template struct Reveal<EnqueuedAt, &JobState::enqueued_at_>;
template struct Reveal<ExpiresAt, &AnsweredJob::expires_at_>;
template struct Reveal<Id, &JobState::id_>;

struct Nothing {
  void operator()() const {}
};

constexpr Duration kLimit = 10s;
const TimePoint kStart{1h};

// Makes jobs that no pool runs.
class Jobs {
 public:
  // One that was accepted at `at`; `limit`: of its own, if any.
  JobState& make(TimePoint at, int priority = 0, std::optional<Duration> limit = std::nullopt, bool front = false) {
    auto* const job =
        new TypedJob<Nothing>(pool_, {.queue_wait_limit = limit, .priority = priority, .front = front}, Nothing());
    jobs_.push_back(job);
    set(*job, at);
    static_cast<AnsweredJob&>(*job).*member(ExpiresAt()) = at + std::min(kLimit, limit.value_or(kLimit));
    return *job;
  }
  // One without terms, priority or handle.
  JobState& make_plain(TimePoint at) {
    plain_.push_back(new PlainJob<Nothing>(Nothing()));
    set(*plain_.back(), at);
    return *plain_.back();
  }
  Jobs() = default;
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;
  ~Jobs() {
    for (TypedJob<Nothing>* const job : jobs_) {
      job->release();  // the pool's share
      job->release();  // the handle's
    }
    for (PlainJob<Nothing>* const job : plain_) job->destroy();
  }

 private:
  void set(JobState& job, TimePoint at) {
    job.*member(EnqueuedAt()) = at;
    job.*member(Id()) = ++ids_;
  }

  ManualClock clock_;
  PoolCore pool_{{.name = "p", .queue_wait_limit = kLimit, .clock = &clock_}};
  std::uint64_t ids_ = 0;
  std::vector<TypedJob<Nothing>*> jobs_;
  std::vector<PlainJob<Nothing>*> plain_;
};

std::vector<std::uint64_t> drain(JobQueue& queue, bool crowded = false) {
  std::vector<std::uint64_t> ids;
  while (JobState* const job = queue.next(crowded)) {
    ids.push_back(job->id());
    queue.remove(*job);
  }
  CHECK(queue.empty());
  return ids;
}

using Ids = std::vector<std::uint64_t>;

void push_five(JobQueue& queue, Jobs& jobs) {
  for (const int priority : {0, 3, kLowestPriority, 3, kHighestPriority}) queue.push(jobs.make(kStart, priority));
}

TEST_CASE("JobQueue: each discipline has its order", "[exec][job_queue]") {
  Jobs jobs;
  JobQueue fifo(QueueDiscipline::kFifo, kLimit);
  push_five(fifo, jobs);
  CHECK(drain(fifo) == Ids{1, 2, 3, 4, 5});
  JobQueue lifo(QueueDiscipline::kLifo, kLimit);
  push_five(lifo, jobs);
  CHECK(drain(lifo) == Ids{10, 9, 8, 7, 6});
  JobQueue calm(QueueDiscipline::kAdaptiveLifo, kLimit);
  push_five(calm, jobs);
  CHECK(drain(calm, false) == Ids{11, 12, 13, 14, 15});
  JobQueue crowded(QueueDiscipline::kAdaptiveLifo, kLimit);
  push_five(crowded, jobs);
  CHECK(drain(crowded, true) == Ids{20, 19, 18, 17, 16});
  JobQueue priority(QueueDiscipline::kPriority, kLimit);
  push_five(priority, jobs);
  CHECK(drain(priority) == Ids{25, 22, 24, 21, 23});
}

TEST_CASE("JobQueue: takes in a list in its order", "[exec][job_queue]") {
  Jobs jobs;
  for (const QueueDiscipline discipline : {QueueDiscipline::kFifo, QueueDiscipline::kLifo}) {
    for (const bool plain : {true, false}) {
      JobQueue queue(discipline, kLimit);
      JobList list;
      queue.push_all(list, plain);
      CHECK(queue.empty());
      JobState& first = jobs.make_plain(kStart);
      JobState& second = jobs.make_plain(kStart);
      JobState& third = jobs.make_plain(kStart);
      queue.push(first);
      list.push(second);
      list.push(third);
      queue.push_all(list, plain);
      CHECK(list.empty());
      CHECK(queue.oldest() == &first);
      const Ids in_order{first.id(), second.id(), third.id()};
      const Ids ids = drain(queue);
      CHECK(ids == (discipline == QueueDiscipline::kFifo ? in_order : Ids(in_order.rbegin(), in_order.rend())));
    }
  }
}

TEST_CASE("JobQueue: any job can be taken out", "[exec][job_queue]") {
  Jobs jobs;
  for (std::size_t which = 0; which < 3; ++which) {
    JobQueue queue(QueueDiscipline::kFifo, kLimit);
    std::vector<JobState*> queued;
    for (int i = 0; i < 3; ++i) queued.push_back(&jobs.make(kStart, 0, 1s));
    for (JobState* const job : queued) queue.push(*job);
    queue.remove(*queued[which]);
    queued.erase(queued.begin() + static_cast<std::ptrdiff_t>(which));
    CHECK(queue.expired(kStart + 1s) == queued[0]);
    CHECK(drain(queue) == Ids{queued[0]->id(), queued[1]->id()});
    CHECK(queue.next_expiry() == TimePoint::max());
  }
}

TEST_CASE("JobQueue: the most dispensable job is the oldest of the least urgent", "[exec][job_queue]") {
  Jobs jobs;
  JobQueue queue(QueueDiscipline::kPriority, kLimit);
  CHECK(queue.most_dispensable() == nullptr);
  std::vector<JobState*> queued;
  for (const int priority : {5, -3, -3, 0}) queued.push_back(&jobs.make(kStart, priority));
  for (JobState* const job : queued) queue.push(*job);
  for (const std::size_t expected : {1U, 2U, 3U, 0U}) {
    REQUIRE(queue.most_dispensable() == queued[expected]);
    queue.remove(*queued[expected]);
  }
  JobQueue lifo(QueueDiscipline::kLifo, kLimit);
  for (JobState* const job : queued) lifo.push(*job);
  CHECK(lifo.most_dispensable() == queued[0]);
}

TEST_CASE("JobQueue: jobs expire by the common limit, or by a shorter one of their own", "[exec][job_queue]") {
  Jobs jobs;
  JobQueue queue(QueueDiscipline::kFifo, kLimit);
  CHECK(queue.expired(TimePoint::max()) == nullptr);
  JobState& common = jobs.make(kStart);
  JobState& late = jobs.make(kStart + 1s, 0, 5s);
  JobState& soon = jobs.make(kStart + 2s, 0, 3s);
  for (JobState* const job : {&common, &late, &soon}) queue.push(*job);
  CHECK(queue.next_expiry() == kStart + 5s);
  CHECK(queue.expired(kStart + 5s - 1ns) == nullptr);
  CHECK(queue.expired(kStart + 5s) == &soon);
  queue.remove(soon);
  CHECK(queue.next_expiry() == kStart + 6s);
  CHECK(queue.expired(kStart + 6s) == &late);
  queue.remove(late);
  CHECK(queue.next_expiry() == kStart + kLimit);
  CHECK(queue.expired(kStart + kLimit - 1ns) == nullptr);
  CHECK(queue.expired(kStart + kLimit) == &common);
}

TEST_CASE("JobQueue: jobs in front come before all of their priority, in the order of the discipline",
          "[exec][job_queue]") {
  const auto fill = [](JobQueue& queue, Jobs& jobs) {
    queue.push(jobs.make(kStart, 2));                       // 1
    queue.push(jobs.make(kStart, 2, std::nullopt, true));   // 2
    queue.push(jobs.make(kStart, 3));                       // 3
    queue.push(jobs.make(kStart, -1, std::nullopt, true));  // 4
    queue.push(jobs.make(kStart, 2, std::nullopt, true));   // 5
    queue.push(jobs.make(kStart, -1));                      // 6
  };
  const auto order = [&](QueueDiscipline discipline, bool crowded) {
    Jobs jobs;
    JobQueue queue(discipline, kLimit);
    fill(queue, jobs);
    return drain(queue, crowded);
  };
  CHECK(order(QueueDiscipline::kFifo, false) == Ids{2, 4, 5, 1, 3, 6});
  CHECK(order(QueueDiscipline::kLifo, false) == Ids{5, 4, 2, 6, 3, 1});
  CHECK(order(QueueDiscipline::kAdaptiveLifo, false) == Ids{2, 4, 5, 1, 3, 6});
  CHECK(order(QueueDiscipline::kAdaptiveLifo, true) == Ids{5, 4, 2, 6, 3, 1});
  CHECK(order(QueueDiscipline::kPriority, false) == Ids{3, 2, 5, 1, 4, 6});

  Jobs jobs;
  JobQueue queue(QueueDiscipline::kPriority, kLimit);
  fill(queue, jobs);
  Ids given_up;
  while (JobState* const job = queue.most_dispensable()) {
    given_up.push_back(job->id());
    queue.remove(*job);
  }
  CHECK(given_up == Ids{6, 4, 1, 2, 5, 3});
}

TEST_CASE("JobQueue: a job in front does not hide those that expire before it", "[exec][job_queue]") {
  Jobs jobs;
  JobQueue queue(QueueDiscipline::kFifo, kLimit);
  JobState& old = jobs.make(kStart);
  JobState& in_front = jobs.make(kStart + 1s, 0, std::nullopt, true);
  queue.push(old);
  queue.push(in_front);
  CHECK(queue.next(false) == &in_front);
  CHECK(queue.oldest() == &old);
  CHECK(queue.next_expiry() == kStart + kLimit);
  CHECK(queue.expired(kStart + kLimit) == &old);
  queue.remove(old);
  CHECK(queue.expired(kStart + kLimit) == nullptr);
  CHECK(queue.expired(kStart + 1s + kLimit) == &in_front);
}

TEST_CASE("JobQueue: a job without a handle has the priority of who says nothing", "[exec][job_queue]") {
  Jobs jobs;
  JobQueue queue(QueueDiscipline::kPriority, kLimit);
  JobState& less = jobs.make(kStart, -1);
  JobState& plain = jobs.make_plain(kStart);
  JobState& more = jobs.make(kStart, 1);
  for (JobState* const job : {&less, &plain, &more}) queue.push(*job);
  CHECK(drain(queue) == Ids{more.id(), plain.id(), less.id()});
}

// --- against a list that is searched each time ---

struct Entry {
  JobState* job;
  TimePoint at;
  TimePoint expires;
  int priority;
  bool front;
};

const Entry* naive_next(const std::vector<Entry>& queued, QueueDiscipline discipline, bool crowded) {
  const bool by_priority = discipline == QueueDiscipline::kPriority;
  const bool newest = discipline == QueueDiscipline::kLifo || (discipline == QueueDiscipline::kAdaptiveLifo && crowded);
  const auto rank = [&](const Entry& e) { return std::pair(by_priority ? e.priority : 0, e.front); };
  const Entry* best = nullptr;
  for (const Entry& entry : queued) {
    if (best == nullptr || rank(*best) < rank(entry) || (newest && rank(*best) == rank(entry))) best = &entry;
  }
  return best;
}

TEST_CASE("JobQueue: does as a list does that is searched each time", "[exec][job_queue]") {
  const auto discipline = static_cast<QueueDiscipline>(GENERATE(0, 1, 2, 3));
  constexpr int kSteps = 100'000;
  std::mt19937 random(20'240'229);
  const auto roll = [&random](std::size_t sides) { return static_cast<std::size_t>(random() % sides); };
  auto jobs = std::make_unique<Jobs>();
  JobQueue queue(discipline, kLimit);
  std::vector<Entry> queued;
  TimePoint now = kStart;
  const auto wrong = [](int step, const char* what) { FAIL(what << " at step " << step); };
  for (int step = 0; step < kSteps; ++step) {
    now += Duration(static_cast<Duration::rep>(roll(400)) * 1'000'000);
    const std::size_t kind = roll(10);
    if (queued.size() < 60 && kind < 5) {
      const int priority = static_cast<int>(roll(16)) + kLowestPriority;
      std::optional<Duration> limit;
      if (roll(3) == 0) limit = Duration(std::chrono::milliseconds(1 + roll(15'000)));
      const bool front = roll(4) == 0;
      JobState& job = jobs->make(now, priority, limit, front);
      queue.push(job);
      queued.push_back({&job, now, now + std::min(kLimit, limit.value_or(kLimit)), priority, front});
    } else if (!queued.empty()) {
      const std::size_t index = roll(queued.size());
      queue.remove(*queued[index].job);
      queued.erase(queued.begin() + static_cast<std::ptrdiff_t>(index));
    }
    // What has expired goes, as a pool has it.
    while (JobState* const job = queue.expired(now)) {
      const auto place = std::find_if(queued.begin(), queued.end(), [job](const Entry& e) { return e.job == job; });
      if (place == queued.end() || place->expires > now) wrong(step, "expired");
      queue.remove(*job);
      queued.erase(place);
    }
    const bool crowded = roll(2) == 0;
    const Entry* const next = naive_next(queued, discipline, crowded);
    if (queue.next(crowded) != (next == nullptr ? nullptr : next->job)) wrong(step, "next");
    if (queue.empty() != queued.empty()) wrong(step, "empty");
    TimePoint soonest = TimePoint::max();
    TimePoint oldest = TimePoint::max();
    for (const Entry& entry : queued) {
      soonest = std::min(soonest, entry.expires);
      oldest = std::min(oldest, entry.at);
    }
    if (soonest <= now) wrong(step, "expired too late");
    if (queue.next_expiry() != soonest) wrong(step, "next_expiry");
    if (!queued.empty() && queue.oldest()->*member(EnqueuedAt()) != oldest) wrong(step, "oldest");
    if (queued.empty()) jobs = std::make_unique<Jobs>();
  }
  while (JobState* const job = queue.next(false)) queue.remove(*job);
  SUCCEED();
}

// --- Codel ---

constexpr CodelOptions kCodel{.target = 5ms, .interval = 100ms};

TEST_CASE("Codel: sheds nothing in a burst that is shorter than the interval", "[exec][codel]") {
  Codel codel(kCodel);
  for (Duration since{}; since < 100ms; since += 1ms) CHECK_FALSE(codel.sheds(90ms, kStart + since));
  CHECK_FALSE(codel.is_dropping());
}

TEST_CASE("Codel: sheds under a standing queue what has waited for more than twice the target", "[exec][codel]") {
  Codel codel(kCodel);
  for (Duration since{}; since < 100ms; since += 10ms) CHECK_FALSE(codel.sheds(50ms, kStart + since));
  for (Duration since = 100ms; since < 200ms; since += 10ms) CHECK(codel.sheds(50ms, kStart + since));
  CHECK_FALSE(codel.sheds(10ms, kStart + 200ms));
  CHECK(codel.sheds(10ms + 1ns, kStart + 200ms));
}

TEST_CASE("Codel: stops at the end of an interval in which one job has waited less", "[exec][codel]") {
  Codel codel(kCodel);
  CHECK_FALSE(codel.sheds(50ms, kStart));
  CHECK(codel.sheds(50ms, kStart + 100ms));
  CHECK_FALSE(codel.sheds(5ms, kStart + 150ms));  // the lucky one
  CHECK(codel.sheds(50ms, kStart + 199ms));
  CHECK_FALSE(codel.sheds(50ms, kStart + 200ms));
  CHECK_FALSE(codel.is_dropping());
}

TEST_CASE("Codel: decides as written down", "[exec][codel]") {
  struct Step {
    int at_ms;
    int waited_ms;
    bool sheds;
  };
  // Intervals: [0, 100), [130, 230), [230, 330), [500, 600), [600, 700).
  constexpr Step kSteps[] = {{0, 6, false},    {40, 30, false},  {99, 90, false},  {130, 11, true}, {131, 10, false},
                             {229, 6, false},  {230, 200, true}, {240, 4, false},  {329, 40, true}, {500, 40, false},
                             {599, 40, false}, {600, 40, true},  {699, 10, false}, {700, 5, false}, {701, 11, true}};
  Codel codel(kCodel);
  for (const Step& step : kSteps) {
    INFO(step.at_ms);
    CHECK(codel.sheds(std::chrono::milliseconds(step.waited_ms), kStart + std::chrono::milliseconds(step.at_ms)) ==
          step.sheds);
  }
}

}  // namespace
}  // namespace penstock::inline PENSTOCK_ABI::detail
