// SPDX-License-Identifier: MIT
// Ten thousand coroutines on two threads: each waits for a question, works on it, and answers. Coroutines that talk to
// each other stay in one thread as long as that keeps up; when there is more to do the other one helps.
#include <cstdio>
#include <vector>

#include "penstock/channel/channel.hpp"
#include "penstock/core/task.hpp"
#include "penstock/core/work_stealing_executor.hpp"

using namespace penstock;

Task<> answer(Channel<long>& questions, Channel<long>& answers) {
  long question = 0;
  while (co_await questions.async_receive(question) == OpStatus::kOk) co_await answers.async_send(question * question);
}

Task<> ask(Channel<long>& questions, long count) {
  for (long i = 1; i <= count; ++i) co_await questions.async_send(i);
  questions.close();  // whoever waits for a question goes home
}

Task<long> add_up(Channel<long>& answers, long count) {
  long sum = 0;
  for (long number = 0; count > 0; --count, sum += number) co_await answers.async_receive(number);
  co_return sum;
}

int main() {
  constexpr long kQuestions = 100'000;
  Channel<long> questions(0);
  Channel<long> answers(100);
  WorkStealingExecutor executor(2, "answers");

  std::vector<JoinHandle<>> coroutines;
  for (int i = 0; i < 10'000; ++i) coroutines.push_back(spawn(executor, answer(questions, answers)));
  coroutines.push_back(spawn(executor, ask(questions, kQuestions)));
  const long sum = spawn(executor, add_up(answers, kQuestions)).get();
  for (JoinHandle<>& coroutine : coroutines) coroutine.get();

  std::printf("the sum of %ld squares is %ld\n", kQuestions, sum);
  return sum == kQuestions * (kQuestions + 1) * (2 * kQuestions + 1) / 6 ? 0 : 1;
}
