/*
 * replay.c - the targets without libFuzzer: every seed as it is, and changed in ways that the seed
 * of a random generator repeats. Finds what is shallow, with any compiler, in every test run.
 *
 *     fuzz_replay SEEDS ROUNDS       all targets: SEEDS/<target>/<file>
 *     fuzz_replay FILE TARGET        one input, as it is
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "targets.h"

#define MAX_BYTES  ((size_t)1 << 20)
#define ROOM_BYTES 256 /* that changes may add to a seed */

/* The input in hand; where it brings the program down, it is left in fuzz_replay.input. */
static const char *input;
static size_t input_len;

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void keep_input(void)
{
    int fd = open("fuzz_replay.input", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && write(fd, input, input_len) == (ssize_t)input_len)
        close(fd);
}

static void on_abort(int signal_number)
{
    (void)signal_number;
    keep_input();
}

static void run(const fuzz_target *target, const char *text, size_t len)
{
    input = text;
    input_len = len;
    target->run((const uint8_t *)text, len);
}

/* A part of the text moves, doubles, goes, or has a byte changed. */
static size_t change(um_rng *rng, char *text, size_t n, size_t room)
{
    static const char likely[] = "\0\n\r\t\"'\\,:;{}[]|%-.09eNnu \x80\xFF\xED\xEF\xBB";
    size_t at = n > 0 ? um_rng_below(rng, (uint32_t)n) : 0;
    size_t len = n > at ? 1 + um_rng_below(rng, (uint32_t)(n - at < 16 ? n - at : 16)) : 0;
    switch (um_rng_below(rng, 5)) {
    case 0:
        if (n > 0)
            text[at] = (char)um_rng_below(rng, 256);
        return n;
    case 1:
        if (n > 0)
            text[at] = likely[um_rng_below(rng, sizeof likely - 1)];
        return n;
    case 2:
        memmove(text + at, text + at + len, n - at - len);
        return n - len;
    case 3:
        if (n + len > room)
            return n;
        memmove(text + at + len, text + at, n - at);
        return n + len;
    default:
        return at;
    }
}

static void run_seed(const fuzz_target *target, const char *seed, size_t n, long rounds,
                     const char *name)
{
    char *text = malloc(n + ROOM_BYTES);
    um_rng rng;
    if (text == NULL)
        abort();
    um_rng_init(&rng, 1, UM_RNG_TEST, (uint64_t)n, 0, 0);
    for (long round = 0; round <= rounds; round++) {
        size_t len = n;
        memcpy(text, seed, n);
        for (uint32_t i = round == 0 ? 0 : 1 + um_rng_below(&rng, 4); i > 0; i--)
            len = change(&rng, text, len, n + ROOM_BYTES);
        run(target, text, len);
    }
    free(text);
    printf("%s %s: %ld inputs\n", target->name, name, rounds + 1);
}

static int run_folder(const char *root, const fuzz_target *target, long rounds)
{
    char **names = NULL, *folder = NULL, *path = NULL, *bytes = NULL;
    size_t n = 0, len = 0;
    um_error err;
    if (um_path_join(&folder, root, target->name, &err) != UM_OK ||
        um_path_list(&names, &n, folder, &err) != UM_OK || n == 0) {
        fprintf(stderr, "%s has no seeds\n", target->name);
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (um_path_join(&path, folder, names[i], &err) != UM_OK ||
            um_file_read(&bytes, &len, path, MAX_BYTES, &err) != UM_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        run_seed(target, bytes, len, rounds, names[i]);
        free(bytes);
        free(path);
        free(names[i]);
    }
    free(names);
    free(folder);
    return 0;
}

int main(int argc, char **argv)
{
    char *bytes = NULL;
    size_t n = 0;
    int rc = 0;
    um_error err;
    const fuzz_target *target = argc == 3 ? fuzz_find(argv[2]) : NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: fuzz_replay SEEDS ROUNDS | fuzz_replay FILE TARGET\n");
        return 2;
    }
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(keep_input);
    if (target != NULL) {
        if (um_file_read(&bytes, &n, argv[1], MAX_BYTES, &err) != UM_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        run(target, bytes, n);
        free(bytes);
        return 0;
    }
    for (target = fuzz_targets; target->name != NULL && rc == 0; target++)
        rc = run_folder(argv[1], target, strtol(argv[2], NULL, 10));
    return rc;
}
