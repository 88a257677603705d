#!/usr/bin/env bash
# build.sh <compiler> <folder of penstock.pc> <source> <program>: what a Makefile would do.
set -euo pipefail
export PKG_CONFIG_PATH=$2
# The words of pkg-config's answer are separate arguments.
# shellcheck disable=SC2046
"$1" -std=c++20 $(pkg-config --cflags penstock) "$3" -o "$4" $(pkg-config --libs penstock)
