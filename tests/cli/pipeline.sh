#!/bin/sh
# The whole pipeline on a small world: files, keys, second run, export and import.
. "$(dirname "$0")/lib.sh"

small_world world
# shellcheck disable=SC2086  # $small is a list of options
run 0 run "$work/world" -w ws --out out --json $small
cp stdout first.json
for key in '"seconds":' '"peak_rss_mb":' '"stages":\[' '"scenes":{' '"pairs":' '"accuracy":{"uniform":{"mean":' \
    '"expected_accuracy":' '"log_loss":' '"true_position_histogram":\['; do
    grep -q "$key" out/summary.json || die "summary.json lacks $key"
done
for row in uniform popularity spectral content choice_model true_model weak_direct weak direct_sft sft sft_dpo; do
    grep -q "\"$row\":{\"mean\"" out/summary.json || die "summary.json lacks the row $row"
done
grep -q '<html' out/report.html || die 'report.html is no page'
grep -Eq '(src|href)="https?://' out/report.html && die 'report.html needs the network'

# Again: everything is done.
# shellcheck disable=SC2086
run 0 run "$work/world" -w ws --out out $small
err_has 'already done'
out_has '^sft_dpo '
run 0 report -w ws --out out2
same out/summary.json out2/summary.json
run 0 status -w ws
out_has 'Next: mirrorer report'

# What one workspace exports another imports, and exports again byte for byte.
run 0 export scenes "$work/scenes.jsonl" -w ws
out_is "export scenes: $work/scenes.jsonl"
run 0 export pairs "$work/pairs.jsonl" -w ws
run 0 import scenes "$work/scenes.jsonl" -w copy
run 0 import pairs "$work/pairs.jsonl" -w copy --json
out_is "{\"command\":\"import\",\"what\":\"pairs\",\"path\":\"$work/pairs.jsonl\"}"
run 0 export scenes "$work/scenes2.jsonl" -w copy
run 0 export pairs "$work/pairs2.jsonl" -w copy
same scenes.jsonl scenes2.jsonl
same pairs.jsonl pairs2.jsonl
run 0 export log "$work/log" -w ws
run 0 ingest "$work/log" -w relog
run 0 export log "$work/log2" -w relog
diff -r log log2 >/dev/null || die 'a log does not survive export and ingest'

# The models are folders of Hugging Face layout.
for model in base sft sft_dpo direct_sft; do
    for file in config.json model.safetensors tokenizer.json generation_config.json; do
        [ -s "ws/models/$model/$file" ] || die "$model lacks $file"
    done
    run 0 model info "ws/models/$model"
done
run 0 tokenizer encode ws/models/base 'Thought: <|im_end|>'
ids=$(cat stdout)
# shellcheck disable=SC2086
run 0 tokenizer decode ws/models/base $ids
out_is 'Thought: <|im_end|>'

# transformers, where there is one, loads them and agrees.
if python3 -c 'import transformers, torch' 2>/dev/null; then
    python3 "$root/tests/golden/check_folder.py" "$mirrorer" ws/models/sft_dpo || die 'transformers disagrees'
else
    echo 'SKIPPED: agreement with transformers (python3 has no transformers)'
fi

# Local models can be read with weights of another format, packed once beside the model.
run 2 decide --role student -w ws --redo --set decide.weights=int3
err_has 'decide.weights'
run 0 decide --role student -w ws --redo --set decide.weights=int8
[ -s ws/models/base/mirrorer-int8.packed ] || die 'no packed weights beside the model'
echo ok
