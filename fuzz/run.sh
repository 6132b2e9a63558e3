#!/bin/sh
# fuzz/run.sh SECONDS [TARGET...]: builds the targets with clang and runs each (all of them by default)
# for so long, from its seeds. What it finds stays in build/fuzz/found.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?seconds for each target}
shift
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -- --quiet
mkdir -p build/fuzz/found
[ $# -gt 0 ] || set -- $(ls fuzz/seeds)
for target in "$@"; do
    mkdir -p "build/fuzz/corpus/$target"
    build/fuzz/fuzz/fuzz_"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -max_len=4096 \
        -print_final_stats=0 -verbosity=0 -artifact_prefix="build/fuzz/found/$target-" \
        "build/fuzz/corpus/$target" "fuzz/seeds/$target" || { echo "fuzz: $target failed" >&2; exit 1; }
    echo "fuzz: $target, ${seconds} s"
done
