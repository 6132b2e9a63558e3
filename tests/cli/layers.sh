#!/bin/sh
# Every #include of the project follows layers.txt. Prints each edge that does not.
set -eu
root=$1
cd "$root"
{
    grep -v '^#' layers.txt | sed 's/^/L /'
    grep -rn --include='*.c' --include='*.cpp' --include='*.h' '^#include "' src include |
        sed 's/^\([^:]*\):\([0-9]*\):#include "\([^"]*\)".*/I \1 \2 \3/'
} | awk '
    $1 == "L" && $2 ~ /^\[/ {
        layer = substr($2, 2, length($2) - 2)
        for (i = 3; i <= NF; i++) public_of[$i] = layer
        next
    }
    $1 == "L" && NF > 1 {
        layer = substr($2, 1, length($2) - 1)
        known[layer] = 1
        allowed[layer, layer] = 1
        for (i = 3; i <= NF; i++) allowed[layer, $i] = 1
        next
    }
    function layer_of(path, part) {
        split(path, part, "/")
        if (part[1] == "src") return part[2]
        if (part[1] == "include" || part[1] == "mirrorer") return public_of[part[length(part)]]
        return part[1]
    }
    $1 == "I" {
        n = split($4, part, "/")
        to = part[1] == "mirrorer" ? public_of[part[2]] : part[1]
        split($2, file, "/")
        from = file[1] == "src" ? file[2] : public_of[file[3]]
        seen++
        if (from == "" || to == "" || !(to in known) || !((from, to) in allowed)) {
            printf "%s:%s: layer %s may not include %s (%s)\n", $2, $3, from, $4, to
            bad++
        }
    }
    END {
        if (seen < 100) { print "only " seen + 0 " includes found: the check itself is broken"; exit 1 }
        if (bad) exit 1
        print seen " includes follow layers.txt"
    }'
# Third-party headers appear in one folder each.
status=0
only_in() { # header folder...
    header=$1
    shift
    for file in $(grep -rl --include='*.c' --include='*.cpp' --include='*.h' "#include <$header" src include || true); do
        ok=0
        for folder in "$@"; do
            case $file in "$folder"/*) ok=1 ;; esac
        done
        [ $ok = 1 ] || { echo "$file: <$header> belongs to $*"; status=1; }
    done
}
only_in sqlite3.h src/store
only_in archive src/data
only_in pcre2.h src/tok
only_in utf8proc.h src/tok
only_in yaml.h src/base
only_in xxhash.h src/base
only_in immintrin.h src/nn
only_in curl/ src/remote
exit $status
