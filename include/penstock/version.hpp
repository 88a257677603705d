// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// The version of penstock, and the inline namespace that carries its ABI.

#define PENSTOCK_VERSION_MAJOR 0
#define PENSTOCK_VERSION_MINOR 1
#define PENSTOCK_VERSION_PATCH 0

// Everything lives in `penstock::PENSTOCK_ABI`, inline: code compiled against another layout of our types fails to
// link instead of misbehaving. PENSTOCK_MODEL builds the library for the model checker, see core/detail/world.hpp.
#if defined(PENSTOCK_MODEL)
#define PENSTOCK_ABI model
#else
#define PENSTOCK_ABI v0
#endif
