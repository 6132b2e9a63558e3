/*
 * answer.h - one answer, as it is read from a reply, stored in the journal, and replayed.
 *
 * What is delivered is always decoded from the stored form, whether it was stored a moment or a
 * month ago, so a replayed run and a live one cannot differ.
 */
#ifndef UM_REMOTE_ANSWER_H
#define UM_REMOTE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "mirrorer/responder.h"

#define UM_TOP_BYTES 24
#define UM_TOP_MAX   64

/* A listed token. Longer ones are cut: they are no letters. */
typedef struct um_top {
    char token[UM_TOP_BYTES];
    double logprob;
} um_top;

typedef struct um_answer {
    bool present;
    char *text; /* of a text answer */
    um_finish finish;
    um_top *top; /* [n_top] listed at the first position */
    size_t n_top;
    float *row; /* [dim] of an embedding */
    uint32_t dim;
    uint32_t prompt_tokens, completion_tokens;
} um_answer;

void um_answer_dispose(um_answer *a);

/* One line of JSON:
 *     {"text": "...", "finish": "stop"|"length", "tokens": [prompt, completion],
 *      "top": [["A", -0.5], ...]}        top only where it was asked for
 *     {"row": "<base64 of little-endian float32>", "tokens": [prompt, 0]}
 */
void um_answer_write(um_str *out, const um_answer *a);
um_status um_answer_read(um_answer *out, const char *json, size_t len, um_error *err) UM_CHECKED;

/* What a reply holds. */
typedef struct um_reply {
    um_answer *answers; /* [n], by index; those not present were missing or unusable */
    uint32_t n, n_present;
    bool usage;      /* token counts are the endpoint's */
    char wrong[160]; /* why an answer is not present; "" if all are */
} um_reply;

typedef enum um_ask_kind { UM_ASK_CHAT, UM_ASK_COMPLETION, UM_ASK_EMBEDDING } um_ask_kind;

/*
 * Reads the body of a reply that should hold n answers. UM_ERR_REMOTE when it is no such reply at
 * all. A choice is unusable when its index is missing (and n > 1), out of range or was seen before,
 * its text is null, its finish reason is unknown, or want_top and its log-probabilities are
 * missing. tokens of choices are shares of the whole by bytes.
 */
um_status um_reply_read(um_reply *out, um_ask_kind kind, const char *body, size_t len, uint32_t n,
                        bool want_top, um_error *err) UM_CHECKED;
void um_reply_dispose(um_reply *r);

/* What an error body says: its message in one line, "" when none is found; code as text. */
typedef struct um_complaint {
    char message[320];
    char code[64];
} um_complaint;
void um_complaint_read(um_complaint *out, const char *body, size_t len, const char *key);

#endif
