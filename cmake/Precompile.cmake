# Headers of others that most of our files include. They take more time to compile than what is ours, and never change.

# penstock_precompile(<target> [<header>...])
function(penstock_precompile target)
  if(PENSTOCK_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE
      <algorithm> <array> <atomic> <chrono> <condition_variable> <coroutine> <deque> <exception> <functional> <map>
      <memory> <mutex> <optional> <random> <span> <string> <string_view> <thread> <tuple> <unordered_map> <utility>
      <variant> <vector>
      <absl/functional/any_invocable.h> <absl/status/status.h> <absl/status/statusor.h>
      ${ARGN})
  endif()
endfunction()
