/*
 * tok.h - the inside of a um_tokenizer, shared by the files of this folder.
 *
 * Two spellings of a token exist. Its `text` is how tokenizer.json writes it ("Ġthe", "▁the",
 * "<0x0A>"); its `piece` is the bytes it stands for (" the", "\n"). A token may come from the
 * model's vocabulary, from added_tokens, or from both.
 *
 * Encoding runs, in the order of Hugging Face tokenizers:
 *   added tokens (raw) -> normalizer -> added tokens (normalized) -> split patterns -> BPE per
 * word.
 */
#ifndef UM_TOK_TOK_H
#define UM_TOK_TOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "mirrorer/tokenizer.h"

#define UM_TOK_FILE_MAX_BYTES  ((size_t)64 << 20)
#define UM_TOK_TEXT_MAX_BYTES  ((size_t)65535) /* one token */
#define UM_TOK_INPUT_MAX_BYTES ((size_t)1 << 28)
#define UM_TOK_MAX_TOKENS      ((size_t)1 << 22)
#define UM_TOK_MAX_MERGES      ((size_t)1 << 24)
#define UM_TOK_MAX_STEPS       16

/* Patterns that more than one file needs. */
extern const char um_tok_pattern_gpt2[];
extern const char um_tok_pattern_llama3[];
extern const char um_tok_pattern_qwen2[];

typedef struct um_tok_token {
    const char *text;  /* NULL: slot not filled yet */
    const char *piece; /* both NUL-terminated, in the arena */
    uint32_t text_len, piece_len;
    bool model;      /* in the BPE vocabulary */
    bool added;      /* in added_tokens */
    bool special;    /* added, and left out of decoding on request */
    bool lstrip;     /* added: swallows white space before it */
    bool rstrip;     /* added: swallows white space after it */
    bool normalized; /* added: looked for after the normalizer */
} um_tok_token;

/* Open addressing set of ids, keyed by the text or by the piece of the tokens. */
typedef struct um_tok_index {
    uint32_t *slots; /* id + 1; 0 is free */
    size_t mask;
    bool by_piece;
} um_tok_index;

typedef struct um_tok_pair {
    int32_t left, right;
} um_tok_pair;

/* (left, right) -> rank and merged id. Open addressing; key UINT64_MAX is free. */
typedef struct um_tok_merge_slot {
    uint64_t key;
    uint32_t rank;
    int32_t id;
} um_tok_merge_slot;

typedef enum um_tok_norm_kind {
    UM_TOK_NORM_NFC,
    UM_TOK_NORM_PREPEND,
    UM_TOK_NORM_REPLACE
} um_tok_norm_kind;
typedef struct um_tok_norm {
    um_tok_norm_kind kind;
    const char *from; /* REPLACE: not empty */
    const char *to;   /* PREPEND, REPLACE */
} um_tok_norm;

/* Added tokens looked for in one pass, ordered by first byte, then longest first. */
typedef struct um_tok_matcher {
    struct um_tok_match_entry {
        const char *bytes;
        size_t len;
        int32_t id;
    } * entries;
    size_t n;
    uint32_t first[257]; /* entries of first byte b: [first[b], first[b + 1]) */
} um_tok_matcher;

typedef struct um_tok_regex um_tok_regex; /* pretokenize.c */

struct um_tokenizer {
    um_arena arena;
    um_tok_token *tokens;
    size_t n_tokens;
    size_t longest_text;
    um_tok_index by_text;  /* model tokens */
    um_tok_index by_piece; /* all tokens; an added one wins over a model one */

    um_tok_pair *merges; /* in order of rank */
    size_t n_merges;
    um_tok_merge_slot *merge_slots;
    size_t merge_mask;
    int32_t *merged;      /* [n_merges] what a merge makes, by rank */
    uint64_t *neighbours; /* bit set of symbols that may stand side by side in a token (bpe.c) */
    int32_t byte_id[256]; /* byte-level: the byte's own token; else "<0xXX>"; -1 when absent */
    int32_t unk;          /* -1 when absent */
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;

    um_tok_norm norm[UM_TOK_MAX_STEPS];
    size_t n_norm;
    um_tok_regex *split[UM_TOK_MAX_STEPS];
    size_t n_split;
    um_tok_matcher raw_added, normalized_added;

    bool decode_bytes; /* ByteLevel decoder */
    bool decode_hex;   /* ByteFallback decoder */
    um_tok_norm decode_replace[UM_TOK_MAX_STEPS];
    size_t n_decode_replace;
    char strip[8]; /* one character; "" when the decoder strips nothing */
    int64_t strip_start, strip_stop;

    int32_t bos; /* the post-processor's template opens with it; -1 when none */
    int32_t eos; /* named by tokenizer_config.json; -1 when none */
    um_chat_format chat;
    const char *chat_system; /* UM_CHAT_QWEN2_5: what stands in for a system message; arena */
    const char *chat_date;   /* UM_CHAT_LLAMA3_1; arena or static */
    json_t *frame;           /* tokenizer.json without model.vocab and model.merges */
    json_t *config;          /* tokenizer_config.json as read, or one made for this tokenizer */
    uint64_t hash;
};

/* vocab.c ------------------------------------------------------------------------------------- */

/* The GPT-2 byte alphabet: the code point (< 0x180) that stands for a byte, and back (-1). */
uint32_t um_tok_byte_char(unsigned byte);
int um_tok_char_byte(uint32_t code_point);
/* Appends `bytes` written in that alphabet. */
void um_tok_append_byte_text(um_str *s, const char *bytes, size_t n);
/* Length of the UTF-8 character at p (1..4), its code point in *code_point; 0 when invalid. */
size_t um_tok_utf8_next(const char *p, size_t n, uint32_t *code_point);
bool um_tok_is_space(uint32_t code_point); /* Unicode White_Space */
int32_t um_tok_index_find(const um_tokenizer *tok, const um_tok_index *index, const char *bytes,
                          size_t len);
um_status um_tok_index_new(um_tok_index *index, size_t n, bool by_piece, um_error *err) UM_CHECKED;
void um_tok_index_add(um_tokenizer *tok, um_tok_index *index, int32_t id); /* first one stays */
/* From tokens, merges and steps to the tables encoding needs. `where` opens the messages. */
um_status um_tok_finish(um_tokenizer *tok, const char *where, um_error *err) UM_CHECKED;

/* bpe.c --------------------------------------------------------------------------------------- */

typedef struct um_tok_scratch um_tok_scratch;
um_status um_tok_merges_index(um_tokenizer *tok, const char *where, um_error *err) UM_CHECKED;
um_status um_tok_scratch_new(um_tok_scratch **out, um_error *err) UM_CHECKED;
void um_tok_scratch_free(um_tok_scratch *scratch);
/* Appends the ids of one word (no split pattern applies any more). */
um_status um_tok_encode_word(const um_tokenizer *tok, um_tok_scratch *scratch, const char *word,
                             size_t len, um_tokens *out, um_error *err) UM_CHECKED;

/* pretokenize.c ------------------------------------------------------------------------------- */

um_status um_tok_regex_new(um_tok_regex **out, const char *pattern, const char *where,
                           um_error *err) UM_CHECKED;
void um_tok_regex_free(um_tok_regex *regex);
const char *um_tok_regex_pattern(const um_tok_regex *regex);
/* Calls word(context, bytes, len) for each word of text, in order. Bytes that are not UTF-8 are
 * words of their own, one a run. */
typedef um_status (*um_tok_word_fn)(void *context, const char *word, size_t len, um_error *err);
um_status um_tok_split(um_tok_regex *const *split, size_t n_split, const char *text, size_t len,
                       um_tok_word_fn word, void *context, um_error *err) UM_CHECKED;

/* normalize.c --------------------------------------------------------------------------------- */

/* *out is text itself or borrowed from one of the two buffers. */
um_status um_tok_normalize(const um_tokenizer *tok, const char *text, size_t len, um_str buffers[2],
                           const char **out, size_t *out_len, um_error *err) UM_CHECKED;
/* Appends text with every `from` replaced by `to`. */
void um_tok_append_replaced(um_str *s, const char *text, size_t len, const char *from,
                            const char *to);

/* tokenizer_json.c, pipeline_json.c ----------------------------------------------------------- */

/*
 * Builds from a tokenizer.json document (reference taken). merges: ids by rank, used instead of
 * model.merges when not NULL. config (may be NULL, reference taken): tokenizer_config.json.
 */
um_status um_tok_build(um_tokenizer **out, json_t *document, json_t *config,
                       const um_tok_pair *merges, size_t n_merges, const char *where,
                       um_error *err) UM_CHECKED;
um_status um_tok_read_pipeline(um_tokenizer *tok, const json_t *document, const char *where,
                               um_error *err) UM_CHECKED;
/* The template of post_processor: which token opens a sequence. Needs the tokens. */
um_status um_tok_read_post_processor(um_tokenizer *tok, const json_t *document, const char *where,
                                     um_error *err) UM_CHECKED;
/* UM_ERR_UNSUPPORTED naming the first key of object that is not in the list. */
um_status um_tok_check_keys(const json_t *object, const char *const *allowed, size_t n,
                            const char *where, um_error *err) UM_CHECKED;

/* vocab_files.c, tiktoken.c: what stands in for tokenizer.json -------------------------------- */

um_status um_tok_load_vocab_files(um_tokenizer **out, const char *dir, json_t *config,
                                  um_error *err) UM_CHECKED;
um_status um_tok_load_tiktoken(um_tokenizer **out, const char *path, json_t *config,
                               um_error *err) UM_CHECKED;
/* A byte-level document with an empty vocabulary and no added tokens. */
um_status um_tok_new_document(json_t **out, const char *pattern, bool nfc, bool ignore_merges,
                              um_error *err) UM_CHECKED;
/* Adds to document.added_tokens (flags: only `special` set). */
um_status um_tok_document_add(json_t *document, int64_t id, const char *content, bool special,
                              um_error *err) UM_CHECKED;
/* config.c. tokenizer_config.json of a folder, with chat_template.jinja (where newer repositories
 * keep it) put in; *out is NULL when there is none. */
um_status um_tok_read_config(json_t **out, const char *dir, um_error *err) UM_CHECKED;
/* Fills tok->config where there was no tokenizer_config.json. */
um_status um_tok_default_config(um_tokenizer *tok, um_error *err) UM_CHECKED;
/* chat_form.c. The form that the special tokens of the vocabulary suggest. */
um_chat_format um_tok_chat_by_markers(const um_tokenizer *tok);
/* The Jinja template of a form, with the tokenizer's own date and system text; NULL: it has none.
 */
um_status um_tok_chat_template(char **out, const um_tokenizer *tok, um_chat_format format,
                               um_error *err) UM_CHECKED;
/* Sets tok->chat from tok->config. given: the folder had a tokenizer_config.json. */
um_status um_tok_chat_read(um_tokenizer *tok, bool given, um_error *err) UM_CHECKED;
/* The special tokens of a form; after_* are plain text. */
typedef struct um_tok_markers {
    const char *open, *close_role, *close_turn; /* added tokens; NULL: none at this place */
    const char *after_role, *after_turn;
} um_tok_markers;
const um_tok_markers *um_tok_chat_markers(um_chat_format format); /* NULL: plain or unknown */
/* The id of an added token; -1 when there is none of that name. */
int32_t um_tok_find_added(const um_tokenizer *tok, const char *token);

/* Text of a token-valued key of tokenizer_config.json ("x" or {"content": "x"}), or NULL. */
const char *um_tok_config_token(const json_t *config, const char *key);

#endif
