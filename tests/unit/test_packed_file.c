/*
 * test_packed_file.c - weights packed in a file are, byte for byte, those packed from the floats;
 * what the file was not made from is noticed; a model without floats refuses what needs them.
 */
#include "model_util.h"

#include <math.h>

#include "base/file.h"
#include "base/mem.h"
#include "mirrorer/lora.h"
#include "model/packed_file.h"
#include "model/params.h"

static char dir[256];
static um_compute *compute;

static int set_up(void **state)
{
    um_error err;
    (void)state;
    return make_dir(dir, sizeof dir) == NULL ||
           um_compute_open(&compute, NULL, 2, &err) != UM_OK;
}

static int tear_down(void **state)
{
    (void)state;
    um_compute_close(compute);
    remove_dir(dir);
    return 0;
}

/* Widths that fill no panel and no block; more than one block. */
static um_model_config shape(um_architecture arch, bool tied)
{
    return (um_model_config){.arch = arch,
                             .vocab = 77,
                             .hidden = 288,
                             .layers = 2,
                             .heads = 6,
                             .kv_heads = 2,
                             .head_dim = 48,
                             .ffn = 300,
                             .max_positions = 64,
                             .rms_eps = 1e-5f,
                             .rope_theta = 10000,
                             .tied = tied,
                             .qkv_bias = arch == UM_ARCH_QWEN2,
                             .bos = -1,
                             .eos = -1};
}

static um_model *save_model(um_architecture arch, bool tied)
{
    const um_model_config config = shape(arch, tied);
    um_model *model;
    um_error err;
    assert_ok(um_model_init(&model, &config, 0.1f, 0.1f, 5, &err), err);
    /* Norms are 1 and biases 0 at first: all different now. */
    for (size_t i = 0; i < model->params.n; i += 3)
        model->data[i] += 0.001f * (float)(i % 97);
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    return model;
}

static void same_matrix(const um_packed *got, const um_packed *want, um_dtype dtype)
{
    assert_int_equal(got->dtype, dtype);
    assert_int_equal(got->n, want->n);
    assert_int_equal(got->k, want->k);
    assert_int_equal(got->pair, want->pair);
    assert_memory_equal(got->data, want->data,
                        um_packed_bytes(dtype, um_packed_outputs(want->n, want->pair), want->k));
}

static void check_matrices(const um_matrices *got, const um_matrices *want,
                           const um_model_config *config)
{
    const size_t c = (size_t)config->hidden * sizeof(float);
    const size_t q = (size_t)((config->heads + 2 * config->kv_heads) * config->head_dim);
    for (int l = 0; l < config->layers; l++) {
        const um_layer_matrices *a = &got->layers[l], *b = &want->layers[l];
        same_matrix(&a->qkv, &b->qkv, want->dtype);
        same_matrix(&a->o, &b->o, want->dtype);
        same_matrix(&a->gate_up, &b->gate_up, want->dtype);
        same_matrix(&a->down, &b->down, want->dtype);
        assert_memory_equal(a->attn_norm, b->attn_norm, c);
        assert_memory_equal(a->mlp_norm, b->mlp_norm, c);
        assert_int_equal(a->qkv_bias != NULL, config->qkv_bias);
        if (config->qkv_bias)
            assert_memory_equal(a->qkv_bias, b->qkv_bias, q * sizeof(float));
    }
    same_matrix(&got->head, &want->head, want->dtype);
    same_matrix(&got->embedding, &want->embedding, want->dtype);
    assert_memory_equal(got->final_norm, want->final_norm, c);
}

static void test_same_bytes(void **state)
{
    (void)state;
    static const um_dtype formats[] = {UM_BF16, UM_F16, UM_I8};
    for (int kind = 0; kind < 4; kind++) {
        um_model *model = save_model(kind % 2 ? UM_ARCH_QWEN2 : UM_ARCH_LLAMA, kind < 2);
        uint64_t hashes[3];
        for (size_t f = 0; f < 3; f++) {
            um_matrices want;
            um_model *packed, *again;
            um_error err;
            float logits[2][3 * 77];
            const int32_t ids[] = {1, 70, 3};
            assert_ok(um_matrices_pack(&want, compute->backend, model, formats[f], &err), err);
            assert_ok(um_model_open(&packed, dir, formats[f], compute, NULL, &err), err);
            assert_ok(um_model_open(&again, dir, formats[f], compute, NULL, &err), err);
            check_matrices(packed->packed, &want, &model->config);
            check_matrices(again->packed, &want, &model->config);
            hashes[f] = um_model_hash(packed);
            assert_true(um_model_hash(again) == hashes[f]);
            assert_ok(um_model_logits(packed, compute, ids, 3, logits[0], &err), err);
            assert_ok(um_model_logits(model, compute, ids, 3, logits[1], &err), err);
            double size = 0, difference = 0;
            for (int i = 0; i < 3 * 77; i++) {
                const double d = (double)logits[0][i] - (double)logits[1][i];
                difference += d * d;
                size += (double)logits[1][i] * (double)logits[1][i];
            }
            assert_true(difference > 0 && difference < 4e-4 * size);
            um_matrices_dispose(&want, compute->backend);
            um_model_free(packed);
            um_model_free(again);
        }
        assert_true(hashes[0] != hashes[1] && hashes[1] != hashes[2]);
        um_model_free(model);
    }
}

static void expect_state(um_status status, const um_error *err)
{
    if (status != UM_ERR_STATE || strstr(err->text, "for answering only") == NULL)
        fail_msg("%s: '%s'", um_status_name(status), err->text);
}

static void test_needs_floats(void **state)
{
    (void)state;
    um_model *model = save_model(UM_ARCH_LLAMA, true), *packed, *copy;
    um_lora *lora;
    um_error err;
    const um_lora_options options = {.rank = 2, .alpha = 4, .targets = 1};
    assert_ok(um_model_open(&packed, dir, UM_I8, compute, NULL, &err), err);
    assert_ok(um_lora_new(&lora, um_model_get_config(model), &options, &err), err);
    expect_state(um_model_save(packed, NULL, dir, &err), &err);
    expect_state(um_model_clone(&copy, packed, &err), &err);
    expect_state(um_lora_merge(packed, lora, &err), &err);
    um_lora_free(lora);
    um_model_free(packed);
    um_model_free(model);
}

/* A file is refused when it is not of this model, and made again by um_model_open. */
static void test_stale(void **state)
{
    (void)state;
    um_model *model = save_model(UM_ARCH_LLAMA, true), *other, *packed;
    um_error err;
    assert_ok(um_model_pack(dir, UM_I8, compute, NULL, &err), err);
    um_model empty = {.config = model->config, .params = model->params};
    assert_int_equal(um_packed_file_map(&empty, dir, UM_BF16, compute, &err), UM_ERR_NOT_FOUND);
    other = save_model(UM_ARCH_LLAMA, false);
    um_model of_other = {.config = other->config, .params = other->params};
    assert_int_equal(um_packed_file_map(&of_other, dir, UM_I8, compute, &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "made from other files"));
    assert_ok(um_model_open(&packed, dir, UM_I8, compute, NULL, &err), err);
    um_model_free(packed);

    /* Weights that are no numbers are refused as um_model_load refuses them; no file is left. */
    other->data[other->params.layers[1].down + 7] = NAN;
    assert_ok(um_model_save(other, NULL, dir, &err), err);
    char path[400];
    snprintf(path, sizeof path, "%s/mirrorer-f16.packed", dir);
    assert_int_equal(um_model_open(&packed, dir, UM_F16, compute, NULL, &err), UM_ERR_NUMERIC);
    assert_non_null(strstr(err.text, "model.layers.1.mlp.down_proj.weight\" element 7 is NaN"));
    assert_false(um_path_exists(path));
    um_model_free(other);
    um_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_needs_floats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stale, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
