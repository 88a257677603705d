// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Names of providers, in their options and in texts.

#include <string>
#include <string_view>

#include "penstock/route/provider_options.hpp"

namespace penstock::inline PENSTOCK_ABI::detail {

/// `options` with the name and the clock in all parts.
ProviderOptions named(ProviderOptions options, const std::string& name);

/// A name as texts show it: not all of one that somebody has sent us by mistake.
std::string shown_name(std::string_view name);

}  // namespace penstock::inline PENSTOCK_ABI::detail
