#!/bin/sh
# A model folder writes: prompts, chats, samples, streaming, interruption.
. "$(dirname "$0")/lib.sh"
golden="$root/tests/golden/tokenizer"
run 0 model init m --tokenizer "$golden/bytelevel" --hidden 32 --layers 2 --heads 2 --kv-heads 1 --ffn 64 \
    --max-positions 256
run 0 model init p --tokenizer "$golden/spm" --hidden 32 --layers 1 --heads 2 --kv-heads 1 --ffn 64

# One answer is streamed; it is the text that --json gives, whatever threads there are.
run 0 generate m "The film" --max-tokens 40 --seed 3
err_has '40 tokens in .* tok/s; prompts of'
cp stdout streamed
run 0 generate m "The film" --max-tokens 40 --seed 3 --threads 1
same stdout streamed
run 0 generate m "The film" --max-tokens 40 --seed 3 --json -q
out_has '^{"sample":0,"text":".*","finish":"length","tokens":40}$'
[ ! -s stderr ] || die 'quiet, and yet something on stderr'
run 0 generate m "The film" --max-tokens 40 --seed 4
cmp -s stdout streamed && die 'the seed changes nothing'
printf 'The film' >prompt
"$mirrorer" generate m - --max-tokens 40 --seed 3 -q <prompt >stdout 2>stderr || die 'a prompt from standard input'
same stdout streamed

# Samples come in order; the first is that of a single answer.
run 0 generate m "The film" --max-tokens 40 --seed 3 --samples 3 --json -q
[ "$(grep -c '^{"sample":' stdout)" = 3 ] || die 'not three samples'
sed -n 1p stdout | grep -q '"sample":0' || die 'the first sample is not the first'
run 0 generate m "The film" --max-tokens 5 --samples 2
out_has '^\[2 of 2\]'

# A chat: the form of the folder, another one, a conversation of two turns.
run 0 generate m --system "Be brief." --user "Hi" --opening "Sure" --max-tokens 5 --temperature 0
err_has 'prompts of'
run 0 generate m --user "Hi" --template qwen2.5 --max-tokens 5
run 3 generate m --user "Hi" --template llama3
err_has '<|start_header_id|>'
printf 'one\n\ntwo\n' >turns
"$mirrorer" generate p --max-tokens 4 --json -q <turns >stdout 2>stderr || die 'a conversation'
[ "$(grep -c '^{"sample":0' stdout)" = 2 ] || die 'not two answers'

# The stop string and what follows is not shown.
run 0 generate m "The film" --max-tokens 40 --seed 3 --temperature 0 --json -q
letter=$(sed 's/^{"sample":0,"text":".*\([a-z]\)[^a-z]*","finish.*/\1/' stdout)
run 0 generate m "The film" --max-tokens 40 --seed 3 --temperature 0 -q --stop "$letter"
grep -q "$letter" stdout && die "the stop string '$letter' was written"

# Refusals, and Ctrl-C.
run 3 generate m
err_has 'no turn on standard input'
run 2 generate m hi --user hi
run 2 generate m hi --top-p 7
err_has '--top-p: found .7., need 0 to 1'
run 2 generate m --samples 2
run 2 generate m hi --weights int9
err_has 'need f32, bf16, f16 or int8'
run 3 generate m hi --max-tokens 400
err_has 'the context holds 256'
run 1 generate nowhere hi
got=0
"$mirrorer" generate m hi --samples 4000 --max-tokens 250 >stdout 2>stderr &
pid=$!
sleep 0.7
kill -INT $pid
wait $pid || got=$?
[ "$got" = 130 ] || [ "$got" = 0 ] || die "interrupted with $got"

data=${UM_SHARED_DATA:-$root/../shared/data}/models/tinystories-656k
if [ -d "$data" ]; then
    run 0 generate "$data" "Once upon a time" --temperature 0 --max-tokens 30 -q
    out_has '^, a little girl named Lily lived in a small house with her mom, dad, and her dog, Spot'
    cp -r "$data" trained && chmod -R u+w trained
    for weights in bf16 f16 int8; do
        run 0 generate trained "Once upon a time" --temperature 0 --max-tokens 20 -q --weights $weights
        out_has '^, a little girl named Lily lived in a small house with her mom'
        [ -f trained/mirrorer-$weights.packed ] || die "no packed weights of $weights"
    done
    # A damaged file, and one made from other files, are named and made again.
    printf x | dd of=trained/mirrorer-int8.packed bs=1 seek=600000 conv=notrunc 2>/dev/null
    run 0 generate trained "Once upon a time" --temperature 0 --max-tokens 20 --weights int8
    out_has '^, a little girl named Lily'
    err_has 'fails its checksum; it is made again'
    touch trained/config.json
    run 0 generate trained "Once upon a time" --temperature 0 --max-tokens 20 --weights int8
    err_has 'was made from other files than are there now; it is made again'
    head -c 1000 trained/mirrorer-int8.packed >cut && mv cut trained/mirrorer-int8.packed
    run 0 generate trained "Once upon a time" --temperature 0 --max-tokens 20 --weights int8
    err_has 'it is made again'
    echo "Once upon a time, there was a little girl named Lily. She loved to play outside." >text
    run 0 model quantize trained --weights int8 --measure text --json -q
    out_has '"weights":"int8".*"perplexity":[0-9]*[.][0-9]*,"perplexity_bf16":'
    run 2 model quantize trained --weights f32
else
    echo 'SKIPPED: a trained model (models/tinystories-656k is absent)'
fi
echo ok
