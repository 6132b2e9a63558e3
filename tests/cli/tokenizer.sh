#!/bin/sh
# Rows of JSON through encode and chat, chat forms, and agreement with Hugging Face where it is there.
. "$(dirname "$0")/lib.sh"
golden="$root/tests/golden/tokenizer"

printf '{"text": "a <|im_start|> b"}\n' >rows.jsonl
run 0 tokenizer encode "$golden/bytelevel" --rows rows.jsonl
out_has '"ids":\[.*,1,.*\],"decoded":"a <|im_start|> b"'
run 0 tokenizer encode "$golden/bytelevel" --rows rows.jsonl --plain
grep -q ',1,' stdout && die 'a marker was parsed'
printf '{"text": 5}\n' >rows.jsonl
run 3 tokenizer encode "$golden/bytelevel" --rows rows.jsonl
err_has 'rows.jsonl:1'
run 1 tokenizer encode "$golden/bytelevel" --rows none.jsonl
err_has "cannot open 'none.jsonl'"
run 2 tokenizer decode "$golden/bytelevel" --rows rows.jsonl

printf '{"messages": [{"role": "user", "content": "hi"}], "prefix": "Sure"}\n' >chat.jsonl
run 0 tokenizer chat "$golden/bytelevel" --rows chat.jsonl
out_has '"text":"<|im_start|>user\\nhi<|im_end|>\\n<|im_start|>assistant\\nSure"'
run 0 tokenizer chat "$golden/bytelevel" --rows chat.jsonl --template qwen2.5
out_has 'You are Qwen'
run 0 tokenizer chat "$golden/bytelevel" --rows chat.jsonl --template plain
out_has '"text":"hi\\n\\nSure"'
run 3 tokenizer chat "$golden/bytelevel" --rows chat.jsonl --template llama3.1
err_has '<|start_header_id|>'
run 3 tokenizer chat "$golden/bytelevel" --rows chat.jsonl --template quen2.5
err_has "did you mean 'qwen2.5'"
echo '{{ messages }}' >own.jinja
run 4 tokenizer chat "$golden/bytelevel" --rows chat.jsonl --template own.jinja
err_has 'own.jinja: this chat template is none'
printf '{"messages": 1}\n' >chat.jsonl
run 3 tokenizer chat "$golden/bytelevel" --rows chat.jsonl

# A chosen form is what the saved folder says.
run 0 model init m --tokenizer "$golden/bytelevel" --template qwen2.5 --hidden 32 --layers 1 --heads 2 \
    --kv-heads 1 --ffn 32
grep -q 'You are Qwen' m/tokenizer_config.json || die 'the form was not saved'

if ! python3 -c 'import tokenizers, transformers' 2>/dev/null; then
    echo 'SKIPPED: agreement with Hugging Face (python3 has no tokenizers and transformers)'
    exit 0
fi
check() { python3 "$root/tests/golden/check_tokenizer.py" "$@" >"$work/stdout" 2>&1 || die "check_tokenizer.py $*"; }
for name in bytelevel split spm; do
    check agree "$mirrorer" "$name" "$golden/$name" 500
done
check chat "$mirrorer" m
data=${UM_SHARED_DATA:-$root/../shared/data}
for pair in llama3:tokenizers/llama3 qwen2:tokenizers/qwen2.5 spm:models/tinystories-656k; do
    if [ -d "$data/${pair#*:}" ]; then
        check agree "$mirrorer" "${pair%%:*}" "$data/${pair#*:}" 1500
    else
        echo "SKIPPED: agreement on ${pair#*:} (absent)"
    fi
done
echo ok
