#!/bin/sh
# Builds the kernels for 64-bit ARM on another machine and runs their tests in an emulator.
#     tools/arm64.sh [test ...]     such as: tools/arm64.sh nn_packed; none: all nn_* tests
# Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user; fetches cmocka for arm64 by apt-get
# (dpkg --add-architecture arm64; apt-get update) into build/arm64, and installs nothing.
set -eu
cd "$(dirname "$0")/.."
out=build/arm64
root=$out/root
libs=$root/usr/lib/aarch64-linux-gnu
mkdir -p $out
if [ ! -e $libs/libcmocka.so ]; then
    (cd $out && apt-get -qq download libcmocka0:arm64 libcmocka-dev:arm64)
    for package in "$out"/libcmocka*_arm64.deb; do
        dpkg -x "$package" $root
    done
fi

compile()
{
    aarch64-linux-gnu-gcc -std=gnu17 -O2 -g -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion \
        -Werror -ffp-contract=off -D_GNU_SOURCE -DUM_NN_ARM -DUM_SOURCE_DIR="\"$PWD\"" \
        -Iinclude -Isrc -I$root/usr/include "$@"
}

# What src/base has that kernels use; the rest of it wants libraries.
objects=
for source in src/base/error.c src/base/dtype.c src/base/mem.c src/base/pool.c src/base/rng.c \
    src/nn/*.c src/nn/cpu/bf16.c src/nn/cpu/kv.c src/nn/cpu/memory.c src/nn/cpu/ref*.c \
    src/nn/cpu/neon*.c; do
    object=$out/$(basename "$source" .c).o
    case $source in
    */neon_dot.c) flags=-march=armv8.2-a+dotprod ;;
    *) flags= ;;
    esac
    compile ${flags:+"$flags"} -c "$source" -o "$object"
    objects="$objects $object"
done

run()
{
    # shellcheck disable=SC2086 # objects: a list
    compile "tests/unit/test_$1.c" $objects -L$libs -lcmocka -lm -lpthread -o "$out/test_$1"
    qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=$libs "$out/test_$1"
}

if [ $# -eq 0 ]; then
    for source in tests/unit/test_nn_*.c; do
        name=$(basename "$source" .c)
        run "${name#test_}"
    done
fi
for test; do
    run "$test"
done
