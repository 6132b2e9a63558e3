/* Against an endpoint behind TLS: test_remote_tls PORT CERTIFICATE VERSION (tls.sh starts it). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mirrorer/remote.h"

#define ROWS 40

static uint32_t got;

static um_status take(void *context, const um_completion *c, um_error *err)
{
    (void)context;
    (void)c;
    (void)err;
    got++;
    return UM_OK;
}

static um_status run(const char *host, const char *port, const char *certificate, um_error *err)
{
    static const um_message message = {"user", "Which one?"};
    const um_sampling sampling = {.seed = 1, .temperature = 1, .top_p = 1, .max_tokens = 20};
    char url[64];
    um_remote *remote = NULL;
    um_responder *r = NULL;
    um_remote_options o;
    um_prompt prompts[ROWS];
    um_remote_options_init(&o);
    o.ca_file = certificate;
    o.retries = 1;
    o.backoff_ms = 10;
    o.max_choices = 1;
    for (size_t i = 0; i < ROWS; i++)
        prompts[i] = (um_prompt){.key = i, .messages = &message, .n_messages = 1, .k = 2};
    snprintf(url, sizeof url, "https://%s:%s/v1", host, port);
    const um_remote_endpoint e = {.base_url = url, .model = "fault", .key_env = "FAULT_KEY"};
    got = 0;
    um_status status = um_remote_open(&remote, &e, 1, &o, err);
    if (status == UM_OK)
        status = um_remote_responder_open(&r, remote, NULL, NULL, NULL, err);
    if (status == UM_OK)
        status =
            r->ops->complete(r, prompts, ROWS, 0, 4, &sampling, NULL, 0, take, NULL, NULL, err);
    um_responder_free(r);
    um_remote_free(remote);
    return status;
}

static int wrong(const char *what, const um_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return 1;
}

int main(int argc, char **argv)
{
    um_error err = {0};
    if (argc != 4 || setenv("FAULT_KEY", "sk-test-0123456789", 1) != 0)
        return 2;
    if (run("127.0.0.1", argv[1], argv[2], &err) != UM_OK || got != ROWS * 4)
        return wrong("a trusted endpoint fails", &err);
    if (run("127.0.0.1", argv[1], NULL, &err) != UM_ERR_REMOTE ||
        strstr(err.text, "certificate not trusted") == NULL)
        return wrong("a foreign certificate is not refused", &err);
    /* The certificate is for 127.0.0.1 alone. */
    if (run("localhost", argv[1], argv[2], &err) != UM_ERR_REMOTE ||
        strstr(err.text, "certificate not trusted") == NULL)
        return wrong("a certificate of another name is not refused", &err);
    return 0;
}
