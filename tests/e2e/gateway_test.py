#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The gateway of examples/gateway as its clients see it: real processes, real HTTP, loopback only.

    tests/e2e/gateway_test.py [-v] [Requests | Upstreams | Keys | Retries | Batches | Trace | Load | Ending | Configuration |
                               Isolation | Fallback | Updates | LocalSwaps | LocalFailures | LocalEnding |
                               LocalConfiguration][.test_name]

PENSTOCK_GATEWAY_DIR names the folder of the programs gateway and provider; without it they are looked for below build/.
Nothing here sleeps to let something happen: it waits for what it expects, with a limit that only a failure reaches.
"""

import sys
import unittest

sys.dont_write_bytecode = True  # the source tree stays as it is

import gateway_support
from gateway_batches import Batches, Trace
from gateway_configuration import Configuration
from gateway_isolation import Fallback, Isolation
from gateway_keys import Keys
from gateway_load import Ending, Load
from gateway_local_failures import LocalConfiguration, LocalEnding, LocalFailures
from gateway_local_swaps import LocalSwaps
from gateway_requests import Requests
from gateway_retries import Retries
from gateway_updates import Updates
from gateway_upstreams import Upstreams

SKIPPED = 77  # the exit code that ctest takes for a skipped test

if __name__ == "__main__":
    if gateway_support.PROGRAMS is None:
        print("skipped: the programs gateway and provider are not built")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
