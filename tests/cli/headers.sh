#!/bin/sh
# Every public header compiles alone, as C and as C++.
set -eu
root=$1
cc=${CC:-cc}
for header in "$root"/include/mirrorer/*.h; do
    echo "#include \"mirrorer/$(basename "$header")\"" |
        $cc -std=c17 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -x c -
    if command -v c++ >/dev/null 2>&1; then
        echo "#include \"mirrorer/$(basename "$header")\"" |
            c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"$root/include" -x c++ -
    fi
done
