#!/bin/sh
# kill -9 and Ctrl-C at arbitrary moments: a run that was stopped ends byte-identical to one that was
# not, at one thread or two.
. "$(dirname "$0")/lib.sh"

small_world world
small="$small --set dpo.holdout_share=0.2 --set dpo.eval_every=2 --set dpo.keep=best"
# What must be equal: every text, distribution, pair, prediction, the weights, and metrics.jsonl.
fingerprint() {
    (cd "$1/models" && find . -type f ! -path '*checkpoints*' \
        ! -name 'speed.jsonl' ! -name '*tfevents*' | sort | xargs sha256sum) >"$2"
    "$mirrorer" export scenes "$work/f.scenes" -w "$1" 2>/dev/null
    "$mirrorer" export pairs "$work/f.pairs" -w "$1" 2>/dev/null
    sha256sum <"$work/f.scenes" >>"$2"
    sha256sum <"$work/f.pairs" >>"$2"
    "$mirrorer" report -w "$1" --out "$work/f.out" --json 2>/dev/null |
        sed 's/.*"accuracy":/"accuracy":/; s/"curves".*//' >>"$2"
}

# shellcheck disable=SC2086
run 0 run "$work/world" -w straight --out out --threads 1 $small
fingerprint straight straight.print
grep -q sft_dpo straight.print || die 'the fingerprint is empty'

# shellcheck disable=SC2086
run 0 run "$work/world" -w two --out out --threads 2 $small
fingerprint two two.print
same straight.print two.print

seed=${UM_TEST_SEED:-7}
kills=0
for signal in KILL INT; do
    ws=stopped-$signal
    tries=0
    while :; do
        tries=$((tries + 1))
        [ $tries -lt 120 ] || die "still not finished after $tries starts"
        # shellcheck disable=SC2086
        "$mirrorer" run "$work/world" -w $ws --out out --threads 2 $small >stdout 2>stderr </dev/null &
        pid=$!
        seed=$(((seed * 1103515245 + 12345) % 2147483648))
        sleep "$(awk -v s=$seed -v t=$tries 'BEGIN { printf "%.3f", 0.02 + (s % 1000) / 1000 * (0.1 + t * 0.06) }')"
        if kill -$signal $pid 2>/dev/null; then
            kills=$((kills + 1))
        fi
        status=0
        wait $pid || status=$?
        case $status in
        0) break ;;
        130 | 137) ;;
        *) die "exited with $status after a stop" ;;
        esac
    done
    fingerprint $ws stopped.print
    same straight.print stopped.print
done
grep -q 'sft_dpo.log/metrics.jsonl' straight.print || die 'no metrics'
grep -q eval_loss straight/models/sft_dpo.log/metrics.jsonl || die 'no held-out rows'
[ $kills -ge 4 ] || die "only $kills stops hit a running program: the test is too slow to mean anything"
echo "ok: $kills stops"
