#!/bin/sh
# The worked example of docs/MAPPING.md, run as it stands there: its files are written, its commands
# run, and what they print must be what is printed there.
. "$(dirname "$0")/lib.sh"

# A line `name`: begins a file, "    $ ..." is a command, other indented lines are what it holds or
# prints. Files become "name" with their text, commands cmd.1, cmd.2, ... with out.1, out.2, ...
mkdir example
awk -v dir="$work/example" '
    /^## / { inside = $2 == "Example" }
    !inside { next }
    /^`[^`]+`:$/ { file = substr($0, 2, length($0) - 3); name = dir "/" file; fresh = 1; next }
    /^    \$ / {
        n++
        print substr($0, 7) > (dir "/cmd." n)
        name = dir "/out." n
        printf "" > name
        blank = 0
        next
    }
    /^    / {
        if (fresh) { parent = name; if (sub(/\/[^\/]*$/, "", parent)) system("mkdir -p " parent) }
        if (name == "") next
        if (blank && !fresh) print "" > name
        fresh = blank = 0
        print substr($0, 5) > name
        next
    }
    /^$/ { blank = 1; next }
    { name = "" }
' "$root/docs/MAPPING.md"
cd example
for file in shop.yaml shop/impressions.csv shop/products.csv cmd.6; do
    [ -s $file ] || die "docs/MAPPING.md: no $file in the example"
done
mirrorer() { "$mirrorer" "$@"; }
i=1
while [ -e cmd.$i ]; do
    (eval "$(cat cmd.$i)") >raw.$i 2>&1 </dev/null || true
    sed 's/ in [0-9.]* s$/ in 0.0 s/' raw.$i >got.$i
    cmp -s out.$i got.$i || {
        diff out.$i got.$i >&2 || true
        die "docs/MAPPING.md: $(cat cmd.$i): prints something else"
    }
    i=$((i + 1))
done
[ $i -gt 6 ] || die "only $((i - 1)) commands found"
echo ok
