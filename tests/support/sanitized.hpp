// SPDX-License-Identifier: MIT
#pragma once

/// \file
/// Which sanitizer this is compiled with, whichever compiler it is: PENSTOCK_HAS_ASAN, PENSTOCK_HAS_TSAN; 0 or 1.

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PENSTOCK_HAS_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define PENSTOCK_HAS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define PENSTOCK_HAS_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define PENSTOCK_HAS_TSAN 1
#endif
#if !defined(PENSTOCK_HAS_ASAN)
#define PENSTOCK_HAS_ASAN 0
#endif
#if !defined(PENSTOCK_HAS_TSAN)
#define PENSTOCK_HAS_TSAN 0
#endif
