/* secret.c - API keys in memory, and nowhere else. */
#include "remote/secret.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define MAX_KEY_BYTES ((size_t)4096)
#define MIN_MASKED    6 /* shorter pieces that begin like a key are chance */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The first line of text without white space around it, as a key; what: where it came from. */
static um_status take_key(char **out, const char *text, const char *kind, const char *name,
                          um_error *err)
{
    while (is_blank(*text))
        text++;
    size_t n = strcspn(text, "\r\n");
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    if (n == 0)
        return um_fail(err, UM_ERR_INPUT, "API key: %s %s holds none; put the key into it", kind,
                       name);
    if (n > MAX_KEY_BYTES)
        return um_fail(err, UM_ERR_LIMIT, "API key: %s %s holds %zu bytes, limit %zu", kind, name,
                       n, MAX_KEY_BYTES);
    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return um_fail(err, UM_ERR_INPUT,
                           "API key: %s %s holds a byte that no key has, at %zu; give the key "
                           "alone",
                           kind, name, i);
    }
    *out = um_strndup(text, n);
    return *out != NULL ? UM_OK : um_fail_memory(err, "API key");
}

um_status um_secret_read(char **out, const char *variable, const char *path, um_error *err)
{
    *out = NULL;
    if (variable != NULL && path != NULL)
        return um_fail(err, UM_ERR_INPUT,
                       "API key: both a variable (%s) and a file (%s) are named; name one",
                       variable, path);
    if (variable != NULL) {
        const char *text = getenv(variable);
        if (text == NULL)
            return um_fail(err, UM_ERR_INPUT,
                           "API key: the environment has no variable %s; export it, or name none",
                           variable);
        return take_key(out, text, "variable", variable, err);
    }
    if (path == NULL)
        return UM_OK;
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, 2 * MAX_KEY_BYTES, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "API key");
    status = take_key(out, text, "file", path, err);
    explicit_bzero(text, len);
    free(text);
    return status;
}

void um_secret_free(char *key)
{
    if (key != NULL)
        explicit_bzero(key, strlen(key));
    free(key);
}

/* Length of the longest beginning of key that stands at text. */
static size_t common(const char *text, const char *key)
{
    size_t n = 0;
    while (key[n] != '\0' && text[n] == key[n])
        n++;
    return n;
}

void um_secret_mask(char *out, size_t size, const char *text, const char *key)
{
    size_t at = 0, key_len = key != NULL ? strlen(key) : 0;
    size_t least = key_len < MIN_MASKED ? key_len : MIN_MASKED;
    if (size == 0)
        return;
    while (is_blank(*text))
        text++;
    while (*text != '\0' && *text != '\n' && at + 1 < size) {
        size_t n = key_len > 0 ? common(text, key) : 0;
        if (n > 0 && n >= least) {
            for (int i = 0; i < 3 && at + 1 < size; i++)
                out[at++] = '*';
            text += n;
            continue;
        }
        unsigned char c = (unsigned char)*text++;
        out[at++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    /* A text that is cut ends with a whole character. */
    if (((unsigned char)*text & 0xc0) == 0x80) {
        while (at > 0 && ((unsigned char)out[at - 1] & 0xc0) == 0x80)
            at--;
        at -= at > 0 && ((unsigned char)out[at - 1] & 0x80) != 0;
    }
    out[at] = '\0';
}

bool um_secret_in(const char *text, size_t len, const char *key)
{
    return key != NULL && memmem(text, len, key, strlen(key)) != NULL;
}
