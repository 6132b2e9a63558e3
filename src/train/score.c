/* score.c - log-likelihood of completions under a model, in packed passes and without training. */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "mirrorer/train.h"
#include "train/pack.h"

typedef struct scorer {
    const um_model *model;
    const um_train_row *rows;
    um_on_row_score on_score;
    void *context;
    um_graph *graph;
    um_pack pack;
    float *logp; /* [max_trained] */
} scorer;

static um_status flush(scorer *s, um_error *err)
{
    um_status status = um_graph_forward(s->graph, s->model->data, &s->pack.batch, s->logp, err);

    for (int p = 0; p < s->pack.n_placed && status == UM_OK; p++) {
        const um_placed *placed = &s->pack.placed[p];
        const um_train_row *row = &s->rows[placed->row];
        double sums[2] = {0, 0};
        for (int c = 0; c < row->n_completions; c++) {
            for (int i = 0; i < placed->completion_count[c]; i++)
                sums[c] += (double)s->logp[placed->completion_first[c] + i];
            if (!isfinite(sums[c]))
                return um_fail(err, UM_ERR_NUMERIC, "row %llu has the log-probability %g",
                               (unsigned long long)row->id, sums[c]);
        }
        status = s->on_score(s->context, placed->row, sums, err);
    }
    um_pack_clear(&s->pack);
    return status;
}

/* The sizes of a pass that holds any of the rows, and of one filled to pass_tokens. */
static um_status measure(const um_train_row *rows, size_t n, int pass_tokens, um_row_size *largest,
                         um_error *err)
{
    um_status status = UM_OK;
    *largest = (um_row_size){.batch_rows = pass_tokens, .trained = pass_tokens};
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        um_row_size size;
        status = um_row_measure(&size, &rows[i], err);
        if (status == UM_OK && size.batch_rows > largest->batch_rows)
            largest->batch_rows = size.batch_rows;
        if (status == UM_OK && size.trained > largest->trained)
            largest->trained = size.trained;
    }
    return status;
}

um_status um_score_rows(const um_model *model, um_compute *compute, const um_train_row *rows,
                        size_t n, int pass_tokens, um_on_row_score on_score, void *context,
                        const um_monitor *monitor, um_error *err)
{
    scorer s = {.model = model, .rows = rows, .on_score = on_score, .context = context};
    um_row_size largest;
    um_status status = measure(rows, n, pass_tokens, &largest, err);

    if (status != UM_OK || n == 0)
        return status;
    const um_graph_sizes sizes = {.max_rows = largest.batch_rows,
                                  .max_trained = largest.trained,
                                  .recompute = model->config.layers - 1};
    if ((status = um_graph_new(&s.graph, &model->config, compute, &sizes, err)) != UM_OK ||
        (status = um_pack_init(&s.pack, largest.batch_rows, largest.trained, largest.batch_rows,
                               err)) != UM_OK)
        goto done;
    s.logp = um_calloc((size_t)largest.trained, sizeof *s.logp);
    if (s.logp == NULL)
        status = um_fail_memory(err, "scores");
    um_pack_clear(&s.pack);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        um_row_size size;
        status = um_row_measure(&size, &rows[i], err);
        if (status == UM_OK && s.pack.n_placed > 0 && !um_pack_has_room(&s.pack, &size)) {
            status = flush(&s, err);
            if (status == UM_OK && um_monitor_stopped(monitor))
                status = um_fail(err, UM_ERR_INTERRUPTED, "scoring was asked to stop");
        }
        if (status == UM_OK)
            status = um_pack_add(&s.pack, &rows[i], i, err);
    }
    if (status == UM_OK && s.pack.n_placed > 0)
        status = flush(&s, err);
done:
    um_pack_dispose(&s.pack);
    um_graph_free(s.graph);
    free(s.logp);
    return status;
}
