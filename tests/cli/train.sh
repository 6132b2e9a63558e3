#!/bin/sh
# Training from the shell: Ctrl-C and what it says, held-out rows, metrics and event files, refusals,
# numbers that are no longer finite.
. "$(dirname "$0")/lib.sh"

small_world world
opts="$small --threads 1 --set base.practice=3000 --set base.checkpoint_every=100000"
prepare() {
    # shellcheck disable=SC2086
    run 0 ingest "$work/world" -w "$1" $opts
    run 0 scenes -w "$1"
}

# Ctrl-C within the training: a checkpoint after that very step, and the way on.
prepare stopped
"$mirrorer" train base -w stopped >stdout 2>stderr </dev/null &
pid=$!
tries=0
until [ -s stopped/models/base.log/speed.jsonl ] && [ "$(wc -l <stopped/models/base.log/speed.jsonl)" -ge 5 ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || die 'the training does not begin'
    sleep 0.05
done
kill -INT $pid
status=0
wait $pid || status=$?
[ $status = 130 ] || die "exited with $status after Ctrl-C"
err_has 'tokens to process, [0-9]* of them trained'
err_has 'run the same command again to go on'
step=$(sed -n 's/.*interrupted after step \([0-9]*\) of [0-9]*; checkpoint: after step \1, in .*base.checkpoints.*/\1/p' stderr)
[ -n "$step" ] || die 'the step is not said'
[ -s "stopped/models/base.checkpoints/step-$(printf %012d "$step").ckpt" ] || die 'the checkpoint is not there'
run 0 train base -w stopped
err_has "training goes on after step $step of"
prepare straight
run 0 train base -w straight
for file in base/model.safetensors base.log/metrics.jsonl; do
    same straight/models/$file stopped/models/$file
done

# Held-out rows.
for stage in 'decide --role teacher' 'decide --role student' predict distill; do
    # shellcheck disable=SC2086
    run 0 $stage -w straight
done
held="--set sft.epochs=12 --set sft.lr=3e-3 --set sft.eval_every=5 --set sft.holdout_share=0.3"
# shellcheck disable=SC2086
run 0 train sft -w straight --json $held --set sft.keep=best
out_has '"rows_held_out":[1-9]'
out_has '"best_step":[1-9]'
out_has '"stopped_early":false'
log=straight/models/sft.log
updates=$(grep -c '"loss"' $log/metrics.jsonl)
[ "$(grep -c '"eval_loss"' $log/metrics.jsonl)" = $(((updates + 4) / 5)) ] || die 'evaluations are missing'
[ "$(wc -l <$log/speed.jsonl)" = "$updates" ] || die 'lines of speed.jsonl are missing'
best=$(sed -n 's/.*"best_step":\([0-9]*\).*/\1/p' $log/metrics.jsonl | tail -n 1)
out_has "\"best_step\":$best"

# Another share, and patience.
run 1 train sft -w straight --set sft.holdout_share=0.1
err_has 'option sft.holdout_share changed'
# shellcheck disable=SC2086
run 0 train sft -w straight --redo --json $held --set sft.lr=3e-2 --set sft.epochs=200 --set sft.patience=2
out_has '"stopped_early":true'
[ "$(wc -l <$log/metrics.jsonl)" -lt 1000 ] || die 'patience did not end the training'
err_has 'has not fallen in 2 evaluations'
run 0 train dpo -w straight --set dpo.holdout_share=0.3 --set dpo.eval_every=2
grep -q '"eval_rewards/accuracies"' straight/models/sft_dpo.log/metrics.jsonl || die 'no held-out accuracy'
if python3 -c '' 2>/dev/null; then
    for name in base sft sft_dpo; do
        python3 "$root/tests/golden/check_events.py" straight/models/$name.log || die "events of $name"
    done
else
    echo 'SKIPPED: event files (no python3)'
fi

run 0 report -w straight --out out --json
out_has '"held_out":{"train.sft":\[{"loss":'
out_has '"train.dpo":\[{"loss":[^]]*"rewards/accuracies":'

# Refusals.
cp -r stopped refused
for stage in 'decide --role teacher' 'decide --role student' predict distill; do
    # shellcheck disable=SC2086
    run 0 $stage -w refused
done
run 3 train sft -w refused --set sft.keep=best
err_has 'sft.holdout_share'
run 3 run "$work/world" -w other --set dpo.patience=2
err_has 'dpo.patience goes by held-out rows, and dpo.holdout_share is 0'
run 2 train sft -w refused --set sft.holdout_share=1
run 2 train sft -w refused --set sft.keep=first

# Numbers that are not finite any more: the last weights of the model become 3.4e38.
model=refused/models/base/model.safetensors
head -c 128 /dev/zero | tr '\0' '\177' |
    dd of=$model bs=1 seek=$(($(wc -c <$model) - 128)) conv=notrunc 2>/dev/null
run 1 train sft -w refused
err_has 'training step 1 of [0-9]*: the loss is -*[a-z]* on rows [0-9]'
err_has 'last good checkpoint: none'
[ ! -e refused/models/sft ] || die 'a model was written'
echo ok
