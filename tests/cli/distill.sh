#!/bin/sh
# Strategies, decide show, distill --explain.
. "$(dirname "$0")/lib.sh"

small_world world
# shellcheck disable=SC2086  # $small is a list of options
run 0 ingest "$work/world" -w ws $small --set decide.samples=16 --set distill.keep_contradicting=false
for stage in scenes 'train base' 'decide --role teacher' 'decide --role student' predict; do
    # shellcheck disable=SC2086
    run 0 $stage -w ws -q
done

# A scene before selection: distributions are there, no place is taken.
run 0 decide show 30 -w ws --role teacher --json
out_has '"split":"train"'
out_has '"entropy":'
out_has '"place":null'
run 0 distill -w ws --explain 30
out_has '^OPEN: '

run 0 decide show 3 -w ws
out_has '^No decision processes: only training scenes get them.$'
run 1 export scores "$work/none.jsonl" -w ws
err_has 'has no scores; run `mirrorer distill` first'
[ ! -e none.jsonl ] || die 'an empty file of scores'

# Every strategy gives what was asked for; the same seed gives the same pairs.
for strategy in gap total-gap data-gap high-accuracy low-accuracy accuracy-difference log-loss ifd random \
    random-direct; do
    run 0 distill -w ws --redo --json -q --strategy $strategy --pairs 3
    out_has '"pairs":3'
    out_has "\"strategy\":\"$strategy\""
    run 0 export pairs "$work/$strategy.jsonl" -w ws
    run 0 distill -w ws --redo --json -q --strategy $strategy --pairs 3
    run 0 export pairs "$work/again.jsonl" -w ws
    same $strategy.jsonl again.jsonl
done
grep -q '"content":"Behavior: \[.\]"' random-direct.jsonl || die 'random-direct has decision processes'
grep -q 'Stimulus' random.jsonl || die 'random has no decision processes'
run 0 distill -w ws --explain 30
out_has '^chosen: the true action; rejected: another one'
run 2 distill -w ws --redo --strategy ifdd
err_has "found 'ifdd'; one of gap"
run 2 distill -w ws --redo --chosen best
err_has "found 'best'; one of lowest-entropy"

# Malformed texts train only when asked: the student of this test writes nothing else.
run 0 distill -w ws --redo --json -q --strategy gap --pairs 900
out_has '"student":{"truncated":3[78][0-9]'
out_has '"teacher":{"contradicting letter":[1-9]'
run 0 export pairs "$work/strict.jsonl" -w ws
run 0 distill -w ws --redo --json -q --strategy gap --pairs 900 --keep-malformed true
run 0 export pairs "$work/loose.jsonl" -w ws
cmp -s strict.jsonl loose.jsonl && die 'malformed texts never train, though asked for'

# With a quota some scenes are dropped, and each says why.
run 0 distill -w ws --redo --json -q --strategy gap --pairs 2 --keep-malformed false
kept=0
scene=24
while [ $scene -lt 48 ]; do
    run 0 distill -w ws --explain $scene
    if grep -q '^KEPT: pair' stdout; then
        kept=$((kept + 1))
        out_has '   chosen$'
        out_has '   rejected$'
        winner=$scene
    else
        out_has '^DROPPED: '
    fi
    scene=$((scene + 1))
done
[ $kept = 2 ] || die "$kept scenes say that they were kept"
run 0 distill -w ws --explain 2
out_has 'not a training scene'
run 0 distill -w ws --explain $winner --json
out_has '"kept":true'
out_has '"rank":'
out_has '"quota":2'
run 0 decide show $winner -w ws
out_has ': chosen'
out_has ' true drawn'
run 0 decide show $winner -w ws --role student
grep -q '^teacher [0-9]' stdout && die 'show --role student shows the teacher'
COLUMNS=120
export COLUMNS
run 0 decide show $winner -w ws --role teacher
out_has '^teacher 0 .*teacher 1 .*teacher 2 '
COLUMNS=60
run 0 decide show $winner -w ws --role teacher
grep -q 'teacher 0 .*teacher 1' stdout && die 'columns on a narrow terminal'

run 1 decide show 900 -w ws
err_has 'no scene 900'
run 1 distill --explain 900 -w ws
err_has 'no scene 900'
run 2 decide show -w ws
err_has 'number of a scene is missing'
run 2 decide show x -w ws
err_has "found 'x'"
run 2 decide tell 3 -w ws
err_has "found 'tell'"
run 2 decide show 3 --role judge -w ws
err_has 'teacher or student'
echo ok
