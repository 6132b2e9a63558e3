#!/bin/sh
# Splits by time, several clicks on a list and lists nobody chose from, through the whole pipeline.
. "$(dirname "$0")/lib.sh"

small_world world
# Every seventh list of the log was left without a choice; every ninth has a second click, on its
# first item (or, where that is the one clicked, on its second).
log=$(echo world/*_interaction.jsonl)
awk '{
    if (NR % 7 == 0) {
        list = $0; sub(/.*"impression_list":/, "", list); sub(/].*/, "]", list)
        sub(/"item_id":"[^"]*"/, "\"item_id\":null")
        sub(/"behavior_features":.*/, "\"behavior_features\":{\"impression_list\":" list ",\"item_pos\":-1}}")
    }
    print
    if (NR % 9 == 0 && NR % 7 != 0) {
        split($0, at, /"impression_list":\["/); split(at[2], items, /","/)
        other = match($0, /"item_pos":0/) ? 2 : 1
        sub(/"item_id":"[^"]*"/, "\"item_id\":\"" items[other] "\"")
        sub(/"item_pos":[0-9]*/, "\"item_pos\":" other - 1)
        print
    }
}' "$log" >log.tmp
mv log.tmp "$log"
run 0 ingest world -w plain
run 0 scenes -w plain --json
out_has '"multi_click":1[0-9][0-9],'
err_has 'Build scenes: split by user; left out: .*multi_click'
err_has 'lengths of prompts are checked when decisions are made'
err_has "the log's 1[0-9][0-9] lists nobody chose from are not used; --no-click true makes scenes"
err_has 'fewer scenes than asked for: base [0-9]* of 1200, train '
run 0 scenes -w plain --multi-click each --redo --json
out_has '"multi_click":0,'
grep -q 'left out' stderr && die 'something was left out'

# shellcheck disable=SC2086  # $small is a list of options
run 0 run "$work/world" -w ws --out out $small --set scenes.no_click=true --set scenes.split_by=both \
    --set scenes.time_cut=2019-01-01 --set scenes.train=48
out_has '^split: by user and time, cut 2019-01-01 00:00:00$'
grep -q '"split":{"by":"both","time_cut":"2019-01-01 00:00:00","text":"by user and time' out/summary.json ||
    die 'summary.json lacks the split'
grep -q '"eval_none":[1-9]' out/summary.json || die 'no evaluation scene without a choice'
grep -q '"none of these":' out/summary.json || die 'the choice model lacks the constant'
run 0 scenes audit -w ws
out_has '^0 scenes leak$'
out_has 'split by both'
run 0 scenes show 0 -w ws
out_has 'None of these: leave without choosing anything'
run 3 scenes -w ws --time-cut soon --redo
err_has "scenes.time_cut: found 'soon'"
run 2 scenes -w ws --split-by month
err_has 'user|time|both'

# Out and in again.
run 0 ingest world -w again
run 0 scenes -w again --no-click true --split-by time --eval-time-share 0.3
run 0 export scenes "$work/scenes.jsonl" -w again
grep -q '"item_id":"",' scenes.jsonl || die 'no scene without a choice'
run 0 import scenes "$work/scenes.jsonl" -w copy
run 0 export scenes "$work/scenes2.jsonl" -w copy
same scenes.jsonl scenes2.jsonl
run 0 export log "$work/log1" -w again
run 0 ingest "$work/log1" -w relog
run 0 scenes -w relog --no-click true --split-by time --eval-time-share 0.3 --threads 2
run 0 export scenes "$work/scenes3.jsonl" -w relog
same scenes.jsonl scenes3.jsonl
echo ok
