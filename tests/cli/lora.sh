#!/bin/sh
# Trainings of an adapter: what they write, what merge makes of it, and a stop in between.
. "$(dirname "$0")/lib.sh"

lora="--set sft.lora_rank=4 --set sft.lora_targets=q,v,down --set sft.lr=1e-2
 --set dpo.lora_rank=2 --set dpo.lr=1e-2 --set dpo.precision=bfloat16
 --set direct.lora_rank=2 --set direct.precision=bfloat16"
small_world world
# shellcheck disable=SC2086
run 0 run "$work/world" -w ws --out out --threads 1 $small $lora
for name in sft sft_dpo direct_sft; do
    [ -f ws/models/$name/adapter/adapter_model.safetensors ] || die "no adapter of $name"
done
[ ! -e ws/models/base/adapter ] || die 'the base has an adapter'
grep -q '"base_model_name_or_path":"../../sft"' ws/models/sft_dpo/adapter/adapter_config.json ||
    die 'the adapter does not name its base'

# The saved models are their bases with the adapters merged in.
run 0 model merge ws/models/base ws/models/sft/adapter merged
cmp merged/model.safetensors ws/models/sft/model.safetensors || die 'sft is not base + adapter'
run 0 model merge ws/models/sft ws/models/sft_dpo/adapter merged
cmp merged/model.safetensors ws/models/sft_dpo/model.safetensors || die 'sft_dpo is not sft + adapter'
! cmp -s ws/models/sft/model.safetensors ws/models/base/model.safetensors || die 'nothing was trained'
run 1 model merge ws/models/base ws/models/sft merged
err_has 'adapter_config.json'
run 2 model merge ws/models/base

# Two threads, less memory, and stopped again and again: the same bytes.
tries=0
while [ $tries -lt 12 ]; do
    tries=$((tries + 1))
    # shellcheck disable=SC2086
    "$mirrorer" run "$work/world" -w two --out out --threads 2 --set run.memory_gib=0.5 $small $lora \
        >stdout 2>stderr </dev/null &
    pid=$!
    sleep "$(awk -v t=$tries 'BEGIN { printf "%.2f", 0.1 + t * 0.04 }')"
    kill -INT $pid 2>/dev/null || true
    wait $pid || true
done
# shellcheck disable=SC2086
run 0 run "$work/world" -w two --out out --threads 2 --set run.memory_gib=0.5 $small $lora
for name in sft sft_dpo direct_sft; do
    for file in model.safetensors adapter/adapter_model.safetensors adapter/adapter_config.json; do
        cmp ws/models/$name/$file two/models/$name/$file || die "$name/$file differs"
    done
done

# shellcheck disable=SC2086
run 2 run "$work/world" -w bad --out out $small --set sft.lora_rank=-1
# shellcheck disable=SC2086
run 3 run "$work/world" -w bad --out out $small --set sft.lora_rank=2 --set sft.lora_targets=q,head
err_has "'head'"

if python3 -c 'import torch, peft' 2>/dev/null; then
    python3 "$root/tests/golden/check_adapter.py" ws/models/base ws/models/sft/adapter ws/models/sft ||
        die 'PEFT disagrees'
fi
echo ok
