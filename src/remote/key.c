/* key.c - what makes two questions the same question. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "remote/client.h"

/* Two hashes of one sequence of texts and numbers. Lengths are hashed, so parts cannot run into
 * each other. */
typedef struct mixer {
    um_remote_key key;
} mixer;

static void mix(mixer *m, const void *bytes, size_t n)
{
    const uint64_t hi[2] = {m->key.hi, um_hash(bytes, n, 1)};
    const uint64_t lo[2] = {m->key.lo, um_hash(bytes, n, 2)};
    m->key.hi = um_hash(hi, sizeof hi, n);
    m->key.lo = um_hash(lo, sizeof lo, n);
}

static void mix_text(mixer *m, const char *text)
{
    mix(m, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static void mix_number(mixer *m, uint64_t value)
{
    mix(m, &value, sizeof value);
}

static void mix_float(mixer *m, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    mix_number(m, bits);
}

um_remote_key um_ask_key(const um_remote *remote, const char *purpose, const um_prompt *prompt,
                         const um_ask *ask)
{
    mixer m = {{0}};
    mix_text(&m, purpose);
    mix_text(&m, remote->identity);
    mix_number(&m, remote->opening == UM_REMOTE_OPENING_ASKED ? 0 : 1);
    mix_number(&m, prompt->key);
    for (size_t i = 0; i < ask->n_messages; i++) {
        mix_text(&m, ask->messages[i].role);
        mix_text(&m, ask->messages[i].content);
    }
    mix_number(&m, ask->n_messages);
    mix_text(&m, ask->opening);
    mix_text(&m, ask->text);
    mix_number(&m, ask->sampling->seed);
    mix_float(&m, ask->sampling->temperature);
    mix_float(&m, ask->sampling->top_p);
    mix_number(&m, (uint64_t)ask->sampling->top_k);
    mix_float(&m, ask->sampling->min_p);
    mix_number(&m, (uint64_t)ask->sampling->max_tokens);
    for (size_t i = 0; i < ask->n_stops; i++)
        mix_text(&m, ask->stops[i]);
    mix_number(&m, ask->n_stops);
    mix_number(&m, ask->letters);
    return m.key;
}

um_remote_key um_text_key(const um_remote *remote, const char *text, uint32_t dims)
{
    mixer m = {{0}};
    mix_text(&m, "embed");
    mix_text(&m, remote->identity);
    mix_number(&m, dims);
    mix_text(&m, text);
    return m.key;
}

uint64_t um_ask_seed(uint64_t seed, uint64_t prompt_key, uint32_t sample)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_REMOTE, prompt_key, sample, 0);
    return um_rng_u32(&rng) >> 1;
}

void um_custom_id_write(char out[UM_REMOTE_CUSTOM_ID_BYTES], um_remote_key key, uint32_t answers)
{
    snprintf(out, UM_REMOTE_CUSTOM_ID_BYTES, "um1-%016" PRIx64 "%016" PRIx64 "-%u", key.hi, key.lo,
             answers);
}

static bool hex_number(const char *text, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    *out = 0;
    for (int i = 0; i < 16; i++) {
        const char *at = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (at == NULL)
            return false;
        *out = *out << 4 | (uint64_t)(at - digits);
    }
    return true;
}

bool um_custom_id_read(const char *text, um_remote_key *key, uint32_t *answers)
{
    static const size_t digits = sizeof "um1-" - 1, end = sizeof "um1-" - 1 + 32;
    int64_t n;
    if (strlen(text) < end + 2 || memcmp(text, "um1-", digits) != 0 ||
        !hex_number(text + digits, &key->hi) || !hex_number(text + digits + 16, &key->lo) ||
        text[end] != '-' || !um_parse_i64(text + end + 1, &n) || n < 1 || n > UM_MAX_GROUP)
        return false;
    *answers = (uint32_t)n;
    return true;
}
