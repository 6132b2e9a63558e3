/* answer.c - the stored form of an answer. */
#include "remote/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

_Static_assert(sizeof(float) == 4, "rows are stored as 32-bit floats");

void um_answer_dispose(um_answer *a)
{
    free(a->text);
    free(a->top);
    free(a->row);
    *a = (um_answer){0};
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static unsigned char row_byte(const float *row, size_t i)
{
    uint32_t bits;
    memcpy(&bits, &row[i / 4], sizeof bits);
    return (unsigned char)(bits >> 8 * (i % 4));
}

static void write_base64(um_str *out, const float *row, uint32_t dim)
{
    size_t n = (size_t)dim * 4;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = (uint32_t)row_byte(row, i) << 16;
        bits |= i + 1 < n ? (uint32_t)row_byte(row, i + 1) << 8 : 0;
        bits |= i + 2 < n ? (uint32_t)row_byte(row, i + 2) : 0;
        const char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63],
                              i + 1 < n ? digits[bits >> 6 & 63] : '=',
                              i + 2 < n ? digits[bits & 63] : '='};
        um_str_append_n(out, four, 4);
    }
}

void um_answer_write(um_str *out, const um_answer *a)
{
    um_str_append_char(out, '{');
    if (a->row != NULL) {
        um_str_append(out, "\"row\":\"");
        write_base64(out, a->row, a->dim);
        um_str_append(out, "\",");
    } else {
        um_str_append(out, "\"text\":");
        um_str_append_json(out, a->text);
        um_str_append(out, a->finish == UM_FINISH_LENGTH ? ",\"finish\":\"length\","
                                                         : ",\"finish\":\"stop\",");
    }
    um_str_appendf(out, "\"tokens\":[%u,%u]", a->prompt_tokens, a->completion_tokens);
    for (size_t i = 0; i < a->n_top; i++) {
        um_str_append(out, i == 0 ? ",\"top\":[[" : ",[");
        um_str_append_json(out, a->top[i].token);
        um_str_append_char(out, ',');
        um_str_append_number(out, a->top[i].logprob);
        um_str_append_char(out, ']');
    }
    um_str_append(out, a->n_top > 0 ? "]}" : "}");
}

static int digit_value(char c)
{
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static um_status bad(um_error *err, const char *what)
{
    return um_fail(err, UM_ERR_INPUT,
                   "stored answer: %s; the journal was changed or is of another version", what);
}

static um_status read_base64(um_answer *a, const char *text, size_t len, um_error *err)
{
    if (len == 0 || len % 4 != 0)
        return bad(err, "its row is not base64");
    size_t n = len / 4 * 3 - (text[len - 1] == '=') - (text[len - 2] == '=');
    unsigned char *bytes = um_calloc(len / 4 * 3, 1);
    a->row = um_calloc(n / 4 + 1, sizeof *a->row);
    if (bytes == NULL || a->row == NULL) {
        free(bytes);
        return um_fail_memory(err, "a row");
    }
    bool good = n % 4 == 0;
    for (size_t i = 0; i < len && good; i += 4) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 4; j++) {
            bool pad = text[i + j] == '=' && i + 4 == len && j >= 2;
            int value = pad ? 0 : digit_value(text[i + j]);
            good = good && value >= 0;
            bits = bits << 6 | (uint32_t)(value & 63);
        }
        for (size_t j = 0; j < 3; j++)
            bytes[i / 4 * 3 + j] = (unsigned char)(bits >> 8 * (2 - j));
    }
    for (size_t i = 0; i < n / 4 && good; i++) {
        const unsigned char *b = bytes + 4 * i;
        uint32_t bits =
            (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        memcpy(&a->row[i], &bits, sizeof bits);
    }
    a->dim = (uint32_t)(n / 4);
    free(bytes);
    return good ? UM_OK : bad(err, "its row is not base64");
}

static um_status read_top(um_answer *a, const json_t *list, um_error *err)
{
    size_t n = json_array_size(list);
    if (list == NULL)
        return UM_OK;
    if (!json_is_array(list) || n == 0 || n > UM_TOP_MAX)
        return bad(err, "its listed tokens are not 1 to 64");
    a->top = um_calloc(n, sizeof *a->top);
    if (a->top == NULL)
        return um_fail_memory(err, "listed tokens");
    a->n_top = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        const char *token = json_string_value(json_array_get(pair, 0));
        const json_t *value = json_array_get(pair, 1);
        if (token == NULL || strlen(token) >= UM_TOP_BYTES || !json_is_number(value))
            return bad(err, "a listed token is not [text, number]");
        memcpy(a->top[i].token, token, strlen(token) + 1);
        a->top[i].logprob = json_number_value(value);
    }
    return UM_OK;
}

static um_status read_members(um_answer *a, const json_t *root, um_error *err)
{
    const json_t *tokens = json_object_get(root, "tokens");
    const json_t *row = json_object_get(root, "row");
    const char *text = json_string_value(json_object_get(root, "text"));
    const char *finish = json_string_value(json_object_get(root, "finish"));
    json_int_t prompt = json_integer_value(json_array_get(tokens, 0));
    json_int_t completion = json_integer_value(json_array_get(tokens, 1));

    if (json_array_size(tokens) != 2 || prompt < 0 || completion < 0 || prompt > UINT32_MAX ||
        completion > UINT32_MAX)
        return bad(err, "its token counts are not two numbers");
    a->prompt_tokens = (uint32_t)prompt;
    a->completion_tokens = (uint32_t)completion;
    if (json_is_string(row))
        return read_base64(a, json_string_value(row), json_string_length(row), err);
    if (text == NULL || finish == NULL ||
        (strcmp(finish, "stop") != 0 && strcmp(finish, "length") != 0))
        return bad(err, "it has neither a row, nor a text with a finish");
    a->finish = strcmp(finish, "length") == 0 ? UM_FINISH_LENGTH : UM_FINISH_STOP;
    a->text = um_strdup(text);
    if (a->text == NULL)
        return um_fail_memory(err, "an answer");
    return read_top(a, json_object_get(root, "top"), err);
}

um_status um_answer_read(um_answer *out, const char *json, size_t len, um_error *err)
{
    json_t *root = NULL;
    um_answer a = {.present = true};
    um_status status = um_json_parse(&root, json, len, "stored answer", err);
    if (status == UM_OK)
        status = read_members(&a, root, err);
    json_decref(root);
    if (status != UM_OK) {
        um_answer_dispose(&a);
        return status;
    }
    *out = a;
    return UM_OK;
}
