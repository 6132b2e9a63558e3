#!/bin/sh
# data.sh DIR [ROUNDS] [PYTHON] - the table of reading logs and building scenes: floors, ours, ratios.
#
# Writes logs into DIR on the first call (1 GB, by gen_log.py, plain and gzip), measures bench_data
# on each (the best of ROUNDS, 9), on the canonical ones by a mapping too, and then ingest and scenes
# of MovieLens-1M's shape (bench_scenes.py). With PYTHON, an interpreter that has pandas and
# scikit-learn, pandas_scenes.py runs beside it; without, it is left out. Needs a release build with
# -DUM_BENCH=ON in build/release.
set -eu
dir=$1 rounds=${2:-9} python=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

write() { # FORM ARGUMENTS of gen_log.py...
    form=$1
    shift
    [ -d "$dir/$form.gz" ] && return
    python3 "$root/bench/gen_log.py" "$dir/$form" --form "$form" "$@"
    mkdir -p "$dir/$form.gz"
    for file in "$dir/$form"/*; do
        gzip -6 -c "$file" >"$dir/$form.gz/$(basename "$file").gz"
    done
}

map() { # FORM, what the mapping says of a row besides user, item and time
    cat >"$dir/$1.yaml" <<END
log:
  file: big_interaction.jsonl
  user: user_id
  item: item_id
  time: timestamp
  numbers: {rating: behavior_features.rating}
$2
users: {file: big_user_feature.jsonl, id: user_id}
items:
  file: big_item_feature.jsonl
  id: item_id
  descriptions: {title: item_description.title}
END
}

measure() { # NAME [MAPPING | python]
    echo
    echo "== $1 ${2:+($(basename "$2")) }($(du -cb "$dir/$1"/* | tail -1 | cut -f1) bytes; load $(cut -d' ' -f1 /proc/loadavg))"
    "$root/build/release/bench/bench_data" "$dir/$1" "$rounds" ${2:+"$2"}
}

write amazon-2023 --rows 200000 --users 60000 --items 20000
write goodreads --rows 250000 --users 60000 --items 20000
write steam --rows 250000 --users 60000 --items 10000
write canonical --rows 350000 --users 40000 --items 10000
write ratings --rows 1000000 --users 40000 --items 10000
write lists --rows 400000 --users 40000 --items 10000
map canonical "  texts: {review: behavior_features.review}"
map ratings ""
map lists "  impressions: {list: behavior_features.impression_list, position: behavior_features.item_pos}"
cat "$dir"/*/*.json* >/dev/null
echo "machine: $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) CPUs"
echo "commit:  $(git -C "$root" rev-parse --short HEAD)"
for packed in "" .gz; do
    for form in amazon-2023 goodreads canonical ratings lists; do
        measure "$form$packed"
    done
    measure "steam$packed" python
    for form in canonical ratings lists; do
        measure "$form$packed" "$dir/$form.yaml"
    done
done
echo
echo "(load $(cut -d' ' -f1 /proc/loadavg))"
"${python:-python3}" "$root/bench/bench_scenes.py" "$root/build/release/bin/mirrorer" \
    --work "$dir/scenes" --repeats "$rounds" $([ -n "$python" ] || echo --no-pandas)
