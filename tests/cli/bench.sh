#!/bin/sh
# mirrorer bench: the whole job on a small shape, and what it refuses.
. "$(dirname "$0")/lib.sh"

small="--shape llama-135m --prompts 2 --prompt-tokens 90 --shared 70 --samples 3 --max-tokens 4"
for weights in int8 bf16; do
    run 0 bench score $small --weights $weights --json -q
    out_has '"prompts":2,"prompt_tokens":90,"samples":3,"new_tokens":4'
    # The page that both begin with is computed once, and every sample is written.
    out_has '"computed_prompt_tokens":1[01][0-9],"reused_prompt_tokens":6[0-9],'
    out_has '"generated_tokens":24,'
done
run 0 bench prefill --shape llama-135m --prompts 1 --prompt-tokens 20 --shared 0 -q
out_has '^prefill '
out_has '^passes  *1 of 20.0 rows on average; '
run 2 bench
run 2 bench all
err_has "found 'all', need generate, prefill or score"
run 2 bench score --shape llama-3.2-2b
err_has "did you mean 'llama-3.2-"
run 2 bench score --weights int4
err_has 'need int8, bf16 or f16'
run 4 bench score --shape llama-135m --weights f32
run 3 bench score --shape llama-135m --prompt-tokens 10 --shared 8
echo ok
