#!/bin/sh
# Everything `make check` runs: the dev build (warnings are errors) with all tests, then the same
# tests under AddressSanitizer and UndefinedBehaviorSanitizer, then, where clang is there, a moment of
# each fuzz target.
set -eu
cd "$(dirname "$0")/.."
jobs=$(nproc)
for preset in dev asan; do
    echo "== $preset: configure, build, test"
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset" -j "$jobs"
    ctest --preset "$preset"
done
if command -v clang >/dev/null 2>&1; then
    echo "== fuzz: each target a second"
    fuzz/run.sh 1
fi
