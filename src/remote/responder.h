/* responder.h (internal) - the responder on a client: samples (responder.c), letters (letters.c).
 */
#ifndef UM_REMOTE_RESPONDER_H
#define UM_REMOTE_RESPONDER_H

#include "remote/run.h"

typedef struct um_remote_responder {
    um_responder base; /* first */
    um_remote *remote;
    um_remote_journal journal;
    bool journalled;
    um_remote_letters letters; /* of the distribution being delivered */
} um_remote_responder;

/* The samples of some prompts as a task: what complete() asks. */
typedef struct um_samples {
    um_task task; /* first */
    const um_prompt *prompts;
    size_t n;
    uint32_t first_sample, n_samples;
    const um_sampling *sampling;
    const char *const *stops;
    size_t n_stops;
    um_on_completion on_completion;
    void *context;
    /* Where next() stands. */
    size_t prompt;
    uint32_t sample; /* from first_sample */
    um_remote_key key;
    bool keyed;
    um_str text; /* of the sample being delivered */
} um_samples;

um_status um_samples_init(um_samples *s, um_remote_responder *r, const um_prompt *prompts, size_t n,
                          uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                          const char *const *stops, size_t n_stops, um_error *err) UM_CHECKED;
void um_samples_dispose(um_samples *s);
/* The ask of prompt p for n samples from `sample` on, as this endpoint gets it. */
um_ask um_samples_ask(const um_samples *s, size_t p, uint32_t sample, uint32_t n,
                      const um_endpoint *e);
/* Answers that one request may ask for, at every endpoint. */
uint32_t um_remote_group(const um_remote *remote);
/* UM_ERR_INPUT when a conversation is rendered here and a text of it holds a marker of the
 * template, which could not be told from a real one. */
um_status um_check_rendered(const um_endpoint *e, um_remote_opening how, const um_prompt *prompt,
                            um_error *err) UM_CHECKED;
uint64_t um_prompt_bytes(const um_prompt *prompt);

/*
 * Where an opening that was asked for ends in text: after the opening, or after its last line,
 * leading white space and the length of runs of white space not counted. *missing: neither is
 * there, and the result is text.
 */
const char *um_after_opening(const char *text, const char *opening, bool *missing);

um_status um_remote_score_letters(um_responder *self, const um_letter_query *queries, size_t n,
                                  um_on_letters on_letters, void *context,
                                  const um_monitor *monitor, um_error *err) UM_CHECKED;
/*
 * The distribution of k letters by the listed tokens; false when no letter is listed. out->listed,
 * mass and error are filled. Servers list the likeliest tokens, so what is not listed is no
 * likelier than the last that is.
 */
bool um_letters_from_top(double *p, uint32_t k, const um_top *top, size_t n,
                         um_remote_letters *out);

#endif
