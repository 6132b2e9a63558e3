/* Words of all lengths against the definition of byte pair encoding, applied literally. */
#include "base/rng.h"
#include "tok_util.h"

#define LETTERS   10
#define PAIRS     (LETTERS * LETTERS)
#define FOURS     (PAIRS * PAIRS)
#define NONE      UINT32_MAX
#define LONG_TEXT 9000

/* Tokens 0..: the letters, their pairs, the pairs of pairs. Most are the result of a merge, and the
 * ranks are drawn at random, so that a merge may come before those that make its parts. */
typedef struct vocabulary {
    uint32_t of_letters[PAIRS], of_pairs[FOURS]; /* rank, NONE: these two do not merge */
    int32_t made[PAIRS + FOURS];                 /* by rank */
} vocabulary;

static void token_text(char *out, int32_t id)
{
    if (id < LETTERS) {
        out[0] = (char)('a' + id);
        out[1] = '\0';
    } else if (id < LETTERS + PAIRS) {
        token_text(out, (id - LETTERS) / LETTERS);
        token_text(out + 1, (id - LETTERS) % LETTERS);
    } else {
        token_text(out, LETTERS + (id - LETTERS - PAIRS) / PAIRS);
        token_text(out + 2, LETTERS + (id - LETTERS - PAIRS) % PAIRS);
    }
}

static um_tokenizer *make(vocabulary *v)
{
    static uint32_t order[PAIRS + FOURS];
    size_t n = 0;
    um_rng rng;
    um_str json = UM_STR_INIT;
    um_error err;
    um_tokenizer *tok = NULL;
    char text[5];
    for (uint32_t i = 0; i < PAIRS + FOURS; i++) /* pairs that begin with the last letter: none */
        if (i < PAIRS ? i < PAIRS - LETTERS : i % 3 > 0)
            order[n++] = i;
    assert_true(n > 4096 && n < 8192);
    um_rng_init(&rng, 5, UM_RNG_SHUFFLE, 0, 0, 0);
    um_rng_shuffle_u32(&rng, order, n);
    memset(v, 0xff, sizeof *v);
    um_str_append(&json, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                         "\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
                         "\"model\":{\"vocab\":{");
    for (int32_t id = 0; id < LETTERS + PAIRS + FOURS; id++) {
        token_text(text, id);
        um_str_appendf(&json, "%s\"%s\":%d", id > 0 ? "," : "", text, (int)id);
    }
    um_str_append(&json, "},\"merges\":[");
    for (uint32_t rank = 0; rank < n; rank++) {
        bool letters = order[rank] < PAIRS;
        uint32_t k = letters ? order[rank] : order[rank] - PAIRS;
        *(letters ? &v->of_letters[k] : &v->of_pairs[k]) = rank;
        v->made[rank] = (int32_t)(LETTERS + order[rank]);
        token_text(text, v->made[rank]);
        int half = letters ? 1 : 2;
        um_str_appendf(&json, "%s\"%.*s %s\"", rank > 0 ? "," : "", half, text, text + half);
    }
    um_str_append(&json, "]}}");
    assert_ok(load_text(&tok, um_str_text(&json), &err), err);
    um_str_dispose(&json);
    return tok;
}

static uint32_t rank_of(const vocabulary *v, int32_t left, int32_t right)
{
    if (left < LETTERS && right < LETTERS)
        return v->of_letters[left * LETTERS + right];
    left -= LETTERS;
    right -= LETTERS;
    return left >= 0 && right >= 0 && left < PAIRS && right < PAIRS
               ? v->of_pairs[left * PAIRS + right]
               : NONE;
}

/* The lowest rank, leftmost first, until there is none. */
static size_t merge_by_hand(const vocabulary *v, int32_t *ids, size_t n)
{
    for (;;) {
        uint32_t lowest = NONE;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            uint32_t rank = rank_of(v, ids[i], ids[i + 1]);
            at = rank < lowest ? i : at;
            lowest = rank < lowest ? rank : lowest;
        }
        if (lowest == NONE)
            return n;
        ids[at] = v->made[lowest];
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof *ids);
    }
}

/* Lengths around the borders between the ways a word is merged; one letter, three in turn, any. */
static void by_definition(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 2, 3, 31, 32, 33, 34, 65, 1000, 4095, 4097, LONG_TEXT};
    static int32_t ids[LONG_TEXT];
    static char text[LONG_TEXT];
    static vocabulary v;
    um_rng rng;
    um_tokenizer *tok = make(&v);
    um_rng_init(&rng, 6, UM_RNG_SHUFFLE, 0, 0, 0);
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
        for (uint32_t kind = 0; kind < 4; kind++) {
            for (size_t i = 0; i < lengths[k]; i++) {
                ids[i] = kind == 0   ? 0
                         : kind == 1 ? (int32_t)(i % 3)
                         : kind == 2 ? (int32_t)um_rng_below(&rng, LETTERS - 1)
                                     : (int32_t)um_rng_below(&rng, LETTERS);
                text[i] = (char)('a' + ids[i]);
            }
            size_t n = merge_by_hand(&v, ids, lengths[k]);
            assert_encodes(tok, text, lengths[k], false, ids, n);
        }
    }
    um_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_definition)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
