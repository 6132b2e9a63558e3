/* reply.c - what an endpoint's JSON says: answers by index, or a complaint. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "remote/answer.h"
#include "remote/secret.h"

#define MAX_DIM ((size_t)1 << 20)

void um_reply_dispose(um_reply *r)
{
    for (uint32_t i = 0; r->answers != NULL && i < r->n; i++)
        um_answer_dispose(&r->answers[i]);
    free(r->answers);
    *r = (um_reply){0};
}

/* Notes the first reason; an answer that is unusable does not spoil the others. */
static void reject(um_reply *r, const char *why)
{
    if (r->wrong[0] == '\0')
        snprintf(r->wrong, sizeof r->wrong, "%s", why);
}

static void set_token(um_top *top, const char *token)
{
    size_t n = strlen(token);
    if (n >= UM_TOP_BYTES) {
        n = UM_TOP_BYTES - 1;
        while (n > 0 && ((unsigned char)token[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(top->token, token, n);
    top->token[n] = '\0';
}

static bool add_top(um_answer *a, const char *token, const json_t *value)
{
    double logprob = json_number_value(value);
    if (token == NULL || !json_is_number(value) || logprob > 1e-3 || a->n_top == UM_TOP_MAX)
        return false;
    set_token(&a->top[a->n_top], token);
    a->top[a->n_top++].logprob = logprob;
    return true;
}

/* Tokens listed at the first position: chat's list of objects, or completions' map. */
static bool read_top(um_answer *a, const json_t *logprobs)
{
    const json_t *first = json_array_get(json_object_get(logprobs, "content"), 0);
    const json_t *list = json_object_get(first, "top_logprobs");
    const json_t *map = json_array_get(json_object_get(logprobs, "top_logprobs"), 0);
    const char *token;
    json_t *item;
    size_t i;

    a->top = um_calloc(UM_TOP_MAX, sizeof *a->top);
    if (a->top == NULL)
        return false;
    json_array_foreach(list, i, item)
    {
        if (!add_top(a, json_string_value(json_object_get(item, "token")),
                     json_object_get(item, "logprob")))
            return false;
    }
    if (list == NULL) {
        json_object_foreach((json_t *)(uintptr_t)map, token, item)
        {
            if (!add_top(a, token, item))
                return false;
        }
    }
    return a->n_top > 0;
}

static bool finish_of(const json_t *value, um_finish *out)
{
    static const char *const stops[] = {"stop",     "eos",           "eos_token",
                                        "end_turn", "stop_sequence", "end"};
    const char *text = json_string_value(value);
    if (text == NULL)
        return false;
    *out = UM_FINISH_LENGTH;
    if (strcmp(text, "length") == 0 || strcmp(text, "max_tokens") == 0)
        return true;
    *out = UM_FINISH_STOP;
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        if (strcmp(text, stops[i]) == 0)
            return true;
    }
    return false;
}

/* The place of a choice, or NULL. */
static um_answer *place(um_reply *r, const json_t *item)
{
    const json_t *index = json_object_get(item, "index");
    json_int_t i = json_is_integer(index) ? json_integer_value(index) : -1;
    if (index == NULL && r->n == 1)
        i = 0;
    if (i < 0) {
        reject(r, "a choice has no index");
        return NULL;
    }
    if (i >= (json_int_t)r->n)
        return NULL; /* more than was asked for */
    if (r->answers[i].present) {
        reject(r, "two choices have one index");
        return NULL;
    }
    return &r->answers[i];
}

static um_status read_choice(um_reply *r, um_ask_kind kind, const json_t *choice, bool want_top,
                             um_error *err)
{
    um_answer a = {.present = true};
    um_answer *at = place(r, choice);
    const json_t *text = kind == UM_ASK_CHAT
                             ? json_object_get(json_object_get(choice, "message"), "content")
                             : json_object_get(choice, "text");
    const json_t *finish = json_object_get(choice, "finish_reason");
    char why[96];

    if (at == NULL)
        return UM_OK;
    if (!json_is_string(text)) {
        reject(r, json_is_null(text) ? "the content is null" : "there is no content");
        return UM_OK;
    }
    if (!finish_of(finish, &a.finish)) {
        snprintf(why, sizeof why, "the finish reason is %.40s",
                 json_is_string(finish) ? json_string_value(finish) : "null");
        reject(r, why);
        return UM_OK;
    }
    if (want_top && !read_top(&a, json_object_get(choice, "logprobs"))) {
        um_answer_dispose(&a);
        reject(r, "log-probabilities are missing or malformed");
        return UM_OK;
    }
    a.text = um_strdup(json_string_value(text));
    if (a.text == NULL) {
        um_answer_dispose(&a);
        return um_fail_memory(err, "an answer");
    }
    *at = a;
    r->n_present++;
    return UM_OK;
}

static um_status read_row(um_reply *r, const json_t *item, um_error *err)
{
    um_answer a = {.present = true};
    um_answer *at = place(r, item);
    const json_t *list = json_object_get(item, "embedding");
    size_t dim = json_array_size(list);

    if (at == NULL)
        return UM_OK;
    if (dim == 0 || dim > MAX_DIM) {
        reject(r, "an embedding is not a list of numbers");
        return UM_OK;
    }
    a.row = um_calloc(dim, sizeof *a.row);
    if (a.row == NULL)
        return um_fail_memory(err, "an embedding");
    a.dim = (uint32_t)dim;
    for (size_t i = 0; i < dim; i++) {
        const json_t *value = json_array_get(list, i);
        a.row[i] = (float)json_number_value(value);
        if (!json_is_number(value) || !isfinite(a.row[i])) {
            um_answer_dispose(&a);
            reject(r, "an embedding holds something that is not a number");
            return UM_OK;
        }
    }
    *at = a;
    r->n_present++;
    return UM_OK;
}

static uint32_t count_of(const json_t *usage, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(usage, key));
    return n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* The prompt's tokens go to the first answer, the others' are shares of the whole by bytes. */
static void share_tokens(um_reply *r, const json_t *usage)
{
    uint64_t total = count_of(usage, "completion_tokens"), bytes = 0, before = 0;
    bool first = true;
    r->usage = json_is_integer(json_object_get(usage, "prompt_tokens"));
    for (uint32_t i = 0; i < r->n; i++)
        bytes += r->answers[i].text != NULL ? strlen(r->answers[i].text) + 1 : 0;
    for (uint32_t i = 0; i < r->n; i++) {
        um_answer *a = &r->answers[i];
        if (!a->present)
            continue;
        if (first)
            a->prompt_tokens = count_of(usage, "prompt_tokens");
        first = false;
        if (a->text == NULL)
            continue;
        uint64_t after = before + strlen(a->text) + 1;
        a->completion_tokens = (uint32_t)(total * after / bytes - total * before / bytes);
        before = after;
    }
}

um_status um_reply_read(um_reply *out, um_ask_kind kind, const char *body, size_t len, uint32_t n,
                        bool want_top, um_error *err)
{
    json_t *root = NULL;
    um_reply r = {.n = n};
    um_status status = um_json_parse(&root, body, len, "the answer", err);
    if (status == UM_ERR_MEMORY)
        return status;
    if (status != UM_OK) {
        if (len > 0 && body[0] == '<')
            return um_fail(err, UM_ERR_REMOTE, "the answer is a web page, not JSON");
        return um_fail(err, UM_ERR_REMOTE, "the answer of %zu bytes is not JSON, or is cut short",
                       len);
    }
    const json_t *list = json_object_get(root, kind == UM_ASK_EMBEDDING ? "data" : "choices");
    json_t *item;
    size_t i;
    r.answers = um_calloc(n, sizeof *r.answers);
    if (r.answers == NULL) {
        json_decref(root);
        return um_fail_memory(err, "answers");
    }
    if (!json_is_array(list))
        status = um_fail(err, UM_ERR_REMOTE, "the answer has no list of %s",
                         kind == UM_ASK_EMBEDDING ? "data" : "choices");
    json_array_foreach(list, i, item)
    {
        if (status == UM_OK)
            status = kind == UM_ASK_EMBEDDING ? read_row(&r, item, err)
                                              : read_choice(&r, kind, item, want_top, err);
    }
    if (status == UM_OK && r.n_present < n)
        reject(&r, "fewer choices than asked for");
    if (status == UM_OK)
        share_tokens(&r, json_object_get(root, "usage"));
    json_decref(root);
    if (status != UM_OK) {
        um_reply_dispose(&r);
        return status;
    }
    *out = r;
    return UM_OK;
}

void um_complaint_read(um_complaint *out, const char *body, size_t len, const char *key)
{
    json_t *root = NULL;
    const char *message = NULL, *code = NULL;

    *out = (um_complaint){0};
    if (um_json_parse(&root, body, len, "", NULL) == UM_OK) {
        const json_t *error = json_object_get(root, "error");
        if (!json_is_object(error) && !json_is_string(error))
            error = root;
        message = json_is_string(error) ? json_string_value(error)
                                        : json_string_value(json_object_get(error, "message"));
        if (message == NULL)
            message = json_string_value(json_object_get(error, "detail"));
        code = json_string_value(json_object_get(error, "code"));
        if (code == NULL)
            code = json_string_value(json_object_get(error, "type"));
    } else if (len > 0 && body[0] != '<') {
        message = body;
    }
    um_secret_mask(out->message, sizeof out->message, message != NULL ? message : "", key);
    um_secret_mask(out->code, sizeof out->code, code != NULL ? code : "", key);
    json_decref(root);
}
