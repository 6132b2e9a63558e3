#!/bin/sh
# Doing things again, scenes that do not fit, pairs that came from elsewhere.
. "$(dirname "$0")/lib.sh"

small_world world
# What a first run leaves that was killed before its database had any content.
mkdir begun
: >begun/workspace.db
run 1 status -w begun
err_has 'holds no workspace.db'
run 0 ingest "$work/world" -w begun
# shellcheck disable=SC2086
run 0 run "$work/world/" -w ws --out out $small

# --redo of the student's texts keeps the teacher's.
# shellcheck disable=SC2086
run 0 decide --role student -w ws --redo
run 0 status -w ws
out_has 'Teacher writes decision processes *done'
out_has 'Score every decision process *not begun'
run 0 status -w ws --json
out_has '"decisions":192' # 24 scenes, 4 texts of each of the two
# A path with and without its slash is the same log.
run 0 ingest "$work/world" -w ws
err_has 'already done'
# --redo of a log that is not there forgets nothing; without a log the log stays.
run 3 ingest "$work/nothing" -w ws --redo
run 0 status -w ws --json
out_has '"interactions":900'
run 0 run -w ws --out out --redo
run 0 status -w ws --json
out_has '"interactions":900'
out_has '"next":"report"'

# Options given once are remembered; a given student brings the published ones.
run 0 run -w ws --print-config
out_has 'hidden: 32 '
run 0 run -w ws --print-config --set student.path=/x
out_has '  lr: 0.0002 '

# A context too short for some scenes: they are counted, and the run goes on.
# shellcheck disable=SC2086
run 0 run "$work/world" -w short --out out3 --json $small --set student.max_positions=540 \
    --set eval.max_tokens=150 --set decide.samples=8
grep -Eq '"too_long":\{[^}]*"sft":[1-9]' out3/summary.json || die 'no long scene was counted'

# Pairs from elsewhere: the rest of the pipeline works on them; a second import is refused.
run 0 export scenes "$work/scenes.jsonl" -w ws
run 0 export pairs "$work/pairs.jsonl" -w ws
run 0 import scenes "$work/scenes.jsonl" -w other
run 0 import pairs "$work/pairs.jsonl" -w other
run 1 import pairs "$work/pairs.jsonl" -w other
err_has 'already holds pairs'
# shellcheck disable=SC2086
run 0 run -w other --out out5 $small --set base.practice=40
err_has 'Build scenes: imported'
out_has '^sft_dpo '
run 1 distill -w other --redo
err_has "needs predict first"
run 0 import pairs "$work/pairs.jsonl" -w other
echo ok
