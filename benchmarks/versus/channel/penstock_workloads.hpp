// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The workloads of ours that are not about threads and a queue.

#include "measure.hpp"

namespace versus {

Workloads batch_workloads();   ///< receive_many
Workloads task_workloads();    ///< coroutines
Workloads select_workloads();  ///< select over 2, 8 and 64 channels

}  // namespace versus
