#!/bin/sh
# Measures `mirrorer distill` on synthetic decision processes: bench/distill.sh DIR [SCENES [SAMPLES]]
# DIR needs about 1.4 GB a million decision processes; what is made there is removed again.
set -eu
cd "$(dirname "$0")/.."
dir=$1
scenes=${2:-500000}
samples=${3:-10}
build=${BUILD:-build/release}
trap 'rm -rf "$dir/bench-decisions"' EXIT
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) CPUs, $(uname -m)"
echo "commit:  $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
begun=$(date +%s)
"$build/bench/gen_decisions" "$dir/bench-decisions" "$scenes" "$samples"
echo "made $((scenes * samples * 2)) decision processes in $(($(date +%s) - begun)) s," \
    "$(du -sm "$dir/bench-decisions" | cut -f1) MB"
begun=$(date +%s)
"$build/bin/mirrorer" distill -w "$dir/bench-decisions" --pairs 10000 --json -q
echo "mirrorer distill: $(($(date +%s) - begun)) s, peak memory" \
    "$("$build/bin/mirrorer" status -w "$dir/bench-decisions" --json |
        sed 's/.*"name":"distill"[^}]*"peak_rss_mb":\([0-9]*\).*/\1/') MB"
begun=$(date +%s)
"$build/bin/mirrorer" distill -w "$dir/bench-decisions" --explain $((scenes / 2)) >/dev/null
echo "distill --explain: $(($(date +%s) - begun)) s"
