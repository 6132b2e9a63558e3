#!/bin/sh
# A long run against an endpoint that fails one request in twenty in every way it can: every answer
# must come, none may be paid twice but where the answer was lost, and memory must stay flat.
#
#     bench/remote_soak.sh [REQUESTS [CONCURRENCY]]        after: cmake --build --preset release
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build/release}
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/script" <<'RULES'
path=/v1/chat when=rate:0.01 status=500
path=/v1/chat when=rate:0.006 status=429 header=retry-after-ms:5
path=/v1/chat when=rate:0.016 close=before
path=/v1/chat when=rate:0.02 close=mid reset
path=/v1/chat when=rate:0.024 truncate
path=/v1/chat when=rate:0.028 html
path=/v1/chat when=rate:0.032 null
path=/v1/chat when=rate:0.036 status=503
path=/v1/chat when=rate:0.04 choices=0
path=/v1/chat when=rate:0.042 drip=50
path=/v1/chat when=rate:0.044 silence
path=/v1/chat when=rate:0.046 giant=33554432
path=/v1/chat when=rate:0.05 delay=100
RULES
"$build/tests/fault/fault_server" --port 0 --port-file "$work/port" >/dev/null &
server=$!
while [ ! -s "$work/port" ]; do sleep 0.05; done
url=http://127.0.0.1:$(cat "$work/port")
# Faults begin after the probe.
"$build/bench/bench_remote" "$url/v1" 100 >/dev/null
sed -i 's/^path/match="Question" path/' "$work/script"
curl -fsS --data-binary @"$work/script" "$url/fault/script" >/dev/null
curl -fsS -X POST "$url/fault/reset" >/dev/null
"$build/bench/bench_remote" "$url/v1" "${1:-100000}" "${2:-256}"
printf 'server:  '
curl -fsS "$url/fault/stats"
