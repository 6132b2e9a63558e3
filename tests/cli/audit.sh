#!/bin/sh
# scenes show and scenes audit: what they print, and that a leak planted in the database is found.
. "$(dirname "$0")/lib.sh"

run 0 world "$work/ml" --format ml-1m --users 60 --items 80 --interactions 1500
run 0 ingest "$work/ml" -w ws
run 1 scenes audit -w ws
err_has 'run `mirrorer scenes` first'
run 1 export scenes "$work/none.jsonl" -w ws
err_has 'has no scenes; run `mirrorer scenes` first'
run 3 scenes -w ws --base 0 --train 0 --eval 0
err_has 'ask for some'
run 3 scenes -w ws --weight-random 0 --spectral false --weight-content 0 --social false
err_has 'no exposure source is on'
run 0 scenes -w ws --base 10 --train 40 --eval 20
run 0 scenes audit -w ws
out_has '^Audit of all 70, base 10, train 40, eval 20 scenes; split by user$'
out_has '^0 scenes leak$'
out_has '^  future_item  *0 '
out_has '^  eval_before_cut  *- '
out_has '^Where the true item stood, eval scenes'
out_has '^  all .*random\|^  *random  *popularity'
out_has '^Guessing by popularity'
out_has '^Possible targets that gave no scene: few_candidates'
run 0 scenes audit -w ws --json
cp stdout audit.json
for key in '"leaking_scenes":0' '"check":"future_history","about":"' '"parts":{"all":{"scenes":70,' '"positions":{' \
    '"sources":{"random":{"items":' '"prompt_words":{"n":70,' '"prompt_tokens":null' '"popularity":{"scenes":70,' \
    '"dropped":{"few_candidates":' '"times":{"unit":"'; do
    out_has "$key"
done
run 0 scenes audit -w ws --split eval
out_has '^Audit of eval 20 scenes'
run 3 scenes audit -w ws --split evaluation
err_has 'base, train or eval'
run 2 scenes audit 5 -w ws
run 2 scenes adit -w ws
err_has 'show or audit'

# One scene.
run 0 scenes show 3 -w ws
out_has '^Scene 3 of 70, split base, data set ml-1m$'
out_has '^True action: \[[A-L]\]$'
out_has '^  > \[[A-L]\] [0-9]* *target'
out_has '^# User Profile'
out_has '^\[A\] '
grep -q 'You are' stdout && die 'the system message is shown unasked'
run 0 scenes show 3 --prompt -w ws
out_has '^---- system$'
out_has 'no student yet'
run 0 scenes show 3 -w ws --json
for key in '{"scene":3,"scenes":70,"split":"base","dataset":"ml-1m","user_id":"' '"sources":\[' '"truth":null' \
    '"history":\[{"item_id":"' '"text":{"profile":"' '"prompt":{"system":"'; do
    out_has "$key"
done
grep -q '"chat"' stdout && die 'a chat nobody asked for'
run 1 scenes show 70 -w ws
err_has 'scene 70 does not exist; the workspace has scenes 0 to 69'
run 2 scenes show -w ws
err_has 'needs the ID'
run 2 scenes show first -w ws
err_has 'need a whole number'

# Imported scenes have no log: what can be checked without one is.
run 0 export scenes "$work/scenes.jsonl" -w ws
run 0 import scenes "$work/scenes.jsonl" -w imported
run 0 scenes audit -w imported
out_has '^0 scenes leak (scenes without a log'
out_has '^  future_history  *- '
out_has '^  item_twice  *0 '
grep -q 'Guessing by popularity' stdout && die 'popularity without a log'
run 0 scenes show 3 -w imported
out_has 'imported: its history is known as text only'
run 0 scenes show 3 -w imported --json
out_has '"order_id":null,'
out_has '"unknown"'

# With a student there is a tokenizer: the chat as it is written, and its tokens.
# shellcheck disable=SC2086  # $small is a list of options
run 0 train base -w ws $small --set scenes.base=10 --set scenes.train=40 --set scenes.eval=20 --set base.practice=10
run 0 scenes show 3 --prompt -w ws
out_has '^---- prompt, [0-9]* tokens$'
out_has '<|im_start|>system'
run 0 scenes audit -w ws --json
out_has '"prompt_tokens":{"n":70,'

# Planted leaks: the database is changed behind the program's back.
if command -v sqlite3 >/dev/null 2>&1; then
    sql() { sqlite3 "$1/workspace.db" "$2"; }
elif python3 -c 'import sqlite3' 2>/dev/null; then
    sql() { python3 -c 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()' \
        "$1/workspace.db" "$2"; }
else
    echo 'SKIPPED: planted leaks (no sqlite3)'
    exit 0
fi
plant() { # CHECK SQL
    rm -rf spoilt
    cp -r ws spoilt
    sql spoilt "$2"
    run 1 scenes audit -w spoilt
    err_has "the audit found leaks: .*$1 (1)"
    out_has "^  $1  *1 "
    out_has '^1 scenes leak$'
    run 1 scenes audit -w spoilt --json
    out_has '"leaking_scenes":1,'
}
plant not_in_log 'UPDATE scenes SET timestamp = timestamp + 1 WHERE id = 45'
out_has '"scene":45,"what":"its time is '
plant future_history 'UPDATE scenes SET timestamp = 1 WHERE id = 12'
plant item_twice "UPDATE scenes SET impression_list = json_set(impression_list, '\$[' || ((item_pos + 1) % choice_cnt) || ']',
    json_extract(impression_list, '\$[' || ((item_pos + 2) % choice_cnt) || ']')) WHERE id = (SELECT min(id) FROM scenes WHERE choice_cnt > 2)"
plant user_overlap "UPDATE scenes SET split = 'eval' WHERE id = (SELECT min(s.id) FROM scenes s WHERE s.split = 'base'
    AND EXISTS (SELECT 1 FROM scenes t WHERE t.user = s.user AND t.id <> s.id))"
plant target_in_profile "UPDATE scenes SET text = json_set(text, '\$.profile', 'Loves ' || json_extract(text, '\$.action_list[' || item_pos || ']'))
    WHERE id = 60"

# What was not touched is as before.
run 0 scenes audit -w ws
echo ok
