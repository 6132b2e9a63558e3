#!/bin/sh
# setup.sh [bench] - names the missing packages and installs them on Debian and Ubuntu; elsewhere lists
# what is missing. With "bench" those for the benchmarks too.
set -eu

# command-or-file : Debian package : what it is for
needs='
cc:gcc:C compiler
c++:g++:C++ compiler, for which the public headers are checked too
/usr/include/stdio.h:libc6-dev:C library headers
make:make:build
cmake:cmake:build
ninja:ninja-build:build
pkg-config:pkg-config:finds the libraries
@jansson:libjansson-dev:JSON
@yaml-0.1:libyaml-dev:configuration files
@libxxhash:libxxhash-dev:content hashes
@sqlite3:libsqlite3-dev:the workspace
@zlib:zlib1g-dev:gzip checksums
@libarchive:libarchive-dev:zip and gz logs
@libcurl:libcurl4-openssl-dev:remote endpoints
@libpcre2-8:libpcre2-dev:tokenizer patterns
@libutf8proc:libutf8proc-dev:Unicode normal forms
@lapacke:liblapacke-dev:small dense factorisations
@openblas:libopenblas-dev:linear algebra
@cmocka:libcmocka-dev:unit tests
/usr/share/javascript/chart.js/chart.min.js:libjs-chart.js:charts of the report
'
[ "${1:-}" != bench ] || needs="$needs
@simdjson:libsimdjson-dev:the floor that reading JSON lines is measured against
"
have_module() {
    command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$1"
}
missing=''
listing=''
oldifs=$IFS
IFS='
'
for row in $needs; do
    what=${row%%:*}
    rest=${row#*:}
    package=${rest%%:*}
    purpose=${rest#*:}
    case $what in
    @*) have_module "${what#@}" && continue ;;
    /*) [ -e "$what" ] && continue ;;
    *) command -v "$what" >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing $package"
    listing="$listing
  $package ($purpose)"
done
IFS=$oldifs
[ -z "$missing" ] && exit 0

echo "Missing packages:$listing" >&2
if ! command -v apt-get >/dev/null 2>&1; then
    echo "This system has no apt-get. Install what is listed (names are Debian's) and run again." >&2
    exit 1
fi
sudo=''
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "Run as root: apt-get install -y$missing" >&2
        exit 1
    fi
    sudo='sudo env DEBIAN_FRONTEND=noninteractive'
fi
echo "Installing them with apt-get ..." >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086  # the list of packages is meant to split
if ! { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt-get failed; the whole output is in $log. Mend it and run again." >&2
    exit 1
fi
rm -f "$log"
