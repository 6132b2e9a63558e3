/* wire.c - the bodies of requests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/client.h"

#define MAX_STOPS     4 /* what the published API takes; the rest is cut by the reader */
#define LETTER_BIAS   100
#define MAX_TOP_ASKED 20

um_ask_kind um_wire_kind(um_remote_opening how)
{
    return how == UM_REMOTE_OPENING_RENDERED ? UM_ASK_COMPLETION : UM_ASK_CHAT;
}

/* The shortest decimal that reads back as this float. */
static void append_float(um_str *out, float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    um_str_append(out, text);
}

static bool given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* Text pieces as one JSON string. */
static void append_joined(um_str *out, const char *a, const char *b, const char *c)
{
    um_str joined;
    um_str_init(&joined, out->max);
    um_str_append(&joined, a);
    um_str_append(&joined, b);
    um_str_append(&joined, c);
    if (joined.failed != UM_OK)
        out->failed = joined.failed;
    else
        um_str_append_json(out, um_str_text(&joined));
    um_str_dispose(&joined);
}

static void append_message(um_str *out, const char *role, const char *a, const char *b,
                           const char *c)
{
    if (out->len > 0 && out->data[out->len - 1] == '}')
        um_str_append_char(out, ',');
    um_str_append(out, "{\"role\":");
    um_str_append_json(out, role);
    um_str_append(out, ",\"content\":");
    append_joined(out, a, b, c);
    um_str_append_char(out, '}');
}

static void append_messages(um_str *out, um_remote_opening how, const um_ask *ask)
{
    const char *opening = ask->opening != NULL ? ask->opening : "";
    const char *text = ask->text != NULL ? ask->text : "";
    bool ask_for = how == UM_REMOTE_OPENING_ASKED && given(opening);
    bool asked = false;
    um_str_append(out, "\"messages\":[");
    for (size_t i = 0; i < ask->n_messages; i++) {
        const um_message *m = &ask->messages[i];
        bool last = i + 1 == ask->n_messages && strcmp(m->role, "user") == 0;
        asked = asked || last;
        append_message(out, m->role, m->content, ask_for && last ? UM_ASK_FOR_OPENING : "",
                       ask_for && last ? opening : "");
    }
    if (ask_for && !asked)
        append_message(out, "user", &UM_ASK_FOR_OPENING[2], opening, "");
    if (how != UM_REMOTE_OPENING_ASKED && (given(opening) || given(text)))
        append_message(out, "assistant", opening, text, "");
    if (how == UM_REMOTE_OPENING_PREFIX && (given(opening) || given(text))) {
        out->data[--out->len] = '\0';
        um_str_append(out, ",\"prefix\":true}");
    }
    um_str_append_char(out, ']');
    if (how == UM_REMOTE_OPENING_FLAGS && (given(opening) || given(text)))
        um_str_append(out, ",\"add_generation_prompt\":false,\"continue_final_message\":true");
}

void um_wire_render(um_str *out, um_remote_template form, const um_ask *ask)
{
    bool llama = form == UM_REMOTE_TEMPLATE_LLAMA3;
    const char *open = llama ? "<|start_header_id|>" : "<|im_start|>";
    const char *close_role = llama ? "<|end_header_id|>\n\n" : "\n";
    const char *close_turn = llama ? "<|eot_id|>" : "<|im_end|>\n";
    for (size_t i = 0; i < ask->n_messages; i++) {
        um_str_append(out, open);
        um_str_append(out, ask->messages[i].role);
        um_str_append(out, close_role);
        um_str_append(out, ask->messages[i].content);
        um_str_append(out, close_turn);
    }
    um_str_append(out, open);
    um_str_append(out, "assistant");
    um_str_append(out, close_role);
    um_str_append(out, ask->opening != NULL ? ask->opening : "");
    um_str_append(out, ask->text != NULL ? ask->text : "");
}

static void append_constraint(um_str *out, const um_endpoint *e, const um_ask *ask)
{
    if (ask->constraint == UM_REMOTE_CONSTRAINT_NONE || ask->letters == 0)
        return;
    um_str_append(out, ask->constraint == UM_REMOTE_CONSTRAINT_ALLOWED_IDS
                           ? ",\"allowed_token_ids\":["
                       : ask->constraint == UM_REMOTE_CONSTRAINT_BIAS ? ",\"logit_bias\":{"
                                                                      : ",\"guided_choice\":[");
    for (uint32_t i = 0; i < ask->letters; i++) {
        const char *comma = i > 0 ? "," : "";
        if (ask->constraint == UM_REMOTE_CONSTRAINT_ALLOWED_IDS)
            um_str_appendf(out, "%s%d", comma, (int)e->can.ids[i]);
        else if (ask->constraint == UM_REMOTE_CONSTRAINT_BIAS)
            um_str_appendf(out, "%s\"%d\":%d", comma, (int)e->can.ids[i], LETTER_BIAS);
        else
            um_str_appendf(out, "%s\"%c\"", comma, 'A' + (int)i);
    }
    um_str_append_char(out, ask->constraint == UM_REMOTE_CONSTRAINT_BIAS ? '}' : ']');
}

static void append_sampling(um_str *out, const um_endpoint *e, um_ask_kind kind, const um_ask *ask)
{
    const um_sampling *s = ask->sampling;
    um_str_appendf(out, ",\"%s\":%d,\"temperature\":",
                   kind == UM_ASK_CHAT && e->can.new_token_limit ? "max_completion_tokens"
                                                                 : "max_tokens",
                   s->max_tokens);
    append_float(out, s->temperature);
    um_str_append(out, ",\"top_p\":");
    append_float(out, s->top_p);
    if (s->top_k > 0)
        um_str_appendf(out, ",\"top_k\":%d", s->top_k);
    if (s->min_p > 0) {
        um_str_append(out, ",\"min_p\":");
        append_float(out, s->min_p);
    }
    if (ask->n > 1)
        um_str_appendf(out, ",\"n\":%u", ask->n);
    if (ask->seeded)
        um_str_appendf(out, ",\"seed\":%llu", (unsigned long long)ask->seed);
    for (size_t i = 0; i < ask->n_stops && i < MAX_STOPS; i++) {
        um_str_append(out, i == 0 ? ",\"stop\":[" : ",");
        um_str_append_json(out, ask->stops[i]);
    }
    um_str_append(out, ask->n_stops > 0 ? "]" : "");
    if (ask->top) {
        uint32_t top = e->can.top_logprobs > 0 ? e->can.top_logprobs : MAX_TOP_ASKED;
        um_str_appendf(out,
                       kind == UM_ASK_CHAT ? ",\"logprobs\":true,\"top_logprobs\":%u"
                                           : ",\"logprobs\":%u",
                       top);
    }
    append_constraint(out, e, ask);
}

void um_wire_write(um_str *out, const um_endpoint *e, um_remote_opening how, const um_ask *ask)
{
    um_ask_kind kind = um_wire_kind(how);
    um_str_append(out, "{\"model\":");
    um_str_append_json(out, e->model);
    um_str_append_char(out, ',');
    if (kind == UM_ASK_CHAT) {
        append_messages(out, how, ask);
    } else {
        um_str prompt;
        um_str_init(&prompt, out->max);
        um_wire_render(&prompt, e->can.rendered, ask);
        um_str_append(out, "\"prompt\":");
        um_str_append_json(out, um_str_text(&prompt));
        if (prompt.failed != UM_OK)
            out->failed = prompt.failed;
        um_str_dispose(&prompt);
    }
    append_sampling(out, e, kind, ask);
    um_str_append_char(out, '}');
}

void um_wire_write_texts(um_str *out, const um_endpoint *e, const char *const *texts, size_t n,
                         uint32_t dims)
{
    um_str_append(out, "{\"model\":");
    um_str_append_json(out, e->model);
    um_str_append(out, ",\"input\":[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            um_str_append_char(out, ',');
        um_str_append_json(out, texts[i]);
    }
    um_str_append(out, "],\"encoding_format\":\"float\"");
    if (dims > 0)
        um_str_appendf(out, ",\"dimensions\":%u", dims);
    um_str_append_char(out, '}');
}
