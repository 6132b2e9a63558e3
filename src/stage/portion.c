#include "stage/portion.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define PORTION_MS 500

um_status um_portion_open(um_portion *p, um_error *err)
{
    if (p->open)
        return UM_OK;
    um_status status = um_workspace_begin(p->run->session->ws, err);
    p->open = status == UM_OK;
    p->begun_ms = um_clock_ms();
    return status;
}

um_status um_portion_close(um_portion *p, bool now, um_error *err)
{
    if (!p->open || (!now && um_clock_ms() - p->begun_ms < PORTION_MS))
        return UM_OK;
    um_status status = um_run_save(p->run, false, err);
    if (status == UM_OK)
        status = um_workspace_commit(p->run->session->ws, err);
    p->open = status != UM_OK;
    return status;
}

um_status um_portion_end(um_portion *p, um_status status, um_error *err)
{
    if (status == UM_OK || status == UM_ERR_INTERRUPTED || status == UM_ERR_REMOTE ||
        status == UM_ERR_LIMIT) {
        um_error first = err != NULL ? *err : (um_error){0};
        um_status closed = um_portion_close(p, true, err);
        if (closed != UM_OK)
            status = closed; /* what was about to be called saved is not */
        else if (err != NULL)
            *err = first;
    }
    if (p->open)
        um_workspace_rollback(p->run->session->ws);
    return status;
}

size_t um_portion_scenes(size_t least, size_t per_request, const um_config *config)
{
    size_t n = (size_t)config->remote.concurrency * per_request;
    return n > least ? n : least;
}

um_status um_share_read(um_share *out, const um_config *config, um_error *err)
{
    const char *text = config->run.shard, *slash = strchr(text, '/');
    char first[24] = "";
    int64_t index = 1, count = 1;

    if (slash != NULL && slash - text < (ptrdiff_t)sizeof first)
        memcpy(first, text, (size_t)(slash - text));
    if (text[0] != '\0' && (slash == NULL || !um_parse_i64(first, &index) ||
                            !um_parse_i64(slash + 1, &count) || index < 1 || index > count))
        return um_fail(err, UM_ERR_INPUT,
                       "shard '%s': need i/n with 1 <= i <= n, such as 1/4 for the first of four",
                       text);
    *out = (um_share){(uint64_t)index - 1, (uint64_t)count,
                      config->run.limit > 0 ? (uint64_t)config->run.limit : UINT64_MAX};
    return UM_OK;
}

void um_share_report(um_run *run, uint64_t left)
{
    const char *shard = run->session->config->run.shard;
    if (left == 0)
        return;
    if (shard[0] != '\0')
        um_monitor_message(run->session->monitor,
                           "  shard %s is done, %llu %s are other shards'; `mirrorer merge` joins "
                           "their workspaces",
                           shard, (unsigned long long)left, run->info->unit);
    else
        um_monitor_message(run->session->monitor, "  the limit is reached, %llu %s are left",
                           (unsigned long long)left, run->info->unit);
}
