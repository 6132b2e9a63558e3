/* probe_letters.c - how an endpoint's distribution over letters can be seen. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "remote/probe.h"

#define BEFORE_LETTER "\nBehavior: ["
#define WHOLE_MASS    0.999 /* of the listed letters: nothing else can come */

static const uint32_t tops[] = {20, 5, 1};
static const um_message choose_z[] = {
    {"user", "Answer with one letter in brackets. It must be the letter Z."}};

/* Ids of text on the server; 0 of them when it cannot say. */
static um_status tokenize(um_probe *p, const char *text, int64_t *ids, size_t max, size_t *n,
                          um_error *err)
{
    um_str_clear(&p->request);
    um_str_append(&p->request, "{\"model\":");
    um_str_append_json(&p->request, p->e->model);
    um_str_append(&p->request, ",\"prompt\":");
    um_str_append_json(&p->request, text);
    um_str_append(&p->request, ",\"add_special_tokens\":false}");
    *n = 0;
    um_status status = um_probe_send(p, p->e->tokenize, false, err);
    const json_t *list = json_object_get(p->root, "tokens");
    size_t len = json_array_size(list);
    if (status != UM_OK || p->status != 200 || len == 0 || len > max)
        return status;
    for (size_t i = 0; i < len; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return UM_OK;
        ids[i] = json_integer_value(id);
    }
    *n = len;
    return UM_OK;
}

/* Every letter must be one token of its own after the bracket. */
static um_status find_ids(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    int64_t before[32], with[32];
    size_t n, m;
    um_status status = tokenize(p, BEFORE_LETTER, before, 31, &n, err);
    if (status != UM_OK || n == 0)
        return status;
    for (int i = 0; i < 26; i++) {
        char text[sizeof BEFORE_LETTER + 1];
        snprintf(text, sizeof text, "%s%c", BEFORE_LETTER, 'A' + i);
        status = tokenize(p, text, with, 32, &m, err);
        if (status != UM_OK || m != n + 1 || memcmp(before, with, n * sizeof *before) != 0)
            return status;
        can->ids[i] = (int32_t)with[n];
    }
    can->letter_ids = true;
    return UM_OK;
}

static um_status find_top(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    um_sampling s = {.temperature = 1, .top_p = 1, .max_tokens = 1};
    um_ask ask = {.messages = choose_z,
                  .n_messages = 1,
                  .opening = can->opening != UM_REMOTE_OPENING_ASKED ? &BEFORE_LETTER[1] : NULL,
                  .sampling = &s,
                  .n = 1,
                  .top = true};
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof tops / sizeof tops[0] && status == UM_OK; i++) {
        um_reply reply = {0};
        can->top_logprobs = tops[i];
        status = um_probe_ask(p, can->opening, &ask, err);
        can->top_logprobs = 0;
        if (status != UM_OK || p->status != 200 || p->root == NULL)
            continue;
        um_str_clear(&p->body);
        um_json_dump(&p->body, p->root);
        status = um_str_status(&p->body, err);
        if (status == UM_OK &&
            um_reply_read(&reply, um_wire_kind(can->opening), p->body.data, p->body.len, 1, true,
                          NULL) == UM_OK &&
            reply.n_present == 1)
            can->top_logprobs = (uint32_t)reply.answers[0].n_top;
        um_reply_dispose(&reply);
        break;
    }
    return status;
}

/* Asks for Z where only A and B may come: does the text obey, and do the log-probabilities show it?
 */
static um_status try_constraint(um_probe *p, um_remote_constraint constraint, bool *obeys,
                                bool *shows, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    um_sampling s = {.temperature = 1, .top_p = 1, .max_tokens = 1};
    um_reply reply = {0};
    double mass = 0;
    um_ask ask = {.messages = choose_z,
                  .n_messages = 1,
                  .opening = can->opening != UM_REMOTE_OPENING_ASKED ? &BEFORE_LETTER[1] : NULL,
                  .sampling = &s,
                  .n = 1,
                  .top = can->top_logprobs > 0,
                  .letters = 2,
                  .constraint = constraint};
    *obeys = *shows = false;
    um_status status = um_probe_ask(p, can->opening, &ask, err);
    const char *text = status == UM_OK ? um_probe_text(p, 0) : NULL;
    if (text == NULL)
        return status;
    *obeys = strcmp(text, "A") == 0 || strcmp(text, "B") == 0;
    if (!*obeys || can->top_logprobs == 0)
        return UM_OK;
    um_str_clear(&p->body);
    um_json_dump(&p->body, p->root);
    status = um_str_status(&p->body, err);
    if (status == UM_OK && um_reply_read(&reply, um_wire_kind(can->opening), p->body.data,
                                         p->body.len, 1, true, NULL) == UM_OK) {
        for (size_t i = 0; reply.n_present == 1 && i < reply.answers[0].n_top; i++) {
            const um_top *top = &reply.answers[0].top[i];
            if (strcmp(top->token, "A") == 0 || strcmp(top->token, "B") == 0)
                mass += exp(top->logprob);
        }
    }
    *shows = mass >= WHOLE_MASS;
    um_reply_dispose(&reply);
    return status;
}

um_status um_probe_letters(um_probe *p, um_error *err)
{
    static const um_remote_constraint ways[] = {
        UM_REMOTE_CONSTRAINT_ALLOWED_IDS, UM_REMOTE_CONSTRAINT_BIAS, UM_REMOTE_CONSTRAINT_CHOICE};
    um_remote_abilities *can = &p->e->can;
    um_status status = find_top(p, err);
    if (status != UM_OK || can->opening == UM_REMOTE_OPENING_ASKED)
        return status;
    status = find_ids(p, err);
    for (size_t i = 0; i < 3 && status == UM_OK; i++) {
        bool obeys, shows;
        if (ways[i] != UM_REMOTE_CONSTRAINT_CHOICE && !can->letter_ids)
            continue;
        status = try_constraint(p, ways[i], &obeys, &shows, err);
        if (status == UM_OK && obeys && can->sampling_constraint == UM_REMOTE_CONSTRAINT_NONE)
            can->sampling_constraint = ways[i];
        if (status == UM_OK && shows) {
            can->logprob_constraint = ways[i];
            break;
        }
        if (status == UM_OK && obeys && can->top_logprobs == 0)
            break;
    }
    return status;
}
