#!/bin/sh
# Runs the benchmarks of a release build and prints one report: machine first, then figures.
set -eu
cd "$(dirname "$0")/.."
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) CPUs, $(uname -m)"
echo "commit:  $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo
echo "== numeric kernels (bench/bench_nn.c)"
build/release/bench/bench_nn
