# lib.sh - sourced by the CLI tests: a temporary folder, and checks that say what differs.
set -eu
mirrorer=$1
root=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
unset MIRRORER_WORKSPACE || true

die() {
    echo "FAIL: $*" >&2
    [ ! -s "$work/stdout" ] || { echo "-- stdout"; tail -n 20 "$work/stdout"; } >&2
    [ ! -s "$work/stderr" ] || { echo "-- stderr"; tail -n 20 "$work/stderr"; } >&2
    exit 1
}

# run STATUS ARGS...: runs mirrorer, keeps its output, checks the exit status.
run() {
    want=$1
    shift
    got=0
    "$mirrorer" "$@" >"$work/stdout" 2>"$work/stderr" </dev/null || got=$?
    [ "$got" = "$want" ] || die "mirrorer $* exited with $got, expected $want"
}

out_has() { grep -q -e "$1" "$work/stdout" || die "stdout lacks: $1"; }
err_has() { grep -q -e "$1" "$work/stderr" || die "stderr lacks: $1"; }
out_is() { printf '%s\n' "$1" | cmp -s - "$work/stdout" || die "stdout is not: $1"; }
same() { cmp -s "$1" "$2" || { diff "$1" "$2" | cut -c1-400 >&2; die "$1 and $2 differ"; }; }

# A world and options small enough for every test.
small_world() {
    run 0 world "$1" --users 60 --items 60 --interactions 900
}
small="--set scenes.base=24 --set scenes.train=24 --set scenes.eval=12 --set student.vocab=420
 --set student.hidden=32 --set student.layers=2 --set student.heads=2 --set student.kv_heads=1
 --set student.ffn=64 --set base.practice=60 --set base.epochs=1 --set base.checkpoint_every=2 --set sft.epochs=2
 --set sft.checkpoint_every=1 --set dpo.checkpoint_every=1 --set direct.checkpoint_every=1
 --set sft.batch_rows=4 --set dpo.batch_rows=4 --set direct.batch_rows=4 --set base.batch_rows=4
 --set decide.samples=4 --set decide.max_tokens=60 --set eval.repeats=2 --set eval.max_tokens=60
 --set eval.resamples=200"
