// SPDX-License-Identifier: MIT
// Why did that request wait? A decision log has all that a scheduler was told and did, in a few bytes each: here it is
// made, written to a file, printed, and replayed. `penstock-decisions FILE` prints one, too.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "penstock/swap/decision_reader.hpp"
#include "penstock/swap/recorded_scheduler.hpp"

using namespace std::chrono_literals;
using penstock::ModelState;
using penstock::SwapActions;
using penstock::TimePoint;

int main() {
  const penstock::SwapSchedulerOptions options{.models = {{.name = "llama"}, {.name = "qwen"}}};
  const auto path = std::filesystem::temp_directory_path() / "penstock_27_decision_log.bin";
  {
    std::ofstream file(path, std::ios::binary);
    penstock::RecordedScheduler scheduler(options, {.spill = [&file](std::span<const std::byte> bytes) {
                                            file.write(reinterpret_cast<const char*>(bytes.data()),
                                                       static_cast<std::streamsize>(bytes.size()));
                                          }});
    const penstock::ModelId llama = *scheduler.scheduler().models().find("llama");
    const penstock::ModelId qwen = *scheduler.scheduler().models().find("qwen");
    SwapActions actions;  // a driver would carry them out; here they are only recorded
    const auto first = scheduler.on_request({.model = llama}, TimePoint(0s), actions);
    scheduler.on_request({.model = qwen}, TimePoint(1s), actions);
    scheduler.on_model_state(llama, ModelState::kReady, TimePoint(10s), actions);
    scheduler.on_swap_done(penstock::SwapId{1}, true, TimePoint(10s), actions);
    scheduler.on_serve_done(first, TimePoint(14s), actions);
  }  // the rest is spilled

  std::ifstream in(path, std::ios::binary);
  const std::vector<char> text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::filesystem::remove(path);
  const auto log = std::as_bytes(std::span(text));
  auto reader = penstock::DecisionReader::open(log);
  if (!reader.ok()) return 1;
  penstock::LoggedDecision decision;
  for (auto is_there = reader->next(decision); is_there.ok() && *is_there; is_there = reader->next(decision)) {
    std::fputs(to_lines(decision, reader->header(), TimePoint(0s)).c_str(), stdout);
  }

  penstock::SwapScheduler fresh(options);
  const auto report = penstock::replay(log, fresh);
  if (!report.ok()) return 1;
  std::printf("replayed: %d events, %d actions, the same; %d bytes\n", static_cast<int>(report->events),
              static_cast<int>(report->actions), static_cast<int>(log.size()));
  penstock::SwapScheduler other({.models = {{.name = "llama"}, {.name = "qwen"}}, .max_wait = 60s});
  std::printf("with other options: %s\n", std::string(replay(log, other).status().message()).c_str());
  return report->events == 5 ? 0 : 1;
}
