#!/bin/sh
# Endpoints: decide and predict by requests, by batch files, under faults and kill -9; item vectors.
. "$(dirname "$0")/lib.sh"
server=$3

pids=''
trap 'kill $pids 2>/dev/null; rm -rf "$work"' EXIT
# serve NAME ARGS...: starts a server; its address is in $url.
serve() {
    name=$1
    shift
    rm -f "$name.port"
    "$server" --port 0 --port-file "$name.port" --model teach "$@" >/dev/null &
    last=$!
    pids="$pids $last"
    tries=0
    while [ ! -s "$name.port" ]; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || die 'the server does not start'
        sleep 0.05
    done
    url=http://127.0.0.1:$(cat "$name.port")/v1
}
texts() { "$mirrorer" export scores "$2" -w "$1" 2>/dev/null || true; }
counted() { grep -c "^$1" "$2" || true; }

small_world world
# shellcheck disable=SC2086
run 0 ingest "$work/world" -w start $small --set decide.max_tokens=400
run 0 scenes -w start
run 0 train base -w start

# A well-behaved endpoint.
cp -r start plain
serve good --log good.log
run 0 decide --role teacher -w plain --teacher "$url" --teacher-model teach
err_has 'forecast: 96 answers (0 stored) in 24 requests'
[ "$(counted A good.log)" -ge 24 ] || die 'requests are missing in the server log'
run 0 status -w plain --json
out_has '"decisions":96'
before=$(counted Q good.log)
run 0 decide --role teacher -w plain --teacher "$url" --teacher-model teach
[ "$before" = "$(counted Q good.log)" ] || die 'a finished stage asked again'
run 0 decide --role student -w plain --set student.endpoint="$url" --set student.endpoint_model=teach
cp -r plain undecided
run 0 predict -w plain --set student.endpoint="$url" --set student.endpoint_model=teach --limit 10
out_has '^predict: begun, 10 items'
err_has 'the limit is reached, 14 scenes are left'
run 0 predict -w plain
run 0 status -w plain --json
out_has '"maybe_paid_twice":\[\]' # the student wrote some texts twice; each is asked for once
run 0 distill -w plain
run 0 export pairs plain.pairs -w plain
[ -s plain.pairs ] || die 'no pairs from endpoints'

# Texts that an endpoint will not score: few enough, the scenes are measured by the rest.
cat >unscored <<'RULES'
path=/v1/chat match=History when=0-3 status=400 body="refused by a filter"
path=/v1/completions match=History when=0-3 status=400 body="refused by a filter"
RULES
serve unscored --script unscored
cp -r undecided unscored.ws
run 5 predict -w unscored.ws --set student.endpoint="$url" --set student.endpoint_model=teach \
    --set remote.max_failed=0.01
err_has '4 of 216 texts failed, remote.max_failed is 0.01'
serve unscored --script unscored
run 0 predict -w unscored.ws --set student.endpoint="$url" --set remote.max_failed=0.02 --json
out_has '"failed":4'
run 0 distill -w unscored.ws

# The key is asked for, comes from the environment, and stands in no file and no message.
serve locked --key s3cr3t-k3y
cp -r start locked
run 5 decide --role teacher -w locked --teacher "$url" --teacher-model teach
err_has '401'
TEACHER_KEY=s3cr3t-k3y run 0 decide --role teacher -w locked --teacher "$url" \
    --teacher-model teach --key-env TEACHER_KEY
if grep -rq 's3cr3t-k3y' locked "$work/stderr" "$work/stdout"; then die 'the key was stored'; fi
run 3 decide --role teacher -w locked --redo --teacher "$url" --teacher-model teach \
    --key-env NO_SUCH_KEY
err_has 'NO_SUCH_KEY'

# Faults at random and kill -9 at any moment: the same texts, nothing lost, few answers paid twice.
cat >faults <<'RULES'
path=/v1/chat match=History when=rate:0.04 status=503
path=/v1/chat match=History when=rate:0.07 status=429 header="Retry-After-Ms: 20"
path=/v1/chat match=History when=rate:0.10 close=mid
path=/v1/chat match=History when=rate:0.12 truncate
path=/v1/chat match=History when=rate:0.14 html
RULES
serve bad --script faults --log bad.log --latency 15
cp -r start faulty
kills=0
tries=0
while :; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || die 'never finished'
    "$mirrorer" decide --role teacher -w faulty --teacher "$url" --teacher-model teach \
        --concurrency 4 --choices 1 --set remote.profile=vllm --set remote.backoff_ms=10 \
        >stdout 2>stderr </dev/null &
    pid=$!
    sleep "$(awk -v t=$tries 'BEGIN { printf "%.3f", 0.06 + 0.05 * t }')"
    kill -9 $pid 2>/dev/null && kills=$((kills + 1))
    status=0
    wait $pid || status=$?
    case $status in
    0) break ;;
    137) ;;
    *) die "exited with $status" ;;
    esac
done
[ $kills -ge 2 ] || die "only $kills kills: the run is too short to mean anything"
run 0 decide show 30 -w faulty --json
cp stdout faulty.show
serve calm
cp -r start calm
run 0 decide --role teacher -w calm --teacher "$url" --teacher-model teach --choices 1 \
    --set remote.profile=vllm
run 0 decide show 30 -w calm --json
same stdout faulty.show
run 0 status -w faulty --json
out_has '"decisions":96'
# Whole answers to one and the same body beyond the first: at most 4 a kill, and 4 that a broken
# connection hid.
again=$(awk '$1 == "A" && $4 == 200 { n[$3]++ } END { for (b in n) s += n[b] - 1; print s + 0 }' bad.log)
[ "$again" -le $((4 * kills + 8)) ] || die "$again answers were paid twice after $kills kills"

# What a cut-off run asked for and never stored is told of, listed, and counted once it is asked
# again.
serve slow --latency 2000
cp -r start cut
"$mirrorer" decide --role teacher -w cut --teacher "$url" --teacher-model teach --choices 1 \
    --concurrency 4 --set remote.profile=vllm >/dev/null 2>&1 </dev/null &
pid=$!
sleep 1
kill -9 $pid
wait $pid || true
run 0 status -w cut
out_has 'decide.teacher: 0 answers, 4 asked for and not stored'
run 0 status -w cut --json
out_has '"open":\[{"stage":"decide.teacher","scene":24,"sample":0}'
serve quick
run 0 decide --role teacher -w cut --teacher "$url" --teacher-model teach --choices 1 \
    --concurrency 4 --set remote.profile=vllm
err_has '4 answers were asked for and never stored'
run 0 status -w cut --json
out_has '"maybe_paid_twice":4'
out_has '"maybe_paid_twice":\[{"stage":"decide.teacher","scene":24,"sample":0}'

# An answer that is refused for good: the scene goes on with the others where few may fail, and a
# later run asks for that answer alone.
cat >refusing <<'RULES'
path=/v1/chat match=History when=3 status=400 body="refused by a filter"
RULES
serve refusing --script refusing --log refusing.log
cp -r start refused
run 5 decide --role teacher -w refused --teacher "$url" --teacher-model teach --choices 1 \
    --set remote.profile=vllm --limit 6
err_has '1 of 24 answers failed, remote.max_failed is 0.02'
curl -fsS -X POST "${url%/v1}/fault/reset" >/dev/null 2>&1 || true
run 0 decide --role teacher -w refused --teacher "$url" --teacher-model teach --choices 1 \
    --set remote.profile=vllm --limit 6 --set remote.max_failed=0.05
out_has '^decide.teacher: begun'
run 0 decide --role teacher -w refused --teacher "$url" --teacher-model teach --choices 1 \
    --set remote.profile=vllm
run 0 status -w refused --json
out_has '"decisions":96'
run 0 decide show 24 -w refused --json
cp stdout refused.show
run 0 decide show 24 -w calm --json
same stdout refused.show
[ "$(awk '$1 == "A" && $4 == 200 { n[$3]++ } END { for (b in n) if (n[b] > 1) s++; print s + 0 }' \
    refusing.log)" = 0 ] || die 'an answer was paid twice after a refusal'

# A shard's money and unused answers come along in a merge; --redo does not forget what was spent.
cp -r start whole
cp -r start shard
run 0 decide --role teacher -w shard --teacher "$url" --teacher-model teach --shard 1/2 \
    --completion-price 1000
run 0 merge shard -w whole
run 0 merge shard -w whole
for w in shard whole; do
    run 0 status -w $w --json
    grep -o '"remote".*' stdout >$w.status
done
same shard.status whole.status
run 0 decide --role teacher -w whole --teacher "$url" --teacher-model teach --redo --shard 1/2 \
    --completion-price 1000
run 0 status -w whole --json
grep -o '"cost":[0-9.]*' shard.status stdout | awk -F: '{ c[$1] = $3 }
    END { exit !(c["stdout"] > 1.99 * c["shard.status"] && c["stdout"] < 2.01 * c["shard.status"]) }' ||
    die 'redo forgot what was spent'

# A cap ends the run cleanly; more money goes on.
cp -r start capped
serve paid
run 3 decide --role teacher -w capped --teacher "$url" --teacher-model teach --choices 1 \
    --prompt-price 1000 --completion-price 1000 --max-cost 5 --concurrency 2
err_has 'the spend limit of 5.00 is reached'
run 0 decide --role teacher -w capped --teacher "$url" --teacher-model teach --choices 1 \
    --prompt-price 1000 --completion-price 1000 --max-cost 0
run 0 status -w capped --json
out_has '"decisions":96'

# Log-probabilities missing: no number is made up; frequencies only when allowed.
cp -r plain blind
serve blind --no logprobs
run 0 predict -w plain --json
run 4 predict -w blind --redo --set student.endpoint="$url" --set student.endpoint_model=teach
err_has 'log-probabilities'

# Batch files.
cp -r start batch
# shellcheck disable=SC2089
api="--teacher https://api.example.com/v1 --teacher-model teach --set remote.profile=vllm --choices 1"
# shellcheck disable=SC2086
run 0 decide --role teacher -w batch $api --to-batch requests --set remote.batch_requests=40
out_has '^96 requests for 96 answers in 3 files'
[ "$(cat requests/teacher-0000*.jsonl | wc -l)" = 96 ] || die 'rows are missing'
# shellcheck disable=SC2086
run 1 decide --role teacher -w batch $api --to-batch requests
err_has 'is there already'
if command -v python3 >/dev/null 2>&1; then
    serve batch
    python3 "$root/tests/cli/answer_batch.py" "$url" requests/teacher-0000*.jsonl >answers.jsonl
    # Half of them first, in another order, with a row of somebody else, an error, and a torn line.
    sort -r answers.jsonl | head -n 50 >half.jsonl
    {
        echo '{"custom_id":"not-ours","response":{"status_code":200,"body":{}},"error":null}'
        tail -n 1 answers.jsonl | sed 's/"status_code": *200/"status_code":500/'
        tail -n 2 answers.jsonl | head -n 1 |
            sed 's/"response":.*/"response":null,"error":{"code":"batch_expired","message":"too late"}}/'
        awk 'BEGIN { for (i = 0; i < 1100000; i++) printf "                "; print "" }'
        printf '{"custom_id":'
    } >odd.jsonl
    # shellcheck disable=SC2086
    run 0 decide --role teacher -w batch $api --from-batch half.jsonl odd.jsonl --json
    out_has '"answers":50,"known":0,"failed":2,"foreign":3'
    err_has 'HTTP 500'
    err_has 'no answer: too late'
    err_has 'the line is too long'
    out_has '"missing_scenes":\[2'
    # The same answers again, and an error for one of them: nothing is counted or lost.
    run 0 status -w batch --json
    grep -o '"remote".*"open"' stdout >before.status
    head -n 1 half.jsonl | sed 's/"status_code": *200/"status_code":500/' >late_error.jsonl
    gzip -c half.jsonl >half.jsonl.gz
    # shellcheck disable=SC2086
    run 0 decide --role teacher -w batch $api --from-batch half.jsonl.gz late_error.jsonl --json
    out_has '"answers":0,"known":50,"failed":0,"foreign":0'
    run 0 status -w batch --json
    grep -o '"remote".*"open"' stdout >after.status
    same before.status after.status
    # Answers to another seed's questions are not this run's.
    cp -r start otherseed
    # shellcheck disable=SC2086
    run 0 decide --role teacher -w otherseed $api --from-batch half.jsonl --json \
        --set decide.temperature=0.5
    out_has '"answers":0,"known":0,"failed":0,"foreign":50'
    # shellcheck disable=SC2086
    run 0 decide --role teacher -w batch $api --to-batch rest
    out_has '^46 requests'
    # shellcheck disable=SC2086
    run 0 decide --role teacher -w batch $api --from-batch answers.jsonl --json
    out_has '"missing_requests":0,"missing_answers":0'
    run 0 decide show 30 -w batch --json
    same stdout faulty.show
else
    echo 'SKIPPED: answering batch files needs python3'
fi

# Item vectors from an endpoint, from a model folder, and from a file; kept once made.
serve vectors --log vectors.log
# shellcheck disable=SC2086
run 0 ingest "$work/world" -w embedded $small
run 0 scenes -w embedded --set scenes.use_impressions=false --set scenes.embeddings="$url" \
    --set scenes.embeddings_model=teach
[ "$(counted Q vectors.log)" -ge 1 ] || die 'no embeddings were asked for'
made=$(ls embedded/embeddings-*.safetensors)
before=$(counted Q vectors.log)
head -c 200 "$made" >cut.safetensors
cp "$made" whole.safetensors
run 0 scenes -w embedded --redo
[ "$before" = "$(counted Q vectors.log)" ] || die 'vectors were asked for again'
run 0 export scenes endpoint.jsonl -w embedded
cp cut.safetensors "$made" # a damaged file is made again
run 0 scenes -w embedded --redo
err_has 'it is made again'
same "$made" whole.safetensors
run 0 scenes -w embedded --redo --set scenes.embeddings="$made"
run 0 export scenes file.jsonl -w embedded
same endpoint.jsonl file.jsonl
run 0 scenes -w embedded --redo --set scenes.embeddings="$work/start/models/base"
run 0 export scenes folder.jsonl -w embedded
run 0 scenes -w embedded --redo --set scenes.embeddings=
run 0 export scenes tfidf.jsonl -w embedded
if cmp -s endpoint.jsonl folder.jsonl || cmp -s folder.jsonl tfidf.jsonl; then
    die 'the vectors change nothing'
fi
run 1 scenes -w embedded --redo --set scenes.embeddings="$work/world/none.safetensors"
err_has 'none.safetensors'
