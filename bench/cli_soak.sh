#!/bin/sh
# `mirrorer decide` against an endpoint that fails one request in twenty, killed at random moments:
# every text must come, few may be paid twice, and memory must stay flat.
#
#     bench/cli_soak.sh [SCENES [KILLS]]        after: cmake --build --preset release
#
# The oracle is outside: the server's log of every request and of every answer written whole. At the
# end the texts are compared with those of a run without faults or kills.
set -eu
cd "$(dirname "$0")/.."
build=$(cd "${BUILD:-build/release}" && pwd)
scenes=${1:-10000}
kills=${2:-10}
concurrency=64
samples=10
mirrorer=$build/bin/mirrorer
work=$(mktemp -d)
servers=''
trap 'kill $servers 2>/dev/null; rm -rf "$work"' EXIT
cd "$work"

serve() {
    name=$1
    shift
    "$build/tests/fault/fault_server" --port 0 --port-file "$name.port" --model teach "$@" >/dev/null &
    servers="$servers $!"
    while [ ! -s "$name.port" ]; do sleep 0.05; done
    url=http://127.0.0.1:$(cat "$name.port")/v1
}
# Becomes the program: call it in a subshell.
decide() {
    exec "$mirrorer" decide --role teacher -w "$1" --teacher "$2" --teacher-model teach --choices 1 \
        --concurrency $concurrency --set remote.profile=vllm --set remote.backoff_ms=50 \
        --set remote.deadline_s=5 2>stderr >stdout </dev/null
}
now() { date +%s.%N; }
seconds() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }

"$mirrorer" world world --users $((scenes / 2 + 40)) --items 400 \
    --interactions $((scenes * 10)) >/dev/null 2>&1
"$mirrorer" ingest world -w start --set scenes.base=24 --set scenes.train="$scenes" \
    --set scenes.eval=12 --set decide.samples=$samples >/dev/null 2>&1
"$mirrorer" scenes -w start >/dev/null 2>&1
total=$("$mirrorer" status -w start --json | sed 's/.*"scenes_train":\([0-9]*\).*/\1/')
wanted=$((total * samples))

serve calm
cp -r start calm
begun=$(now)
(decide calm "$url")
echo "calm:    $wanted answers in $(seconds "$begun") s"

# All rules see the same hash of a request's number: each takes what lies above the one before.
cat >script <<'RULES'
path=/v1/chat match=History when=rate:0.010 status=503
path=/v1/chat match=History when=rate:0.018 status=500
path=/v1/chat match=History when=rate:0.026 status=429 header="Retry-After-Ms: 20"
path=/v1/chat match=History when=rate:0.032 close=before
path=/v1/chat match=History when=rate:0.038 close=mid reset
path=/v1/chat match=History when=rate:0.044 truncate
path=/v1/chat match=History when=rate:0.048 html
path=/v1/chat match=History when=rate:0.050 null
RULES
serve bad --script script --log log
cp -r start killed
begun=$(now)
killed=0
awk -v n="$kills" -v seed="${SEED:-7}" 'BEGIN { srand(seed); for (i = 0; i < n; i++) print rand() }' >moments
: >rss
while :; do
    decide killed "$url" &
    pid=$!
    if [ $killed -lt "$kills" ]; then
        killed=$((killed + 1))
        # Within SPAN seconds: the run gets on between kills, and does not get done.
        sleep "$(awk -v i=$killed -v s="${SPAN:-9}" 'NR == i { printf "%.2f", 0.1 + s * $1 }' moments)"
        kill -9 $pid 2>/dev/null || true
        wait $pid 2>/dev/null || true
        "$mirrorer" status -w killed --json | sed 's/.*"open":\[\([^]]*\)\].*/\1/' |
            grep -o '"sample"' | wc -l >>listed
        continue
    fi
    while kill -0 $pid 2>/dev/null; do
        echo "$(seconds "$begun") $(awk '/VmRSS/ { print $2 }' /proc/$pid/status 2>/dev/null)" >>rss
        sleep 1
    done
    if wait $pid; then break; fi
    cat stderr
    exit 1
done
echo "killed:  $killed kills, $wanted answers in $(seconds "$begun") s"
awk 'NF == 2 { v[n++] = $2; if ($2 > most) most = $2 }
    END { printf "memory:  of the last run, after a tenth %.1f MB, half %.1f MB, at its end %.1f MB, " \
          "most %.1f MB\n", v[int(n / 10)] / 1024, v[int(n / 2)] / 1024, v[n - 1] / 1024,
          most / 1024 }' rss
stored=$("$mirrorer" status -w killed --json | sed 's/.*"decisions":\([0-9]*\).*/\1/')
echo "texts:   $stored of $wanted"
awk '$1 == "Q" { q++ } $1 == "A" { a++ } END { printf "server:  %d requests, %d whole answers\n", q, a }' log
again=$(awk '$1 == "A" && $4 == 200 { n[$3]++ } END { for (b in n) s += n[b] - 1; print s + 0 }' log)
most=$(sort -n listed | tail -n 1)
twice=$("$mirrorer" status -w killed --json | sed 's/.*"maybe_paid_twice":\[\([^]]*\)\].*/\1/' |
    grep -o '"sample"' | wc -l)
echo "twice:   $again answers were given twice, bound $((killed * concurrency)); $twice are listed as" \
    "maybe paid twice, $most at most were open after a kill"
text_of() { "$mirrorer" decide show "$1" -w "$2" --json; }
differ=0
i=0
while [ $i -lt 100 ]; do
    scene=$((24 + i * total / 100))
    [ "$(text_of $scene calm)" = "$(text_of $scene killed)" ] || differ=$((differ + 1))
    i=$((i + 1))
done
echo "compare: $differ of 100 scenes differ from the calm run"
[ "$stored" = "$wanted" ] && [ $differ = 0 ] && [ "$most" -le $concurrency ] &&
    [ "$again" -le "$twice" ] && [ "$again" -le $((killed * concurrency)) ]
