/* probe.c - what can this endpoint do? Each answer is proved by a request where it can be. */
#include "remote/probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define PROBE_SEED    7
#define SHORT_TOKENS  1
#define SOME_TOKENS   16
#define MAX_ADDED     2 /* tokens of a one-letter opening; an end of turn adds at least 3 more */
#define WORD_BEGUN    "one, two, three, fo"
#define WORD_FINISHED "ur"

static const um_message plain[] = {{"system", "You are brief."}, {"user", "Name a colour."}};
static const um_message longer[] = {{"system", "You answer in one sentence, and you are polite."},
                                    {"user", "What is a river?\nAnd what is a lake?"}};
static const um_message count[] = {{"user", "Write the numbers from one to nine as words."}};
static const um_message varied[] = {{"user", "Write any sentence that comes to mind."}};

static um_ask make_ask(const um_message *messages, size_t n, const um_sampling *sampling)
{
    return (um_ask){.messages = messages, .n_messages = n, .sampling = sampling, .n = 1};
}

/* GET /models: is the model there, and how long is its context? */
static um_status read_models(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    json_t *item;
    size_t i;
    um_status status = um_probe_send(p, p->e->models, true, err);
    if (status != UM_OK || p->status != 200)
        return status;
    json_array_foreach(json_object_get(p->root, "data"), i, item)
    {
        const char *id = json_string_value(json_object_get(item, "id"));
        json_int_t length = json_integer_value(json_object_get(item, "max_model_len"));
        if (id == NULL || strcmp(id, p->e->model) != 0)
            continue;
        can->lists_model = true;
        can->max_context = length > 0 && length < UINT32_MAX ? (uint32_t)length : 0;
    }
    return UM_OK;
}

static um_status try_chat(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    um_sampling s = {.top_p = 1, .max_tokens = SHORT_TOKENS};
    um_ask ask = make_ask(plain, 2, &s);
    um_status status = um_probe_ask(p, UM_REMOTE_OPENING_ASKED, &ask, err);
    if (status == UM_OK && p->status == 400 && strstr(p->why, "max_completion_tokens") != NULL) {
        can->new_token_limit = true;
        status = um_probe_ask(p, UM_REMOTE_OPENING_ASKED, &ask, err);
    }
    if (status != UM_OK)
        return status;
    can->chat = um_probe_text(p, 0) != NULL;
    if (!can->chat)
        return UM_OK;
    can->usage = um_probe_prompt_tokens(p) > 0;
    can->answer_ms = p->ms;
    s.max_tokens = SOME_TOKENS;
    status = um_probe_ask(p, UM_REMOTE_OPENING_ASKED, &ask, err);
    if (status == UM_OK && p->ms > can->answer_ms)
        can->token_ms = (p->ms - can->answer_ms) / (SOME_TOKENS - SHORT_TOKENS);
    return status;
}

static um_status try_completions(um_probe *p, um_error *err)
{
    um_str_clear(&p->request);
    um_str_append(&p->request, "{\"model\":");
    um_str_append_json(&p->request, p->e->model);
    um_str_append(&p->request, ",\"prompt\":\"one, two,\",\"max_tokens\":1}");
    um_status status = um_probe_send(p, p->e->completions, false, err);
    if (status == UM_OK)
        p->e->can.completions = um_probe_text(p, 0) != NULL;
    if (status == UM_OK && !p->e->can.chat) {
        p->e->can.answer_ms = p->ms;
        p->e->can.usage = um_probe_prompt_tokens(p) > 0;
    }
    return status;
}

/* Openings ------------------------------------------------------------------------------------- */

/*
 * Does the model read the opening as its own, unfinished text? An opening of one letter makes the
 * prompt one token longer; a server that closes the turn and opens a new one adds the end of turn
 * and a header besides. Where tokens are not counted, or a template writes more than the header for
 * a new turn, a word that is broken off must be finished.
 */
static um_status continues(um_probe *p, um_remote_opening how, bool *out, um_error *err)
{
    um_sampling s = {.top_p = 1, .max_tokens = SHORT_TOKENS};
    um_ask ask = make_ask(count, 1, &s);
    *out = false;
    um_status status = um_probe_ask(p, UM_REMOTE_OPENING_ASKED, &ask, err);
    int64_t without = um_probe_prompt_tokens(p);
    ask.opening = "A";
    if (status == UM_OK)
        status = um_probe_ask(p, how, &ask, err);
    if (status != UM_OK || um_probe_text(p, 0) == NULL)
        return status;
    int64_t with = um_probe_prompt_tokens(p);
    if (with >= 0 && without >= 0 && with > without) {
        *out = with - without <= MAX_ADDED;
        return UM_OK;
    }
    ask.opening = WORD_BEGUN;
    s.max_tokens = SOME_TOKENS;
    status = um_probe_ask(p, how, &ask, err);
    const char *text = status == UM_OK ? um_probe_text(p, 0) : NULL;
    *out = text != NULL && um_str_starts(text, WORD_FINISHED);
    return status;
}

static um_status same_length(um_probe *p, const um_message *messages, size_t n, bool *same,
                             um_error *err)
{
    um_sampling s = {.top_p = 1, .max_tokens = SHORT_TOKENS};
    um_ask ask = make_ask(messages, n, &s);
    um_status status = um_probe_ask(p, UM_REMOTE_OPENING_ASKED, &ask, err);
    int64_t chat = um_probe_prompt_tokens(p);
    if (status == UM_OK)
        status = um_probe_ask(p, UM_REMOTE_OPENING_RENDERED, &ask, err);
    *same = status == UM_OK && chat > 0 && um_probe_prompt_tokens(p) == chat;
    return status;
}

/* A rendering is right when two conversations have as many tokens as the server's own. */
static um_status try_rendered(um_probe *p, bool *out, um_error *err)
{
    static const um_remote_template forms[] = {UM_REMOTE_TEMPLATE_CHATML,
                                               UM_REMOTE_TEMPLATE_LLAMA3};
    um_remote_abilities *can = &p->e->can;
    um_status status = UM_OK;
    *out = false;
    if (!can->completions || p->e->chat_template == UM_REMOTE_TEMPLATE_NONE)
        return UM_OK;
    for (size_t i = 0; i < 2 && status == UM_OK && !*out; i++) {
        if (p->e->chat_template != UM_REMOTE_TEMPLATE_AUTO && p->e->chat_template != forms[i])
            continue;
        can->rendered = forms[i];
        if (!can->chat) { /* nothing to compare with: the user's word */
            *out = p->e->chat_template == forms[i];
            continue;
        }
        status = same_length(p, plain, 2, out, err);
        if (status == UM_OK && *out)
            status = same_length(p, longer, 2, out, err);
    }
    if (status == UM_OK && !*out && p->e->chat_template != UM_REMOTE_TEMPLATE_AUTO)
        return um_fail(err, UM_ERR_REMOTE,
                       "endpoint %s: a conversation rendered with the named template has not the "
                       "tokens the endpoint counts for it; name the model's own template, or none",
                       p->e->label);
    return status;
}

static um_status find_opening(um_probe *p, um_error *err)
{
    static const um_remote_opening ways[] = {UM_REMOTE_OPENING_FLAGS, UM_REMOTE_OPENING_PREFIX,
                                             UM_REMOTE_OPENING_TRAILING};
    um_remote_abilities *can = &p->e->can;
    um_status status = UM_OK;
    bool can_do = false;
    can->opening = UM_REMOTE_OPENING_ASKED;
    for (size_t i = 0; i < 3 && can->chat && status == UM_OK && !can_do; i++) {
        status = continues(p, ways[i], &can_do, err);
        if (can_do)
            can->opening = ways[i];
    }
    if (status == UM_OK && !can_do) {
        status = try_rendered(p, &can_do, err);
        if (can_do)
            can->opening = UM_REMOTE_OPENING_RENDERED;
    }
    if (status == UM_OK && !can_do && !can->chat)
        return um_fail(err, UM_ERR_REMOTE,
                       "endpoint %s: it has no chat.completions, and for completions the model's "
                       "template must be named",
                       p->e->label);
    return status;
}

/* Choices and seeds ---------------------------------------------------------------------------- */

static um_status try_seed(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    um_remote_opening how = can->chat ? UM_REMOTE_OPENING_ASKED : can->opening;
    um_sampling s = {.temperature = 1, .top_p = 1, .max_tokens = SOME_TOKENS};
    um_ask ask = make_ask(varied, 1, &s);
    um_str first = UM_STR_INIT;
    ask.seeded = true;
    ask.seed = PROBE_SEED;
    um_status status = um_probe_ask(p, how, &ask, err);
    can->seed = status == UM_OK && um_probe_text(p, 0) != NULL;
    if (!can->seed)
        return status;
    um_str_append(&first, um_probe_text(p, 0));
    status = um_probe_ask(p, how, &ask, err);
    const char *second = status == UM_OK ? um_probe_text(p, 0) : NULL;
    can->seed_repeats = second != NULL && strcmp(second, um_str_text(&first)) == 0;
    um_str_dispose(&first);
    return status;
}

/* Two choices, numbered 0 and 1, and different: a server that gives the same one twice would make
 * one sample count for many. */
static bool two_choices(const um_probe *p)
{
    const json_t *choices = json_object_get(p->root, "choices");
    const char *a = um_probe_text(p, 0), *b = um_probe_text(p, 1);
    bool seen[2] = {false, false};
    for (size_t i = 0; i < 2; i++) {
        const json_t *index = json_object_get(json_array_get(choices, i), "index");
        json_int_t k = json_is_integer(index) ? json_integer_value(index) : -1;
        if (k == 0 || k == 1)
            seen[k] = true;
    }
    return json_array_size(choices) == 2 && seen[0] && seen[1] && a != NULL && b != NULL &&
           strcmp(a, b) != 0;
}

static um_status try_n(um_probe *p, um_error *err)
{
    um_remote_abilities *can = &p->e->can;
    um_remote_opening how = can->chat ? UM_REMOTE_OPENING_ASKED : can->opening;
    um_sampling s = {.temperature = 1, .top_p = 1, .max_tokens = SOME_TOKENS};
    um_ask ask = make_ask(varied, 1, &s);
    ask.n = 2;
    ask.seeded = can->seed;
    ask.seed = PROBE_SEED;
    um_status status = um_probe_ask(p, how, &ask, err);
    can->n = status == UM_OK && p->status == 200 && two_choices(p);
    if (status != UM_OK || can->n || !can->seed || p->status != 200)
        return status;
    ask.seeded = false;
    status = um_probe_ask(p, how, &ask, err);
    can->n = can->n_without_seed = status == UM_OK && p->status == 200 && two_choices(p);
    return status;
}

static um_status probe_endpoint(um_remote *remote, um_endpoint *e, const um_monitor *monitor,
                                um_error *err)
{
    um_probe p = {.remote = remote, .e = e, .monitor = monitor};
    e->can = (um_remote_abilities){0};
    um_status status = read_models(&p, err);
    if (status == UM_OK)
        status = try_chat(&p, err);
    char why[sizeof p.why];
    memcpy(why, p.why, sizeof why);
    if (status == UM_OK)
        status = try_completions(&p, err);
    if (status == UM_OK && !e->can.chat && !e->can.completions)
        status = um_fail(err, UM_ERR_REMOTE,
                         "endpoint %s: neither chat.completions nor completions answers a plain "
                         "request for model %.60s: %.200s",
                         e->label, e->model, why);
    if (status == UM_OK)
        status = find_opening(&p, err);
    if (status == UM_OK)
        status = try_seed(&p, err);
    if (status == UM_OK)
        status = try_n(&p, err);
    if (status == UM_OK)
        status = um_probe_letters(&p, err);
    um_probe_dispose(&p);
    return status;
}

static void choose_opening(um_remote *remote)
{
    remote->opening = remote->endpoints[0].can.opening;
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        if (remote->endpoints[i].can.opening == UM_REMOTE_OPENING_ASKED)
            remote->opening = UM_REMOTE_OPENING_ASKED;
    }
}

um_status um_remote_probe(um_remote *remote, const um_monitor *monitor, um_error *err)
{
    um_status status = UM_OK;
    if (remote->probed)
        return UM_OK;
    for (size_t i = 0; i < remote->n_endpoints && status == UM_OK; i++)
        status = probe_endpoint(remote, &remote->endpoints[i], monitor, err);
    if (status != UM_OK)
        return status;
    choose_opening(remote);
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        const um_endpoint *e = &remote->endpoints[i];
        if (remote->opening == UM_REMOTE_OPENING_ASKED && !e->can.chat)
            return um_fail(err, UM_ERR_REMOTE,
                           "endpoint %s has no chat.completions, and others cannot continue an "
                           "opening; use them apart",
                           e->label);
    }
    remote->probed = true;
    return UM_OK;
}

um_status um_remote_assume(um_remote *remote, const char *profile, um_error *err)
{
    um_remote_abilities can = {.chat = true,
                               .usage = true,
                               .n = true,
                               .seed = true,
                               .top_logprobs = 20,
                               .opening = UM_REMOTE_OPENING_ASKED};
    if (strcmp(profile, "vllm") == 0)
        can.opening = UM_REMOTE_OPENING_FLAGS;
    else if (strcmp(profile, "openai") != 0)
        return um_fail(err, UM_ERR_NOT_FOUND,
                       "remote: no profile '%.40s'; there are vllm and openai", profile);
    for (size_t i = 0; i < remote->n_endpoints; i++)
        remote->endpoints[i].can = can;
    choose_opening(remote);
    remote->probed = remote->assumed = true;
    return UM_OK;
}

/* For people ----------------------------------------------------------------------------------- */

const char *um_remote_opening_name(um_remote_opening opening)
{
    switch (opening) {
    case UM_REMOTE_OPENING_ASKED:
        return "asked for";
    case UM_REMOTE_OPENING_FLAGS:
        return "continued (continue_final_message)";
    case UM_REMOTE_OPENING_PREFIX:
        return "continued (prefix)";
    case UM_REMOTE_OPENING_TRAILING:
        return "continued (last message)";
    case UM_REMOTE_OPENING_RENDERED:
        return "continued (completions, rendered here)";
    }
    return "?";
}

static const char *constraint_name(um_remote_constraint constraint)
{
    switch (constraint) {
    case UM_REMOTE_CONSTRAINT_NONE:
        return "nothing";
    case UM_REMOTE_CONSTRAINT_ALLOWED_IDS:
        return "allowed_token_ids";
    case UM_REMOTE_CONSTRAINT_BIAS:
        return "logit_bias";
    case UM_REMOTE_CONSTRAINT_CHOICE:
        return "guided_choice";
    }
    return "?";
}

static void describe_letters(um_str *s, const um_remote *remote, const um_remote_abilities *can)
{
    bool asked = remote->opening == UM_REMOTE_OPENING_ASKED;
    if (asked)
        um_str_append(s, "not possible, since the text before a letter cannot be continued");
    else if (can->top_logprobs > 0 && can->logprob_constraint != UM_REMOTE_CONSTRAINT_NONE)
        um_str_appendf(s, "log-probabilities kept to the letters by %s; exact up to %" PRIu32,
                       constraint_name(can->logprob_constraint), can->top_logprobs);
    else if (can->top_logprobs > 0)
        um_str_appendf(s,
                       "%" PRIu32 " log-probabilities; what is not listed is bounded, a "
                       "distribution that may be off by more than %g fails",
                       can->top_logprobs, remote->options.max_letter_error);
    else if (remote->options.frequencies)
        um_str_appendf(s, "ESTIMATES from %" PRIu32 " samples each, kept to the letters by %s",
                       remote->options.frequency_samples,
                       constraint_name(can->sampling_constraint));
    else
        um_str_append(s, "not possible: no log-probabilities (estimates from samples are an "
                         "option)");
}

um_status um_remote_describe(const um_remote *remote, char **text, um_error *err)
{
    um_str s = UM_STR_INIT;
    if (!remote->probed)
        return um_fail(err, UM_ERR_STATE, "remote: probe the endpoints first");
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        const um_endpoint *e = &remote->endpoints[i];
        const um_remote_abilities *can = &e->can;
        um_str_appendf(&s, "%s, model %s%s\n", e->label, e->model,
                       remote->assumed    ? " (as its profile says, not asked)"
                       : can->lists_model ? ""
                                          : " (not on its list of models)");
        um_str_appendf(&s, "  samples:  %s; seed %s%s\n",
                       can->n ? "several choices a request" : "one request each",
                       !can->seed            ? "refused"
                       : can->n_without_seed ? "not sent with several choices"
                       : remote->assumed     ? "sent"
                       : can->seed_repeats   ? "repeats a text"
                                             : "accepted, without effect",
                       can->usage ? "" : "; tokens estimated, since answers do not count them");
        um_str_appendf(&s, "  opening:  %s%s\n", um_remote_opening_name(can->opening),
                       can->opening != UM_REMOTE_OPENING_ASKED &&
                               remote->opening == UM_REMOTE_OPENING_ASKED
                           ? ", but asked for, since another endpoint cannot"
                           : "");
        um_str_append(&s, "  letters:  ");
        describe_letters(&s, remote, can);
        um_str_append_char(&s, '\n');
    }
    um_status status = um_str_take(&s, text, err);
    um_str_dispose(&s);
    return status;
}
