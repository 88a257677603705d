#!/usr/bin/env bash
# Installs the Debian packages that a group of tasks needs, and does nothing when they are all there.
#
#   cmake/Dependencies.sh [--offline] <group>...
#
# Groups: build tests sanitizers examples benchmarks e2e browser bridges docs versus.
# --offline never calls apt: it fails with the list of what is missing.
#
# Exit: 0 all there; 1 missing and not installed; 64 wrong usage; 69 this is not a Debian system.
set -euo pipefail

packages_of() {
  local build="g++ cmake ninja-build pkgconf git libabsl-dev libfmt-dev"
  case "$1" in
    build) echo "$build" ;;
    tests) echo "$build catch2 libboost-context1.74-dev" ;;
    sanitizers) echo "clang libclang-rt-14-dev clang-format-14 dpkg-dev" ;;
    examples) echo "$build libcpp-httplib-dev nlohmann-json3-dev curl" ;;
    benchmarks) echo "$build libbenchmark-dev python3" ;;
    e2e) echo "curl wrk hey python3" ;;
    browser) echo "chromium chromium-driver python3" ;;
    bridges) echo "libhiredis-dev redis-tools libnats-dev nats-server" ;;
    docs) echo "doxygen" ;;
    versus) echo "$build libbenchmark-dev python3 libtbb-dev libconcurrentqueue-dev libboost-fiber1.74-dev libboost1.74-dev" \
                 "golang-go librust-crossbeam-channel-dev rustc cargo golang-gopkg-eapache-go-resiliency.v1-dev" \
                 "golang-golang-x-time-dev golang-github-juju-ratelimit-dev golang-golang-x-sync-dev" \
                 "libjemalloc-dev libmimalloc-dev libglib2.0-dev" ;;
    *) return 1 ;;
  esac
}

usage() {
  echo "usage: $0 [--offline] <build|tests|sanitizers|examples|benchmarks|e2e|browser|bridges|docs|versus>..." >&2
  exit 64
}

offline=false
wanted=""
for argument in "$@"; do
  case "$argument" in
    --offline) offline=true ;;
    -*) echo "$0: unknown option '$argument'" >&2; usage ;;
    *) if ! list=$(packages_of "$argument"); then echo "$0: unknown group '$argument'" >&2; usage; fi
       wanted="$wanted $list" ;;
  esac
done
[ -n "$wanted" ] || usage
read -r -a wanted <<<"$(tr ' ' '\n' <<<"$wanted" | sort -u | tr '\n' ' ')"

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "$0: not a Debian system; please install the counterparts of: ${wanted[*]}" >&2
  exit 69
fi

missing=()
for package in "${wanted[@]}"; do
  # Several lines when a package is known for several architectures: one installed is enough.
  status=$(dpkg-query --show --showformat '${db:Status-Status}\n' "$package" 2>/dev/null || true)
  grep -q '^installed$' <<<"$status" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install="apt-get install -y --no-install-recommends ${missing[*]}"
if $offline; then
  echo "$0: missing packages, and --offline forbids to install them: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "$0: missing packages, and only root can install them (there is no sudo); please run as root: $install" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $install
