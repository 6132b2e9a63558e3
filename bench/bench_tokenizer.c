/*
 * bench_tokenizer.c - how fast text becomes token ids.
 *
 *     bench_tokenizer FOLDER < PATHS
 *
 * Standard input names a file a line; a file holds texts, NUL between them. Encodes them one after
 * the other, one thread, best of three; prints a line: seconds, tokens, and a hash of the ids (so
 * that a comparison can see they are the same).
 * bench_tokenizer.py makes the texts and measures Hugging Face tokenizers beside it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "mirrorer/tokenizer.h"

#define ROUNDS         3
#define MAX_FILE_BYTES ((size_t)256 << 20)

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FNV-1a over the ids, four bytes each, little-endian: short to write in any language. */
static uint64_t hash_ids(const um_tokens *ids)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < ids->len; i++)
        for (int b = 0; b < 4; b++)
            h = (h ^ ((uint32_t)ids->ids[i] >> (8 * b) & 0xff)) * 0x100000001b3u;
    return h;
}

static um_status encode_all(const um_tokenizer *tok, const char *text, size_t len, um_tokens *ids,
                            um_error *err)
{
    um_status status = UM_OK;
    for (const char *end = text + len; text < end && status == UM_OK;) {
        size_t n = strnlen(text, (size_t)(end - text));
        status = um_tokenizer_encode(tok, text, n, true, ids, err);
        text += n + 1;
    }
    return status;
}

static um_status measure(const um_tokenizer *tok, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_tokens ids = {0};
    double best = 1e300;
    um_status status = um_file_read(&text, &len, path, MAX_FILE_BYTES, err);
    for (int i = 0; i < ROUNDS && status == UM_OK; i++) {
        ids.len = 0;
        double begun = seconds();
        status = encode_all(tok, text, len, &ids, err);
        double took = seconds() - begun;
        best = took < best ? took : best;
    }
    if (status == UM_OK)
        printf("%.6f %zu %016llx\n", best, ids.len, (unsigned long long)hash_ids(&ids));
    um_tokens_dispose(&ids);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    um_tokenizer *tok = NULL;
    um_error err;
    char path[4096];
    if (argc != 2) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER < PATHS\n");
        return 2;
    }
    um_status status = um_tokenizer_load(&tok, argv[1], &err);
    while (status == UM_OK && fgets(path, sizeof path, stdin) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        status = measure(tok, path, &err);
        fflush(stdout);
    }
    um_tokenizer_free(tok);
    if (status != UM_OK)
        fprintf(stderr, "bench_tokenizer: %s\n", err.text);
    return status == UM_OK ? 0 : 1;
}
