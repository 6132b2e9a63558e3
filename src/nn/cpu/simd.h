/*
 * simd.h - everything a vector backend is made of. Included by every vector backend after the
 * header that defines its vectors, it gives `simd_ops` and SIMD_SCRATCH.
 */
#ifndef UM_NN_CPU_SIMD_H
#define UM_NN_CPU_SIMD_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/mem.h"
#include "nn/cpu/cpu.h"
#include "nn/cpu/kv.h"
#include "nn/number.h"

#include "nn/cpu/tile.h"

#include "nn/cpu/gemm.h"

#include "nn/cpu/vecmath.h"

#include "nn/cpu/elements.h"

#include "nn/cpu/product.h"

#include "nn/cpu/rows.h"

#include "nn/cpu/acts.h"

#include "nn/cpu/block.h"

#ifdef __AMX_TILE__
#include "nn/cpu/block_amx.h"
#endif

#include "nn/cpu/linear.h"

#include "nn/cpu/kv_write.h"

#include "nn/cpu/kv_page.h"

#include "nn/cpu/kv_attention.h"

#include "nn/cpu/peak.h"

#include "nn/cpu/attention.h"

#include "nn/cpu/attention_backward.h"

/* Floats of scratch a thread needs, in whole cache lines. */
enum {
    SIMD_SCRATCH_ROWS =
        (int)GATE_F32_SCRATCH > (int)ATT_SCRATCH ? (int)GATE_F32_SCRATCH : (int)ATT_SCRATCH,
    SIMD_SCRATCH_NEED = (int)SIMD_SCRATCH_ROWS > (int)PRODUCT_SCRATCH ? (int)SIMD_SCRATCH_ROWS
                                                                      : (int)PRODUCT_SCRATCH,
    SIMD_SCRATCH = (SIMD_SCRATCH_NEED + 15) / 16 * 16,
};

_Static_assert((int)KV_SCRATCH <= (int)SIMD_SCRATCH, "a kv_unit is a thread's scratch");

static const um_backend_ops simd_ops = {
    .alloc = um_cpu_alloc,
    .release = um_cpu_release,
    .zero = um_cpu_zero,
    .upload = um_cpu_copy,
    .download = um_cpu_copy,
    .gemm = simd_gemm,
    .product = simd_product,
    .pack = simd_pack,
    .unpack = um_cpu_unpack,
    .acts_bytes = simd_acts_bytes,
    .acts_set = simd_acts_set,
    .acts_norm = simd_acts_norm,
    .linear = simd_linear,
    .linear_gate = simd_linear_gate,
    .packed_rows = simd_packed_rows,
    .dot_ops = simd_dot_ops,
    .bias_forward = simd_bias_forward,
    .bias_backward = simd_bias_backward,
    .embed_forward = um_cpu_embed_forward,
    .embed_backward = simd_embed_backward,
    .rmsnorm_forward = simd_rmsnorm_forward,
    .rmsnorm_backward = simd_rmsnorm_backward,
    .rope = simd_rope,
    .attention_forward = simd_attention_forward,
    .attention_backward = simd_attention_backward,
    .kv_open = um_cpu_kv_open,
    .kv_close = um_cpu_kv_close,
    .kv_write = simd_kv_write,
    .kv_copy = um_cpu_kv_copy,
    .kv_attention = simd_kv_attention,
    .swiglu_forward = simd_swiglu_forward,
    .swiglu_backward = simd_swiglu_backward,
    .add = simd_add,
    .scale = simd_scale,
    .gather_rows = um_cpu_gather_rows,
    .scatter_add_rows = simd_scatter_add_rows,
    .scatter_rows = um_cpu_scatter_rows,
    .logprob_forward = simd_logprob_forward,
    .logprob_backward = simd_logprob_backward,
    .sum_squares = simd_sum_squares,
    .adamw = simd_adamw,
    .round_bf16 = simd_round_bf16,
    .to_bf16 = simd_to_bf16,
    .from_bf16 = simd_from_bf16,
    .weigh_bf16 = simd_weigh_bf16,
};

#endif
