#!/bin/sh
# Logs of six publishers, made at random, against what a few lines of Python make of them.
. "$(dirname "$0")/lib.sh"
if ! command -v python3 >/dev/null 2>&1; then
    echo 'SKIPPED: needs python3'
    exit 77
fi
python3 "$root/tests/cli/adapters.py" "$mirrorer" || die 'an adapter reads something else'
echo ok
