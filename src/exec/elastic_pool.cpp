// SPDX-License-Identifier: MIT
#include "penstock/exec/elastic_pool.hpp"

#include <utility>

#include "elastic_violations.hpp"
#include "penstock/core/detail/check.hpp"
#include "penstock/core/detail/option_text.hpp"
#include "penstock/exec/detail/elastic_core.hpp"

namespace penstock::inline PENSTOCK_ABI {
namespace {

ElasticPoolOptions checked(ElasticPoolOptions options) {
  const absl::Status status = options.validate();
  if (!status.ok()) throw std::invalid_argument(std::string(detail::text_of(status)));
  return options;
}

}  // namespace

ElasticPool::ElasticPool(ElasticPoolOptions options) : core_(new detail::ElasticCore(checked(std::move(options)))) {
  try {
    core_->start();
  } catch (...) {
    core_->shutdown(Context::background(), ElasticEnd::kDrain);
    core_->stop();
    throw;
  }
}

ElasticPool::~ElasticPool() {
  if (core_->is_forked()) {
    static_cast<void>(core_.release());  // what its threads held is held for ever
    return;
  }
  PENSTOCK_CHECK(!core_->is_inside(), "an elastic pool is not destroyed by one of its tasks");
  const Context forever(core_->clock());
  bool is_over = core_->shutdown(forever.with_timeout(core_->options().shutdown_timeout), ElasticEnd::kDrain).in_time;
  while (!is_over) is_over = core_->shutdown(forever, ElasticEnd::kCancel).in_time;
  core_->stop();
}

void ElasticPool::post(Work& work) noexcept { core_->post(work); }
bool ElasticPool::revoke(Work& work) noexcept { return core_->revoke(work); }
void ElasticPool::on_exception(std::exception_ptr exception) noexcept { core_->report(exception, nullptr); }

void ElasticPool::close() noexcept { core_->close(); }
ElasticShutdownReport ElasticPool::shutdown(const Context& ctx, ElasticEnd end) { return core_->shutdown(ctx, end); }

absl::Status ElasticPool::resize(std::size_t min_workers, std::size_t max_workers) {
  return core_->resize(min_workers, max_workers);
}

absl::Status ElasticPool::set_trim(const TrimPolicy& policy) {
  if (absl::Status bad = validate(policy); !bad.ok()) return bad;
  return core_->set_trim(policy);
}

const std::string& ElasticPool::name() const noexcept { return core_->options().name; }
Clock& ElasticPool::clock() const noexcept { return core_->clock(); }
bool ElasticPool::is_closed() const noexcept { return core_->is_closed(); }
std::size_t ElasticPool::worker_count() const noexcept { return core_->live(); }
bool ElasticPool::on_worker_thread() const noexcept { return core_->on_worker_thread(); }
ElasticPoolStats ElasticPool::stats() const { return core_->stats(); }
void ElasticPool::collect(MetricSink& sink) const { core_->collect(sink); }

}  // namespace penstock::inline PENSTOCK_ABI
