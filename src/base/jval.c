#include "base/jsonl.h"

bool um_jval_get(um_jval object, const char *key, um_jval *out)
{
    const um_jdoc *d = object.document;
    size_t len = strlen(key);
    if (um_jdoc_kind(object) != '{')
        return false;
    for (size_t at = object.at + 1, end = um_jdoc_after(d, object.at) - 1; at < end;
         at = um_jdoc_after(d, at + 1)) {
        size_t name_len = 0;
        const char *name = um_jdoc_string(d, at, &name_len);
        if (name_len == len && memcmp(name, key, len) == 0) {
            *out = (um_jval){d, at + 1};
            return true;
        }
    }
    return false;
}

static void dump_container(um_str *out, um_jval v, char open, char close)
{
    um_jiter it = um_jval_iter(v);
    um_jval element;
    const char *key = NULL;
    um_str_append_char(out, open);
    for (size_t i = 0; um_jiter_next(&it, &key, &element); i++) {
        if (i > 0)
            um_str_append_char(out, ',');
        if (key != NULL) {
            um_str_append_json(out, key);
            um_str_append_char(out, ':');
        }
        um_jval_dump(out, element);
    }
    um_str_append_char(out, close);
}

static void append_integer(um_str *out, int64_t value)
{
    char text[24], *p = text + sizeof text;
    uint64_t n = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--p = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    if (value < 0)
        *--p = '-';
    um_str_append_n(out, p, (size_t)(text + sizeof text - p));
}

/* A text without escapes, as it stood in the file. */
static void append_plain(um_str *out, const char *text, size_t len)
{
    char *at = um_str_extend(out, len + 2);
    if (at == NULL)
        return;
    at[0] = at[len + 1] = '"';
    memcpy(at + 1, text, len);
}

void um_jval_dump(um_str *out, um_jval v)
{
    const char *text = NULL;
    size_t len = 0;
    int64_t whole = 0;
    double real = 0;
    switch (um_jval_type(v)) {
    case UM_J_OBJECT:
        dump_container(out, v, '{', '}');
        break;
    case UM_J_ARRAY:
        dump_container(out, v, '[', ']');
        break;
    case UM_J_STRING:
        (void)um_jval_str(v, &text, &len);
        if (v.document->is_plain)
            append_plain(out, text, len);
        else
            um_str_append_json_n(out, text, len);
        break;
    case UM_J_INT:
        (void)um_jval_i64(v, &whole);
        append_integer(out, whole);
        break;
    case UM_J_REAL:
        (void)um_jval_f64(v, &real);
        um_str_append_number(out, real);
        break;
    case UM_J_BOOL:
        um_str_append(out, um_jdoc_kind(v) == 't' ? "true" : "false");
        break;
    case UM_J_NULL:
        um_str_append(out, "null");
        break;
    }
}
