#!/bin/sh
# Library objects never print, exit or abort: only the program does.
set -eu
build=$1
status=0
found=0
for lib in "$build"/src/*/libum_*.a; do
    case $lib in */libum_cli.a) continue ;; esac
    found=$((found + 1))
    # __assert_fail and friends count as abort.
    bad=$(nm -A --undefined-only "$lib" 2>/dev/null |
        grep -E ' U (exit|_exit|abort|printf|puts|putchar|perror|__printf_chk|__assert_fail)$' || true)
    [ -z "$bad" ] || { echo "$bad"; status=1; }
done
[ $found -ge 10 ] || { echo "only $found libraries in $build: the check itself is broken"; exit 1; }
exit $status
