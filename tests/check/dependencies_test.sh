#!/usr/bin/env bash
# cmake/Dependencies.sh calls apt only when it has to and may, with stand-ins for dpkg-query, apt-get, id and sudo.
#
#   dependencies_test.sh <project> <scratch folder>
set -euo pipefail
script=$1/cmake/Dependencies.sh
work=$2
rm -rf "$work"
mkdir -p "$work/bin"
calls=$work/calls

# stub <name> <body>
stub() {
  printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
for tool in bash dirname env grep sort tr; do
  ln -s "$(command -v "$tool")" "$work/bin/$tool"
done

# expect <exit code> <what the output says> <what was called, or nothing> <argument>...
expect() {
  local code=$1 text=$2 called=$3 output status=0
  shift 3
  : >"$calls"
  output=$(PATH=$work/bin "$work/bin/bash" "$script" "$@" 2>&1) || status=$?
  if [ "$status" -ne "$code" ] || [[ "$output" != *"$text"* ]] || [[ "$(tr '\n' ' ' <"$calls")" != $called ]]; then
    echo "$*: expected exit $code, '$text', calls '$called'; got exit $status, calls '$(cat "$calls")', and:" >&2
    echo "$output" >&2
    exit 1
  fi
}

expect 69 "not a Debian system; please install the counterparts of: catch2 cmake" "" tests

stub dpkg-query 'echo installed'
stub apt-get 'echo "apt-get $*" >>"'"$calls"'"'
stub id 'echo 0'
expect 64 "unknown group 'nonsense'" "" nonsense
expect 64 "unknown option '--fast'" "" --fast build
expect 64 "usage:" ""
expect 0 "" "" build tests sanitizers examples benchmarks e2e browser bridges docs versus
expect 0 "" "" --offline build

stub dpkg-query '[ "${!#}" != cmake ] || exit 1; [ "${!#}" != git ] && echo installed || echo config-files'
expect 0 "installing: cmake git" \
  "apt-get update -q apt-get install -y --no-install-recommends cmake git " build
expect 1 "missing packages, and --offline forbids to install them: cmake git" "" --offline build

stub id 'echo 1000'
expect 1 "please run as root: apt-get install -y --no-install-recommends cmake git" "" build
stub sudo 'echo "sudo" >>"'"$calls"'"; "$@"'
expect 0 "installing: cmake git" \
  "sudo apt-get update -q sudo apt-get install -y --no-install-recommends cmake git " build
stub apt-get 'exit 100'
expect 100 "installing" "*" build
