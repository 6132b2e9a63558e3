/*
 * golden_file.h - reader of the record files tests/golden/gen_train.py writes (format described
 * there), and the model they hold.
 */
#ifndef UM_GOLDEN_FILE_H
#define UM_GOLDEN_FILE_H

#include <math.h>
#include <stdbool.h>

#include "base/mem.h"
#include "mirrorer/train.h"
#include "model/params.h"
#include "test_util.h"

typedef struct golden_record {
    char name[120];
    uint32_t kind, n;
    float *f;   /* kind 0 */
    int32_t *i; /* kind 1 */
} golden_record;

typedef struct golden {
    golden_record records[128];
    int n;
    um_train_row rows[16];
    int n_rows;
} golden;

static inline const golden_record *golden_find(const golden *g, const char *name)
{
    for (int i = 0; i < g->n; i++) {
        if (strcmp(g->records[i].name, name) == 0)
            return &g->records[i];
    }
    fail_msg("golden record '%s' is absent", name);
    return NULL;
}

static inline bool golden_has(const golden *g, const char *name)
{
    for (int i = 0; i < g->n; i++) {
        if (strcmp(g->records[i].name, name) == 0)
            return true;
    }
    return false;
}

static inline void golden_read_rows(golden *g)
{
    const golden_record *record = golden_find(g, "rows");
    const int32_t *at = record->i, *end = at + record->n;
    while (at < end) {
        um_train_row *row = &g->rows[g->n_rows];
        row->id = 100 + (uint64_t)g->n_rows++;
        row->prompt_len = at[0];
        row->train_prompt = at[1] != 0;
        row->n_completions = at[2];
        at += 3;
        for (int c = 0; c < row->n_completions; c++)
            row->completion_len[c] = *at++;
        row->prompt = at;
        at += row->prompt_len;
        for (int c = 0; c < row->n_completions; c++) {
            row->completions[c] = at;
            at += row->completion_len[c];
        }
    }
    assert_ptr_equal(at, end);
}

static inline golden *golden_open(const char *name)
{
    char path[512], magic[8];
    snprintf(path, sizeof path, "%s/tests/golden/%s", UM_SOURCE_DIR, name);
    FILE *f = fopen(path, "rb");
    golden *g = calloc(1, sizeof *g);
    if (f == NULL || g == NULL)
        fail_msg("cannot read %s", path);
    assert_int_equal(fread(magic, 1, 8, f), 8);
    assert_memory_equal(magic, "UMGOLD1\n", 8);
    uint32_t length;
    while (fread(&length, 4, 1, f) == 1) {
        golden_record *r = &g->records[g->n++];
        uint32_t head[2];
        assert_true(g->n <= 128 && length < sizeof r->name);
        assert_int_equal(fread(r->name, 1, length, f), length);
        assert_int_equal(fread(head, 4, 2, f), 2);
        r->kind = head[0];
        r->n = head[1];
        void *data = malloc((size_t)r->n * 4);
        assert_non_null(data);
        assert_int_equal(fread(data, 4, r->n, f), r->n);
        if (r->kind == 0)
            r->f = data;
        else
            r->i = data;
    }
    fclose(f);
    golden_read_rows(g);
    return g;
}

static inline void golden_close(golden *g)
{
    for (int i = 0; i < g->n; i++) {
        free(g->records[i].f);
        free(g->records[i].i);
    }
    free(g);
}

static inline um_model_config golden_config(const golden *g)
{
    const int32_t *i = golden_find(g, "config")->i;
    const float *f = golden_find(g, "config_real")->f;
    return (um_model_config){.arch = i[0] == 0 ? UM_ARCH_LLAMA : UM_ARCH_QWEN2,
                             .vocab = i[1],
                             .hidden = i[2],
                             .layers = i[3],
                             .heads = i[4],
                             .kv_heads = i[5],
                             .head_dim = i[6],
                             .ffn = i[7],
                             .max_positions = i[8],
                             .tied = i[9] != 0,
                             .qkv_bias = i[10] != 0,
                             .rope_scaling = i[11] == 2 ? UM_ROPE_LLAMA3 : UM_ROPE_NONE,
                             .rms_eps = f[0],
                             .rope_theta = f[1],
                             .rope_factor = f[2],
                             .rope_low = f[3],
                             .rope_high = f[4],
                             .rope_original = f[5],
                             .bos = -1,
                             .eos = -1};
}

/* The model with the starting weights; free with um_model_free. */
static inline um_model *golden_model(const golden *g)
{
    um_error err;
    um_model_config config = golden_config(g);
    um_model *model;
    assert_ok(um_model_init(&model, &config, 0.02f, 0.02f, 0, &err), err);
    um_tensor_ref *tensors;
    size_t n;
    assert_ok(um_params_tensors(&tensors, &n, &model->params, &config, &err), err);
    for (size_t t = 0; t < n; t++) {
        char name[120];
        snprintf(name, sizeof name, "w.%s", tensors[t].name);
        const golden_record *r = golden_find(g, name);
        int cols = tensors[t].cols == 0 ? 1 : tensors[t].cols;
        assert_int_equal(r->n, tensors[t].rows * cols);
        memcpy(model->data + tensors[t].offset, r->f, (size_t)r->n * 4);
    }
    free(tensors);
    return model;
}

/* The largest |a - b| / |b| over the tensors named <prefix><tensor>; those without a record are
 * passed over. Key biases only when asked: attention hardly sees them (a constant added to all
 * scores of a row cancels), so their gradients are rounding noise, which Adam scales up. */
static inline double golden_distance(const golden *g, const um_model *model, const float *block,
                                     const char *prefix, bool key_biases)
{
    um_error err;
    um_tensor_ref *tensors;
    size_t n, compared = 0;
    double worst = 0;
    assert_ok(um_params_tensors(&tensors, &n, &model->params, &model->config, &err), err);
    for (size_t t = 0; t < n; t++) {
        char name[120];
        snprintf(name, sizeof name, "%s%s", prefix, tensors[t].name);
        if (!golden_has(g, name) || (!key_biases && strstr(name, "k_proj.bias") != NULL))
            continue;
        const golden_record *r = golden_find(g, name);
        const float *a = block + tensors[t].offset;
        double off = 0, size = 0;
        for (uint32_t i = 0; i < r->n; i++) {
            off += ((double)a[i] - (double)r->f[i]) * ((double)a[i] - (double)r->f[i]);
            size += (double)r->f[i] * (double)r->f[i];
        }
        double distance = sqrt(off / (size + 1e-30));
        if (!(distance <= worst))
            worst = distance;
        compared++;
    }
    free(tensors);
    assert_true(compared > 0);
    return worst;
}

#endif
