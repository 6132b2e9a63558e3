#!/bin/sh
# Three machines decide and score a shard each; their workspaces merge into what one machine makes.
. "$(dirname "$0")/lib.sh"

small_world world
# shellcheck disable=SC2086
run 0 ingest "$work/world" -w one $small
run 0 scenes -w one
run 0 train base -w one
for i in 1 2 3; do
    cp -r one "shard$i"
done
run 0 decide --role teacher -w one
run 0 decide --role student -w one
run 0 predict -w one
for i in 1 2 3; do
    run 0 decide --role teacher -w "shard$i" --shard "$i/3"
    err_has "shard $i/3 is done, 16 scenes are other shards'"
    run 0 decide --role student -w "shard$i" --shard "$i/3"
    run 0 predict -w "shard$i" --shard "$i/3"
done
# A shard alone is not the whole.
run 1 distill -w shard1
err_has 'needs predict first'

rm -rf whole
cp -r shard2 whole
run 0 merge shard1 shard3 -w whole
out_has '^shard1: 64 decision processes and 72 distributions taken over, 0 known'
# Merging again finds nothing new.
run 0 merge shard1 -w whole --json
out_has '"decisions":0,"distributions":0,"known":64'
for role in teacher student; do
    run 0 decide --role $role -w whole
done
run 0 predict -w whole
run 0 distill -w one
run 0 distill -w whole
run 0 export pairs one.jsonl -w one
run 0 export pairs whole.jsonl -w whole
[ -s one.jsonl ] || die 'no pairs to compare'
same one.jsonl whole.jsonl

# What is not a shard of the same work is refused, and nothing of it is taken over.
# shellcheck disable=SC2086
run 0 ingest "$work/world" -w other $small --seed 2
run 0 scenes -w other
run 1 merge other -w whole
err_has 'was made with another scenes'
cp -r shard1 forged
python3 - forged/workspace.db <<'PY' 2>/dev/null && {
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("update decisions set text = text || ' ' where id = (select min(id) from decisions)")
db.commit()
PY
    run 1 merge forged -w whole
    err_has 'has another text than'
}
run 3 decide --role teacher -w shard1 --shard 4/3
err_has "need i/n with 1 <= i <= n"
run 0 decide --role teacher -w shard1 --limit 5
err_has 'the limit is reached, 11 scenes are left'
