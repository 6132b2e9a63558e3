/*
 * model.c - the model behind the fault server: texts, letters and rows from hashes.
 *
 * Tokens: up to four lower-case letters and spaces together, every other byte alone; the id of a
 * byte is its code. A turn costs five tokens besides its text.
 */
#include "fault.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define TURN_TOKENS   5
#define HEADER_TOKENS 3

typedef struct ask {
    const fault_config *config;
    json_t *root;
    um_str prompt;    /* what the model reads */
    um_str continued; /* the assistant's turn that is continued */
    uint64_t prompt_tokens, hash;
    int64_t n, max_tokens, top;
    bool seeded, wants_logprobs, chat;
    uint64_t seed;
    bool allowed[26], constrained;
    uint32_t letters; /* listed in the prompt */
} ask;

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return x ^ x >> 31;
}

static uint64_t hash_text(const char *text, uint64_t h)
{
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * 0x100000001B3ull;
    return mix(h);
}

static double uniform(uint64_t x)
{
    return (double)(mix(x) >> 11) * 0x1p-53;
}

static bool soft(char c)
{
    return c == ' ' || (c >= 'a' && c <= 'z');
}

static size_t token_len(const char *p)
{
    size_t n = 1;
    if (soft(*p)) {
        while (n < 4 && soft(p[n]))
            n++;
    }
    return n;
}

static uint64_t count_tokens(const char *text)
{
    uint64_t n = 0;
    for (; *text != '\0'; text += token_len(text))
        n++;
    return n;
}

/* Reading a request ---------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void read_chat(ask *a)
{
    const fault_config *c = a->config;
    const json_t *messages = json_object_get(a->root, "messages");
    size_t n = json_array_size(messages);
    const json_t *last = json_array_get(messages, n - 1);
    bool flags = json_is_true(json_object_get(a->root, "continue_final_message")) && !c->no_flags;
    bool prefix = c->want_prefix && json_is_true(json_object_get(last, "prefix"));
    bool assistant = strcmp(text_of(last, "role"), "assistant") == 0;
    bool continues = assistant && (flags || prefix || !c->no_trailing);
    for (size_t i = 0; i < n; i++) {
        const char *content = text_of(json_array_get(messages, i), "content");
        if (i + 1 == n && continues) {
            um_str_append(&a->continued, content);
            a->prompt_tokens += count_tokens(content);
            break;
        }
        um_str_append(&a->prompt, content);
        um_str_append_char(&a->prompt, '\n');
        a->prompt_tokens += count_tokens(content) + TURN_TOKENS;
    }
    a->prompt_tokens += HEADER_TOKENS;
}

/* A rendered conversation: markers are single tokens. */
static void read_rendered(ask *a)
{
    const char *open = a->config->llama ? "<|start_header_id|>" : "<|im_start|>";
    const char *after = a->config->llama ? "<|end_header_id|>\n\n" : "\n";
    const char *end = a->config->llama ? "<|eot_id|>" : "<|im_end|>\n";
    const char *p = text_of(a->root, "prompt");
    if (strstr(p, open) == NULL) {
        um_str_append(&a->continued, p);
        a->prompt_tokens = count_tokens(p) + 1;
        return;
    }
    while (um_str_starts(p, open)) {
        const char *content = strstr(p, after);
        content = content != NULL ? content + strlen(after) : p + strlen(p);
        const char *stop = strstr(content, end);
        size_t len = stop != NULL ? (size_t)(stop - content) : strlen(content);
        um_str *to = stop != NULL ? &a->prompt : &a->continued;
        char *copy = strndup(content, len);
        um_str_append(to, copy);
        if (stop != NULL)
            um_str_append_char(to, '\n');
        a->prompt_tokens += count_tokens(copy) + (stop != NULL ? TURN_TOKENS : HEADER_TOKENS);
        free(copy);
        p = stop != NULL ? stop + strlen(end) : content + len;
    }
}

static void allow(ask *a, int64_t letter)
{
    if (letter >= 'A' && letter <= 'Z')
        a->allowed[letter - 'A'] = true;
    a->constrained = true;
}

static int read_constraints(ask *a)
{
    const json_t *ids = json_object_get(a->root, "allowed_token_ids");
    const json_t *bias = json_object_get(a->root, "logit_bias");
    const json_t *choice = json_object_get(a->root, "guided_choice");
    const char *key;
    json_t *item;
    size_t i;
    if ((ids != NULL && a->config->no_allowed) || (bias != NULL && a->config->no_bias) ||
        (choice != NULL && a->config->no_choice))
        return 400;
    json_array_foreach(ids, i, item) allow(a, json_integer_value(item));
    json_object_foreach((json_t *)(uintptr_t)bias, key, item) allow(a, strtoll(key, NULL, 10));
    json_array_foreach(choice, i, item) allow(a, (unsigned char)*json_string_value(item));
    return 0;
}

static int read_ask(ask *a)
{
    const fault_config *c = a->config;
    const char *limit = c->new_token_limit && a->chat ? "max_completion_tokens" : "max_tokens";
    const json_t *n = json_object_get(a->root, "n");
    const json_t *seed = json_object_get(a->root, "seed");
    const json_t *tokens = json_object_get(a->root, limit);
    const json_t *logprobs = json_object_get(a->root, "logprobs");
    if (strcmp(text_of(a->root, "model"), c->model != NULL ? c->model : "fault") != 0)
        return 404;
    if (c->new_token_limit && a->chat && json_object_get(a->root, "max_tokens") != NULL)
        return 422;
    a->n = n != NULL ? json_integer_value(n) : 1;
    a->max_tokens = tokens != NULL ? json_integer_value(tokens) : 256;
    a->seeded = seed != NULL;
    a->seed = (uint64_t)json_integer_value(seed);
    a->wants_logprobs = a->chat ? json_is_true(logprobs) : json_is_integer(logprobs);
    a->top = a->chat ? json_integer_value(json_object_get(a->root, "top_logprobs"))
                     : json_integer_value(logprobs);
    if ((c->no_n && a->n > 1) || (c->no_seed && a->seeded) || a->n < 1 || a->n > 128)
        return 400;
    if (a->wants_logprobs && (c->no_logprobs || a->top > (c->top > 0 ? c->top : 20)))
        return 400;
    if (a->chat)
        read_chat(a);
    else
        read_rendered(a);
    a->hash = hash_text(um_str_text(&a->continued), hash_text(um_str_text(&a->prompt), 1));
    char mark[4] = "[A]";
    while (a->letters < 26 && strstr(um_str_text(&a->prompt), mark) != NULL) {
        a->letters++;
        mark[1]++;
    }
    a->letters = a->letters > 0 ? a->letters : 26;
    return read_constraints(a);
}

/* Letters -------------------------------------------------------------------------------------- */

static const char *const others[] = {"The", "It", " A", "\n", "None", "1", " B", "One"};
#define N_OTHERS (sizeof others / sizeof others[0])

/* p of 26 letters and of the other tokens. A constraint leaves its letters alone. */
static void letter_mass(const ask *a, bool constrained, double letters[26], double other[N_OTHERS])
{
    bool z = strstr(um_str_text(&a->prompt), "must be the letter Z") != NULL;
    double rest = a->config->other_mass > 0 ? a->config->other_mass : 0.05, sum = 0;
    for (uint32_t i = 0; i < 26; i++) {
        letters[i] = i < a->letters ? exp(3 * uniform(a->hash + i)) : 1e-4;
        if (z)
            letters[i] = i == 25 ? 1 : 1e-6;
        if (constrained && !a->allowed[i])
            letters[i] = 0;
        sum += letters[i];
    }
    for (uint32_t i = 0; i < 26; i++)
        letters[i] *= (constrained ? 1 : 1 - rest) / sum;
    for (size_t i = 0; i < N_OTHERS; i++)
        other[i] = constrained ? 0 : rest / (double)(1u << (i + 1 < N_OTHERS ? i + 1 : i));
}

static char draw_letter(const ask *a, uint64_t h)
{
    double letters[26], other[N_OTHERS], u = uniform(h);
    letter_mass(a, a->constrained, letters, other);
    for (int i = 0; i < 26; i++) {
        if ((u -= letters[i]) < 0)
            return (char)('A' + i);
    }
    return a->constrained ? 'A' : '?';
}

typedef struct listed {
    char token[8];
    double p;
} listed;

static int by_p(const void *x, const void *y)
{
    double a = ((const listed *)x)->p, b = ((const listed *)y)->p;
    return (a < b) - (a > b);
}

static void append_logprobs(um_str *out, const ask *a, const char *text)
{
    double letters[26], other[N_OTHERS];
    listed all[26 + N_OTHERS];
    size_t n = 0;
    letter_mass(a, a->constrained && !a->config->raw_logprobs, letters, other);
    for (int i = 0; i < 26; i++) {
        snprintf(all[n].token, sizeof all[n].token, "%c", 'A' + i);
        all[n++].p = letters[i];
    }
    for (size_t i = 0; i < N_OTHERS; i++) {
        snprintf(all[n].token, sizeof all[n].token, "%s", others[i]);
        all[n++].p = other[i];
    }
    qsort(all, n, sizeof *all, by_p);
    char first[8] = "";
    snprintf(first, sizeof first, "%.*s", (int)(*text != '\0' ? token_len(text) : 0), text);
    um_str_append(out, ",\"logprobs\":{");
    if (a->chat) {
        um_str_append(out, "\"content\":[{\"token\":");
        um_str_append_json(out, first);
        um_str_append(out, ",\"logprob\":-0.5,\"top_logprobs\":[");
    } else {
        um_str_append(out, "\"top_logprobs\":[{");
    }
    bool some = false;
    for (int64_t i = 0; i < a->top && i < (int64_t)n && all[i].p > 0; i++) {
        um_str_append(out, some ? "," : "");
        um_str_append(out, a->chat ? "{\"token\":" : "");
        um_str_append_json(out, all[i].token);
        um_str_append(out, a->chat ? ",\"logprob\":" : ":");
        um_str_append_number(out, log(all[i].p));
        um_str_append(out, a->chat ? "}" : "");
        some = true;
    }
    um_str_append(out, a->chat ? "]}]}" : "}]}");
}

/* Texts ---------------------------------------------------------------------------------------- */

static const char *pick(uint64_t h, const char *const *list, size_t n)
{
    return list[mix(h) % n];
}

#define PICK(h, list) pick(h, list, sizeof list / sizeof list[0])

static void append_words(um_str *out, uint64_t h, uint32_t n)
{
    static const char *const words[] = {"the",  "quiet", "evening", "asks",  "for",   "something",
                                        "warm", "and",   "bright",  "story", "known", "better",
                                        "long", "short", "calm",    "loud",  "new",   "old"};
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            um_str_append_char(out, ' ');
        um_str_append(out, PICK(h + i * 7919u, words));
    }
}

/* A decision process after "Thought:\nStimulus:". */
static void append_process(um_str *out, const ask *a, uint64_t h)
{
    static const char *const stimuli[] = {"Boredom", "Curiosity", "Hunger", "Location",
                                          "Time of Day"};
    static const char *const knowledge[] = {"Price", "Novelty", "Features", "Convenience"};
    static const char *const more[] = {"Quality", "Risk", "Emotional Appeal", "Social Proof"};
    static const char *const styles[] = {"Logical", "Intuitive", "Impulsive", "Habitual"};
    um_str_append(out, " I feel that ");
    append_words(out, h, 6);
    um_str_appendf(out, ".\nStimulus Factors: %s\nKnowledge: I know that ", PICK(h + 1, stimuli));
    append_words(out, h + 2, 8);
    um_str_appendf(out, ".\nKnowledge Factors: %s, %s\nEvaluation: I find that ",
                   PICK(h + 3, knowledge), PICK(h + 4, more));
    append_words(out, h + 5, 6);
    um_str_appendf(out, ".\nEvaluation Style: %s\nBehavior: [%c]", PICK(h + 6, styles),
                   'A' + (int)(mix(h + 7) % a->letters));
}

static void write_text(um_str *out, const ask *a, uint64_t h)
{
    const char *continued = um_str_text(&a->continued), *prompt = um_str_text(&a->prompt);
    if (um_str_ends(continued, "[")) {
        um_str_append_char(out, draw_letter(a, h));
        um_str_append_char(out, ']');
    } else if (um_str_ends(continued, "fo")) {
        um_str_append(out, "ur, five, six");
    } else if (um_str_ends(continued, "Stimulus:")) {
        append_process(out, a, h);
    } else if (strstr(prompt, "Stimulus:") != NULL) {
        um_str_append(out, "Thought:\nStimulus:");
        append_process(out, a, h);
    } else if (a->constrained) {
        um_str_append_char(out, draw_letter(a, h));
    } else {
        append_words(out, h, a->config->words > 0 ? a->config->words : 6);
    }
}

/* Cuts at the first stop string, then at max_tokens. */
static const char *cut(const ask *a, const fault_rule *rule, um_str *text, uint64_t *tokens)
{
    bool pass = rule != NULL && rule->nostop;
    const json_t *stops = pass ? NULL : json_object_get(a->root, "stop");
    const char *finish = "stop";
    json_t *item;
    size_t i;
    json_array_foreach(stops, i, item)
    {
        char *at = strstr(text->data, json_string_value(item));
        if (at != NULL) {
            *at = '\0';
            text->len = (size_t)(at - text->data);
        }
    }
    char *p = text->data;
    *tokens = 0;
    while (*p != '\0' && (int64_t)*tokens < a->max_tokens) {
        p += token_len(p);
        ++*tokens;
    }
    if (*p != '\0') {
        finish = "length";
        *p = '\0';
        text->len = (size_t)(p - text->data);
    }
    return finish;
}

static void append_choice(um_str *out, const ask *a, int64_t i, uint64_t random,
                          const fault_rule *rule, uint64_t *tokens)
{
    um_str text = UM_STR_INIT;
    uint64_t h = a->hash ^ mix(a->seeded ? a->seed : random) ^
                 (a->config->same_n && a->seeded ? 0 : mix((uint64_t)i + 77));
    uint64_t used;
    write_text(&text, a, h);
    const char *finish = cut(a, rule, &text, &used);
    *tokens += used;
    if (rule != NULL && rule->finish[0] != '\0')
        finish = rule->finish;
    um_str_append_char(out, '{');
    if (rule == NULL || !rule->noindex)
        um_str_appendf(out, "\"index\":%d,", rule != NULL && rule->duplicate ? 0 : (int)i);
    um_str_append(out, a->chat ? "\"message\":{\"role\":\"assistant\",\"content\":" : "\"text\":");
    if (rule != NULL && rule->null)
        um_str_append(out, "null");
    else
        um_str_append_json(out, text.data);
    um_str_append(out, a->chat ? "}" : "");
    if (a->wants_logprobs && (rule == NULL || !rule->nologprobs))
        append_logprobs(out, a, text.data);
    um_str_append(out, ",\"finish_reason\":");
    if (strcmp(finish, "null") == 0)
        um_str_append(out, "null}");
    else
        um_str_appendf(out, "\"%s\"}", finish);
    um_str_dispose(&text);
}

static void write_choices(um_str *out, const ask *a, uint64_t random, const fault_rule *rule,
                          uint32_t *choices)
{
    uint64_t tokens = 0;
    int64_t n = rule != NULL && rule->choices >= 0 ? rule->choices : a->n;
    um_str_appendf(out, "{\"id\":\"fault\",\"object\":\"%s\",\"choices\":[",
                   a->chat ? "chat.completion" : "text_completion");
    for (int64_t i = 0; i < n; i++) {
        um_str_append(out, i > 0 ? "," : "");
        append_choice(out, a, rule != NULL && rule->reverse ? n - 1 - i : i, random, rule, &tokens);
    }
    um_str_append(out, "]");
    if (!a->config->no_usage && (rule == NULL || !rule->nousage))
        um_str_appendf(out, ",\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu}",
                       (unsigned long long)a->prompt_tokens, (unsigned long long)tokens);
    um_str_append_char(out, '}');
    *choices = (uint32_t)n;
}

static void write_rows(um_str *out, const ask *a, const fault_rule *rule, uint32_t *choices)
{
    const json_t *input = json_object_get(a->root, "input");
    const json_t *dims = json_object_get(a->root, "dimensions");
    size_t n = json_array_size(input);
    uint64_t tokens = 0;
    uint32_t dim = a->config->dims > 0 ? a->config->dims : 8;
    if (dims != NULL)
        dim = (uint32_t)json_integer_value(dims);
    um_str_append(out, "{\"object\":\"list\",\"data\":[");
    for (size_t j = 0; j < n; j++) {
        size_t i = rule != NULL && rule->reverse ? n - 1 - j : j;
        const char *text = json_string_value(json_array_get(input, i));
        if (rule != NULL && rule->choices >= 0 && (int)i >= rule->choices)
            continue;
        tokens += count_tokens(text);
        if (out->data[out->len - 1] == '}')
            um_str_append_char(out, ',');
        um_str_appendf(out, "{\"index\":%zu,\"embedding\":[",
                       rule != NULL && rule->duplicate ? 0 : i);
        for (uint32_t d = 0; d < dim; d++) {
            um_str_append(out, d > 0 ? "," : "");
            um_str_append_number(out, (float)(2 * uniform(hash_text(text, d)) - 1));
        }
        um_str_append(out, "]}");
    }
    um_str_appendf(out, "],\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}",
                   (unsigned long long)tokens, (unsigned long long)tokens);
    *choices = (uint32_t)n;
}

static void write_tokens(um_str *out, const ask *a)
{
    const char *p = text_of(a->root, "prompt");
    um_str_append(out, "{\"tokens\":[");
    for (bool some = false; *p != '\0'; some = true) {
        size_t n = token_len(p);
        uint64_t h = 0;
        for (size_t i = 0; i < n; i++)
            h = h * 256 + (unsigned char)p[i];
        um_str_appendf(out, "%s%llu", some ? "," : "", (unsigned long long)(h & 0x7fffffff));
        p += n;
    }
    um_str_append(out, "]}");
}

static const char *refusal_text(int status)
{
    switch (status) {
    case 404:
        return "The model does not exist.";
    case 422:
        return "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.";
    default:
        return "A parameter is not supported.";
    }
}

int fault_answer(const fault_config *config, const char *path, const char *body, size_t len,
                 uint64_t random, const fault_rule *rule, char **out, size_t *out_len,
                 uint32_t *choices)
{
    ask a = {.config = config};
    um_str text = UM_STR_INIT;
    int status = 0;
    *choices = 0;
    a.root = json_loadb(body, len, 0, NULL);
    a.chat = strcmp(path, "/v1/chat/completions") == 0;
    if (a.root == NULL) {
        status = 400;
    } else if (strcmp(path, "/tokenize") == 0 && !config->no_tokenize) {
        write_tokens(&text, &a);
    } else if (strcmp(path, "/v1/embeddings") == 0) {
        write_rows(&text, &a, rule, choices);
    } else if ((a.chat && !config->no_chat) ||
               (strcmp(path, "/v1/completions") == 0 && !config->no_completions)) {
        status = read_ask(&a);
        if (status == 0)
            write_choices(&text, &a, random, rule, choices);
    } else {
        status = 404;
    }
    if (status != 0)
        um_str_appendf(&text, "{\"error\":{\"message\":\"%s\",\"type\":\"invalid_request_error\"}}",
                       refusal_text(status));
    status = status == 422 ? 400 : status;
    json_decref(a.root);
    um_str_dispose(&a.prompt);
    um_str_dispose(&a.continued);
    *out = text.data;
    *out_len = text.len;
    return status;
}
