#!/bin/sh
# data.sh DIR [ROUNDS] [PYTHON] - the table of reading logs and building scenes: floors, ours, ratios.
#
# Writes logs into DIR on the first call (700 MB; Amazon 2023 and canonical, plain and gzip, by
# gen_log.py), measures bench_data on each (the best of ROUNDS, 9) and then ingest and scenes of
# MovieLens-1M's shape (bench_scenes.py). With PYTHON, an interpreter that has pandas and
# scikit-learn, pandas_scenes.py runs beside it; without, it is left out. Needs a release build with
# -DUM_BENCH=ON in build/release.
set -eu
dir=$1 rounds=${2:-9} python=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

write() { # NAME ARGUMENTS of gen_log.py...
    name=$1
    shift
    [ -d "$dir/$name.gz" ] && return
    python3 "$root/bench/gen_log.py" "$dir/$name" "$@"
    mkdir -p "$dir/$name.gz"
    for file in "$dir/$name"/*; do
        gzip -6 -c "$file" >"$dir/$name.gz/$(basename "$file").gz"
    done
}

write amazon-2023 --form amazon-2023 --rows 400000 --users 60000 --items 20000
write canonical --form canonical --rows 600000 --users 40000 --items 10000
cat "$dir"/*/*.jsonl >/dev/null
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) CPUs"
echo "commit:  $(git -C "$root" rev-parse --short HEAD)"
for log in amazon-2023 amazon-2023.gz canonical canonical.gz; do
    echo
    echo "== $log ($(du -cb "$dir/$log"/* | tail -1 | cut -f1) bytes; load $(cut -d' ' -f1 /proc/loadavg))"
    "$root/build/release/bench/bench_data" "$dir/$log" "$rounds"
done
echo
echo "(load $(cut -d' ' -f1 /proc/loadavg))"
"${python:-python3}" "$root/bench/bench_scenes.py" "$root/build/release/bin/mirrorer" \
    --work "$dir/scenes" --repeats "$rounds" $([ -n "$python" ] || echo --no-pandas)
