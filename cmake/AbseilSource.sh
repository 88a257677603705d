#!/usr/bin/env bash
# Prints the folder with the source of the installed Abseil package; fetches it on the first call. ThreadSanitizer sees
# only instrumented code, so its build compiles Abseil itself.
#
#   cmake/AbseilSource.sh [--offline] <cache folder>
#
# Debian's own source package of the very version that is installed, from the system's own package sources, through a
# private list: nothing outside the cache folder changes, and no root is needed.
set -euo pipefail

offline=false
if [ "${1-}" = --offline ]; then
  offline=true
  shift
fi
[ $# -eq 1 ] || { echo "usage: $0 [--offline] <cache folder>" >&2; exit 64; }

version=$(dpkg-query --show --showformat '${source:Version}\n' libabsl-dev | head -n 1)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
source_dir=$cache/$version
if [ -f "$source_dir/CMakeLists.txt" ]; then
  echo "$source_dir"
  exit 0
fi
if $offline; then
  echo "$0: the source of Abseil $version is not in $cache, and --offline forbids to fetch it;" \
       "run once without --offline" >&2
  exit 1
fi

work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/unpack" "$work/sources"

# The system's own package sources, keys and all, but asked for source packages.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
  [ -f "$file" ] || continue
  case "$file" in
    *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/sources/$(basename "$file")" ;;
    *) sed -n 's/^deb\([[:blank:]]\)/deb-src\1/p' "$file" >"$work/sources/$(basename "$file" .list).list" ;;
  esac
done

apt=(-q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/sources"
     -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=)
{
  # Another repository of the system may have no sources at all; only Abseil's absence matters.
  apt-get "${apt[@]}" update || true
  (cd "$work/unpack" && apt-get "${apt[@]}" source "abseil=$version")
} >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  echo "$0: could not fetch the source package abseil $version" >&2
  exit 1
}
rm -rf "$source_dir"
mv "$work"/unpack/abseil-*/ "$source_dir"
echo "$source_dir"
