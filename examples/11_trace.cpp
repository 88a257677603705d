// SPDX-License-Identifier: MIT
// A picture of a pool: which worker runs which job when, how long jobs wait, and what is dropped. Run it, then open the
// file that it names in https://ui.perfetto.dev or chrome://tracing.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "penstock/exec/chrome_trace.hpp"
#include "penstock/exec/worker_pool.hpp"

using penstock::ChromeTrace;
using penstock::Job;
using penstock::WorkerPool;

// Something that takes a while.
unsigned long digest(int rounds) {
  unsigned long sum = 5381;
  for (int i = 0; i < rounds; ++i) sum = sum * 33 + static_cast<unsigned long>(i);
  return sum;
}

int main() {
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "penstock_trace.json";
  std::ofstream file(path);
  ChromeTrace trace(file);  // outlives the pools that it watches

  {
    auto chat = WorkerPool::create({.name = "chat", .workers = 2, .observer = &trace});
    auto images = WorkerPool::create({.name = "images", .workers = 1, .observer = &trace});
    if (!chat.ok() || !images.ok()) return 1;

    std::vector<Job<unsigned long>> jobs;
    for (int i = 0; i < 20; ++i) {
      const bool is_image = i % 4 == 0;
      WorkerPool& pool = is_image ? **images : **chat;
      auto job = pool.submit([is_image] { return digest(is_image ? 400'000 : 100'000); },
                             {.tag = is_image ? "draw" : "answer"});
      if (job.ok()) jobs.push_back(*std::move(job));
    }
    jobs.back().cancel();  // dropped, unless it has started
    for (Job<unsigned long>& job : jobs) static_cast<void>(job.wait());
  }

  const absl::Status written = trace.finish();
  if (!written.ok()) {
    std::printf("%s\n", std::string(written.message()).c_str());
    return 1;
  }
  std::printf("open %s in https://ui.perfetto.dev\n", path.c_str());
  return trace.lost() == 0 ? 0 : 1;
}
