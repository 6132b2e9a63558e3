/* show.c - what a run shows while it works. */
#include <stdio.h>
#include <string.h>

#include "remote/run.h"

#define SHOW_MS 200

void um_runner_show(um_runner *r, uint64_t now, bool last)
{
    const um_remote_totals *t = &r->remote->totals;
    char detail[192], money[48] = "", retry[64] = "";
    if (!last && now - r->shown_ms < SHOW_MS)
        return;
    r->shown_ms = now;
    uint64_t answers = t->answers - r->answers_before, failed = t->failed - r->failed_before;
    uint64_t resumed = t->replayed - r->replayed_before;
    double seconds = (double)(now - r->begun_ms) / 1000;
    double rate =
        seconds > 0.05
            ? (double)(t->prompt_tokens + t->completion_tokens - r->tokens_before) / seconds
            : 0;
    bool paid = false;
    for (size_t i = 0; i < r->remote->n_endpoints; i++)
        paid = paid || r->remote->endpoints[i].prompt_price > 0 ||
               r->remote->endpoints[i].completion_price > 0;
    if (paid)
        snprintf(money, sizeof money, ", $%.2f", r->remote->options.spent + r->remote->cost);
    if (r->later.n > 0)
        snprintf(retry, sizeof retry, ", %zu in retry", r->later.n);
    snprintf(detail, sizeof detail, rate >= 1000 ? "%.0fk tok/s%s%s" : "%.0f tok/s%s%s",
             rate >= 1000 ? rate / 1000 : rate, money, retry);
    if (failed > 0)
        snprintf(detail + strlen(detail), sizeof detail - strlen(detail), ", %llu failed",
                 (unsigned long long)failed);
    const um_progress progress = {.stage = r->task->stage,
                                  .unit = "answers",
                                  .done = answers + resumed + failed,
                                  .total = r->task->total,
                                  .resumed = resumed,
                                  .detail = detail};
    um_monitor_progress(r->monitor, &progress);
}
