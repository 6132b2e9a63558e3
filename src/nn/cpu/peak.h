/*
 * peak.h - what the machine can do at most, measured: dot products of a format from registers and
 * the L1 cache. Included by every vector backend.
 */
#ifndef UM_NN_CPU_PEAK_H
#define UM_NN_CPU_PEAK_H

enum { PEAK_SUMS = 8, PEAK_ROUNDS = 1 << 12 };

typedef struct peak_job {
    um_backend *be;
    um_dtype dtype;
    int repeats;
} peak_job;

/* Operations of one round. */
static double peak_ops(um_dtype dtype)
{
    const double rounds = PEAK_ROUNDS;
#ifdef __AMX_TILE__
    if (dtype == UM_BF16 || dtype == UM_I8)
        return rounds / 64 * 4 * 2 * 16 * 16 * (dtype == UM_I8 ? UM_STEP_I8 : UM_STEP_BF16);
#endif
#ifdef SIMD_BF16_TERMS
    if (dtype == UM_BF16)
        return rounds * PEAK_SUMS * VL * 2 * 2;
#endif
    return rounds * PEAK_SUMS * VL * 2 * (dtype == UM_I8 ? 4 : 1);
}

/* Independent chains of what a product of this format is made of. */
static void peak_round(um_dtype dtype, float *memory)
{
#ifdef __AMX_TILE__
    if (dtype == UM_BF16 || dtype == UM_I8) {
        _tile_loadd(4, memory, 64);
        _tile_loadd(5, memory + 256, 64);
        _tile_loadd(6, memory + 512, 64);
        _tile_loadd(7, memory + 768, 64);
        for (int i = 0; i < PEAK_ROUNDS / 64; i++) {
            if (dtype == UM_BF16) {
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            } else {
                _tile_dpbssd(0, 4, 6);
                _tile_dpbssd(1, 4, 7);
                _tile_dpbssd(2, 5, 6);
                _tile_dpbssd(3, 5, 7);
            }
        }
        return;
    }
#endif
    if (dtype == UM_I8) {
        vi sum[PEAK_SUMS];
        const vi_weights w = vi_load((const int8_t *)memory);
        UNROLL
        for (int j = 0; j < PEAK_SUMS; j++)
            sum[j] = vi_set(j);
        for (int i = 0; i < PEAK_ROUNDS; i++) {
            UNROLL
            for (int j = 0; j < PEAK_SUMS; j++)
                sum[j] = vi_dot(sum[j], w, (const int8_t *)memory + 64 + 4 * j);
        }
        UNROLL
        for (int j = 0; j < PEAK_SUMS; j++)
            vf_store(memory + j * VL, vi_float(sum[j]));
        return;
    }
    vf sum[PEAK_SUMS];
    const vf x = vf_set(memory[0]), y = vf_set(memory[1]);
    UNROLL
    for (int j = 0; j < PEAK_SUMS; j++)
        sum[j] = vf_set((float)j);
#ifdef SIMD_BF16_TERMS
    for (int i = 0; i < PEAK_ROUNDS && dtype == UM_BF16; i++) {
        UNROLL
        for (int j = 0; j < PEAK_SUMS; j++)
            sum[j] = vf_dot(x, y, sum[j]);
    }
    const int rounds = dtype == UM_BF16 ? 0 : PEAK_ROUNDS;
#else
    const int rounds = PEAK_ROUNDS;
#endif
    for (int i = 0; i < rounds; i++) {
        UNROLL
        for (int j = 0; j < PEAK_SUMS; j++)
            sum[j] = vf_fma(sum[j], x, y);
    }
    UNROLL
    for (int j = 0; j < PEAK_SUMS; j++)
        vf_store(memory + j * VL, sum[j]);
}

static void peak_threads(void *ctx, size_t begin, size_t end, int thread)
{
    const peak_job *job = ctx;
    float *memory = um_cpu_thread_scratch(job->be, thread);
    memset(memory, 0, 1024 * sizeof *memory);
    block_begin();
    for (size_t t = begin; t < end; t++) {
        for (int i = 0; i < job->repeats; i++)
            peak_round(job->dtype, memory);
    }
    block_end();
}

static double simd_dot_ops(um_backend *be, um_dtype dtype, int repeats)
{
    peak_job job = {be, dtype, repeats};
    const int threads = um_pool_threads(be->pool);
    um_pool_run(be->pool, (size_t)threads, 1, peak_threads, &job);
    return peak_ops(dtype) * threads * repeats;
}

#endif
