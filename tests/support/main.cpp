// SPDX-License-Identifier: MIT

// The runner of every test program, compiled once.

#if PENSTOCK_CATCH2_VERSION == 2
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#else
#include <catch2/catch_session.hpp>
#endif

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
