/*
 * gen_decisions.c - a workspace with as many scored decision processes as asked for, as predict
 * leaves it: what `mirrorer distill` is measured on. Texts are filler of a usual length, so that
 * the database is as wide as a real one; distributions, faults and letters are drawn.
 *
 *     gen_decisions WORKSPACE [SCENES [SAMPLES [TEXT_BYTES]]]     default 500000 10 900
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/str.h"
#include "mirrorer/workspace.h"

#define PER_TRANSACTION 5000

static const char *const sources[] = {"books", "films", "games", "music"};
static const char *const faults[] = {"truncated", "no stage", "unlisted factor", "factor count"};

typedef struct maker {
    um_workspace *ws;
    uint64_t models[2], predictor;
    uint32_t samples;
    char *scene_text, *process;
    um_error err;
} maker;

/* `bytes` of words between two texts; NULL when memory runs out. */
static char *filler(const char *before, size_t bytes, const char *after)
{
    static const char words[] = "I looked at the list and thought of what I liked last week. ";
    um_str s = UM_STR_INIT;
    char *text = NULL;
    um_str_append(&s, before);
    for (size_t i = 0; i < bytes; i++)
        um_str_append_char(&s, words[i % (sizeof words - 1)]);
    um_str_append(&s, after);
    if (um_str_take(&s, &text, NULL) != UM_OK)
        um_str_dispose(&s);
    return text;
}

/* A softmax of normal numbers whose spread is drawn for each text: sure and unsure ones. */
static void draw_p(um_rng *rng, double *p, uint32_t k)
{
    double sum = 0, spread = 3 * um_rng_uniform(rng);
    for (uint32_t j = 0; j < k; j++)
        sum += p[j] = exp(spread * um_rng_normal(rng));
    for (uint32_t j = 0; j < k; j++)
        p[j] /= sum;
}

static um_status put_decision(maker *m, um_rng *rng, uint64_t scene, uint32_t k, int side,
                              uint32_t sample)
{
    double p[26];
    bool bad = um_rng_uniform(rng) < 0.03;
    um_row_decision row = {.scene_id = scene,
                           .model_id = m->models[side],
                           .role = side == 0 ? UM_ROLE_TEACHER : UM_ROLE_STUDENT,
                           .sample = sample,
                           .text = m->process,
                           .finish = "stop",
                           .tokens = 220,
                           .form_error = bad ? faults[um_rng_below(rng, 4)] : NULL,
                           .said = um_rng_uniform(rng) < 0.01 ? 1 + um_rng_below(rng, k) : 0};
    um_row_distribution distribution = {.predictor_id = m->predictor, .k = k, .p = p};
    um_status status = um_workspace_put_decision(m->ws, &row, &m->err);
    draw_p(rng, p, k);
    if (status == UM_OK)
        status = um_workspace_decision_id(&distribution.decision_id, scene, row.model_id, row.role,
                                          sample, &m->err);
    if (status == UM_OK)
        status = um_workspace_put_distribution(m->ws, &distribution, &m->err);
    return status;
}

static um_status put_scene(maker *m, uint64_t scene)
{
    double p[26];
    um_rng rng;
    um_rng_init(&rng, 1, UM_RNG_TEST, scene, 0, 0);
    uint32_t k = 2 + um_rng_below(&rng, 11);
    um_row_scene row = {.id = scene,
                        .split = "train",
                        .dataset = sources[um_rng_below(&rng, 4)],
                        .user = scene / 4,
                        .user_id = "u",
                        .item_id = "i",
                        .timestamp_s = 1500000000 + (int64_t)scene,
                        .item_pos = um_rng_below(&rng, k),
                        .choice_cnt = k,
                        .impression_list = "[]",
                        .text = m->scene_text};
    um_status status = um_workspace_put_scene(m->ws, &row, &m->err);
    for (int side = 0; side < 2; side++) {
        for (uint32_t s = 0; s < m->samples && status == UM_OK; s++)
            status = put_decision(m, &rng, scene, k, side, s);
    }
    draw_p(&rng, p, k);
    um_row_direct direct = {.scene_id = scene, .predictor_id = m->predictor, .k = k, .p = p};
    return status == UM_OK ? um_workspace_put_direct(m->ws, &direct, &m->err) : status;
}

static um_status put_stages(maker *m)
{
    static const char *const names[] = {"ingest",         "scenes",         "base",
                                        "decide.teacher", "decide.student", "predict"};
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == UM_OK; i++) {
        um_row_stage row = {.name = names[i],
                            .parameters = "{}",
                            .fingerprint = "0",
                            .status = "done",
                            .detail = "{}"};
        status = um_workspace_put_stage(m->ws, &row, &m->err);
    }
    return status;
}

static um_status fill(maker *m, uint64_t scenes)
{
    static const char *const names[] = {"teacher", "base"};
    um_status status = UM_OK;
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        um_row_model row = {.name = names[i], .path = "", .hash = "0", .kind = "local"};
        status = um_workspace_model_id(&m->models[i], m->ws, &row, &m->err);
    }
    m->predictor = m->models[1];
    if (status == UM_OK)
        status = put_stages(m);
    for (uint64_t i = 0; i < scenes && status == UM_OK; i++) {
        if (i % PER_TRANSACTION == 0)
            status = um_workspace_begin(m->ws, &m->err);
        if (status == UM_OK)
            status = put_scene(m, i);
        if (status == UM_OK && (i + 1 == scenes || i % PER_TRANSACTION == PER_TRANSACTION - 1))
            status = um_workspace_commit(m->ws, &m->err);
    }
    return status;
}

int main(int argc, char **argv)
{
    int64_t numbers[] = {500000, 10, 900};
    maker m = {0};

    if (argc < 2 || argc > 5) {
        fprintf(stderr, "usage: gen_decisions WORKSPACE [SCENES [SAMPLES [TEXT_BYTES]]]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        if (!um_parse_i64(argv[i], &numbers[i - 2]) || numbers[i - 2] < 1) {
            fprintf(stderr, "gen_decisions: found '%s', need a number above 0\n", argv[i]);
            return 2;
        }
    }
    m.samples = (uint32_t)numbers[1];
    m.process = filler("", (size_t)numbers[2], "");
    m.scene_text = filler("{\"profile\":\"", 2 * (size_t)numbers[2],
                          "\",\"history\":\"\",\"action_list\":[]}");
    if (m.process == NULL || m.scene_text == NULL)
        return 1;
    um_status status = um_workspace_open(&m.ws, argv[1], UM_WORKSPACE_CREATE, &m.err);
    if (status == UM_OK)
        status = fill(&m, (uint64_t)numbers[0]);
    if (status != UM_OK)
        fprintf(stderr, "gen_decisions: %s\n", m.err.text);
    um_workspace_close(m.ws);
    free(m.process);
    free(m.scene_text);
    return status == UM_OK ? 0 : 1;
}
