/*
 * cpu.h - what the CPU backends share: memory, row copies, work splitting, per-thread scratch.
 *
 * Internal to src/nn. Each instruction set is one um_cpu_isa in one file with its own compiler
 * flags; backend.c picks one at run time, so nothing here may need more than the baseline machine.
 */
#ifndef UM_NN_CPU_CPU_H
#define UM_NN_CPU_CPU_H

#include "nn/backend.h"

typedef struct um_cpu_isa {
    const char *name;
    bool (*supported)(void);
    const um_backend_ops *ops;
    size_t scratch_floats; /* for one thread; 0 when no operation needs any */
} um_cpu_isa;

extern const um_cpu_isa um_cpu_isa_ref;
#ifdef UM_NN_X86 /* src/nn/CMakeLists.txt defines it where the backends are built */
extern const um_cpu_isa um_cpu_isa_avx2;
extern const um_cpu_isa um_cpu_isa_avx512;
extern const um_cpu_isa um_cpu_isa_vnni;
extern const um_cpu_isa um_cpu_isa_avx512_bf16;
extern const um_cpu_isa um_cpu_isa_amx;

bool um_cpu_has_avx512(void); /* F, DQ, BW, VL, and FMA and F16C */
bool um_cpu_has_f16c(void);
#endif
#ifdef UM_NN_ARM /* the same */
extern const um_cpu_isa um_cpu_isa_neon;
extern const um_cpu_isa um_cpu_isa_neon_dot;
#endif

/* What um_backend.scratch points at. */
typedef struct um_cpu_scratch {
    float *data; /* threads x floats_per_thread, 64-byte aligned */
    size_t floats_per_thread;
    float *shared; /* CPU_SHARED_FLOATS, 64-byte aligned: an operand that all threads read */
} um_cpu_scratch;

/* Touched only by large products, and only as far as they need. */
enum { CPU_SHARED_FLOATS = (UM_PRODUCT_TERMS + 2) * 32 };

/* The scratch of one thread of the pool. */
float *um_cpu_thread_scratch(const um_backend *be, int thread);

/* um_pool_run over [0, n) in chunks of `grain`; inline when two threads would get less than that.
 */
void um_cpu_for(um_backend *be, size_t n, size_t grain, um_pool_fn fn, void *ctx);

/* The factors of one AdamW step that do not depend on the element: computed in double, rounded
 * once. */
typedef struct um_cpu_adamw_step {
    float decay; /* 1 - lr wd */
    float beta1, beta2;
    float one_minus_beta1, one_minus_beta2; /* 1 - b1, 1 - b2 */
    float step_size;                        /* lr / (1 - b1^t) */
    float sqrt_correction2;                 /* sqrt(1 - b2^t) */
    float eps;
} um_cpu_adamw_step;

um_cpu_adamw_step um_cpu_adamw_prepare(const um_adamw *hyper);

/* Operations that only move memory: the same code in every CPU backend. */
um_status um_cpu_alloc(um_backend *be, um_buf *out, size_t bytes, um_error *err);
/* rows x columns floats. */
um_status um_cpu_alloc_matrix(um_backend *be, um_buf *out, size_t rows, size_t columns,
                              um_error *err);
/* Memory for a packed matrix; of UM_F32 as many floats as the matrix has. */
um_status um_cpu_pack_alloc(um_backend *be, um_packed *out, um_dtype dtype, int n, int k, bool pair,
                            um_error *err);
/* The order of packed.h; not for UM_F32. */
um_status um_cpu_pack(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n, int k,
                      bool pair, um_error *err);
void um_cpu_packed_rows(um_backend *be, float *out, const um_packed *w, const int32_t *ids, int t);
void um_cpu_release(um_backend *be, um_buf *buf);
void um_cpu_zero(um_backend *be, void *dst, size_t bytes);
void um_cpu_copy(um_backend *be, void *dst, const void *src, size_t bytes);
void um_cpu_unpack(um_backend *be, um_packed *packed);
void um_cpu_embed_forward(um_backend *be, float *out, const float *table, const int32_t *ids, int t,
                          int c);
void um_cpu_gather_rows(um_backend *be, float *out, const float *in, int ld_in, const int32_t *rows,
                        int n, int c);
void um_cpu_scatter_rows(um_backend *be, float *dst, int ld_dst, const float *src, int ld_src,
                         const int32_t *rows, int n, int c);

/* bfloat16 (bf16.c), as backend.h says. */
void um_cpu_round_bf16(um_backend *be, float *dst, const float *src, size_t n);
void um_cpu_to_bf16(um_backend *be, uint16_t *dst, const float *src, size_t n);
void um_cpu_from_bf16(um_backend *be, float *dst, const uint16_t *src, size_t n);
void um_cpu_weigh_bf16(um_backend *be, float *x, const float *weights, int t, int c);

#endif
