#!/bin/sh
# model info: of folders that load and of folders that do not, for people and for programs.
. "$(dirname "$0")/lib.sh"
golden="$root/tests/golden/tokenizer"
run 0 model init m --tokenizer "$golden/bytelevel" --hidden 32 --layers 2 --heads 2 --kv-heads 1 --ffn 64
run 0 model info m
out_has '^m: LlamaForCausalLM (llama), '
out_has 'layers 2, width 32, heads 2 of 16 (1 for keys and values), feed-forward 64'
out_has 'weights: 1 file, F32, '
out_has 'tokenizer: byte-level BPE, [0-9]* tokens; chat form chatml'
out_has 'float32 .*, 0.2 KiB'
out_has 'activations of 2048 tokens'
run 0 model info m --json
out_has '"loads":true,"problems":\['
out_has '"inference":{"float32":{"weights":[0-9]*,"kv_token":256},'
out_has '"training":\[{"lora_rank":0,"tokens":2048,'
out_has '"chat":"chatml"'
float32=$(sed 's/.*"float32":{"weights":\([0-9]*\),.*/\1/' stdout)
parameters=$(sed 's/.*"parameters":\([0-9]*\),.*/\1/' stdout)
once=160 # five norms of 32
[ "$float32" = $((8 * parameters - 4 * once)) ] || die "float32: $float32 of $parameters"
held=$(sed 's/.*"int8":{"weights":\([0-9]*\),"kv_token":128}.*/\1/' stdout)
run 0 model quantize m --weights int8
size=$(wc -c <m/mirrorer-int8.packed)
[ "$held" -lt "$size" ] && [ "$size" -lt $((held + 8192)) ] || die "int8: held $held, file $size"
run 0 model info m --template plain --json
out_has '"chat":"plain"'

cp -r m other
sed 's/"hidden_act": "silu"/"hidden_act": "gelu"/; s/LlamaForCausalLM/OtherForCausalLM/' m/config.json >other/config.json
rm other/tokenizer.json
run 0 model info other
out_has 'cannot be loaded:'
out_has 'OtherForCausalLM of model_type llama; supported are'
out_has 'hidden_act "gelu"'
out_has 'no tokenizer.json'
run 0 model info other --json
out_has '"loads":false'
out_has '"inference":{},'
mkdir empty
run 0 model info empty
out_has 'config.json'
run 1 model info nowhere
err_has 'nowhere: no such folder'
echo ok
