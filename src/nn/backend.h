/*
 * backend.h - the numeric operations a transformer needs, forward and backward.
 *
 * Two object kinds: um_backend (a const table of operations plus what it can do) and um_buf (memory
 * in the backend's address space). Operations take pointers inside such memory; on the CPU these
 * are plain pointers. Everything is float32 unless it says otherwise. All matrices are row-major.
 *
 * Letters: T rows (tokens of one packed batch), C model width, F feed-forward width, V vocabulary,
 * H query heads, G key/value heads (H a multiple of G), D head width.
 *
 * Determinism, a contract every implementation is tested for: an output row is a function of its
 * own inputs only. It does not change, bit for bit, with the number of rows in the call, with the
 * rows beside it, or with the number of threads. Sums over rows (weight gradients) run in row
 * order.
 *
 * Thread-safety: one caller at a time per backend. Operations never allocate; scratch memory is
 * sized at open. Pointers must not overlap unless stated.
 */
#ifndef UM_NN_BACKEND_H
#define UM_NN_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "mirrorer/status.h"
#include "nn/packed.h"

typedef struct um_backend um_backend;

typedef struct um_buf {
    void *data; /* in the backend's address space, 64-byte aligned, zeroed at allocation */
    size_t bytes;
} um_buf;

/* Rows [start, start + len) of K and V. */
typedef struct um_range {
    int32_t start, len;
} um_range;

/*
 * One run of consecutive query rows in attention. Query row `start + j` (j < len) attends
 *   - every row of each of its prefix ranges: prefixes[prefix_first .. prefix_first +
 * prefix_count),
 *   - its own K/V rows kv_start .. kv_start + own_before + j (causal, itself included).
 * A whole sequence is {start, len, kv_start = start, own_before = 0, no prefixes}; a completion
 * that shares its prompt names the prompt's rows as prefix; a decoding step has len 1 and
 * own_before = the number of its own rows already cached.
 */
typedef struct um_span {
    int32_t start, len;
    int32_t kv_start, own_before;
    int32_t prefix_first, prefix_count;
} um_span;

enum { UM_HEAD_DIM_MAX = 256 }; /* scratch is sized for it: a model with wider heads is refused */

typedef struct um_attention_shape {
    int n_heads, n_kv_heads, head_dim; /* H, G, D <= UM_HEAD_DIM_MAX */
    float scale;                       /* on q.k, usually 1/sqrt(D) */
    /* q, k, v and dout hold bfloat16 values, and products are of such: what multiplies v, dout, q
     * and k (exp(score - running maximum) forward, probabilities and the gradient of scores
     * backward) is rounded first. Sums of probabilities are of those not rounded. */
    bool bf16;
} um_attention_shape;

/* Hyper-parameters of one AdamW update (decoupled decay; order of TRAINING.md, "AdamW"). */
typedef struct um_adamw {
    double lr, beta1, beta2, eps, weight_decay; /* double: 1 - 0.999f is off by 1e-5 */
    float grad_scale; /* gradients are multiplied by this first (clipping, 1/N) */
    int64_t step;     /* 1 for the first update */
} um_adamw;

/* Positions of one page of cached keys and values. */
enum { UM_KV_PAGE = 64 };

/*
 * Keys and values of inference, in pages of UM_KV_PAGE consecutive positions of one sequence. A
 * page holds every head's K and V of one layer in an order of the backend's own; a sequence is a
 * list of pages, and sequences that begin alike may name the same pages. Page p of layer l lies at
 * data + (l * pages + p) * page_bytes.
 */
typedef struct um_kv_cache {
    um_buf buf;
    um_dtype dtype; /* UM_F32 or UM_BF16 */
    int layers, pages, n_kv_heads, head_dim;
    size_t page_bytes; /* of one layer */
} um_kv_cache;

/* Rows [start, start + len) of a pass stand at positions before, before + 1, ... of a sequence
 * whose position p is slot p % UM_KV_PAGE of page pages[p / UM_KV_PAGE]. Of several spans each
 * starts where the one before it ends. */
typedef struct um_kv_span {
    int32_t start, len, before;
    const int32_t *pages; /* host memory, at least up to the last row's page */
} um_kv_span;

/*
 * A weight matrix [N, K] arranged for `linear`. UM_F32 is in an order of the backend's own; the
 * other formats are in that of packed.h. A pair is [gate; up] (N = 2F) for `linear_gate`.
 */
typedef struct um_packed {
    um_dtype dtype;
    bool pair;
    int n, k;
    const void *data; /* 64-byte aligned */
    um_buf buf;       /* what data lies in; empty when it is borrowed, from a mapped file */
} um_packed;

/* A matrix in memory: float32 or bfloat16, rows of stride ld. */
typedef struct um_matrix_ref {
    const void *data;
    um_dtype dtype; /* UM_F32 or UM_BF16 */
    int ld;
    bool trans;
} um_matrix_ref;

/*
 * c[M,N] = op(a) op(b) in bfloat16: op(a) is [M,K], op(b) is [K,N], as in gemm; float32 values are
 * rounded to bfloat16 first, products are exact and sums float32. Where c is `rounded` (as it is
 * when it is of bfloat16), bias[N] (rounded itself; or NULL) is added to the sums, which are then
 * rounded to bfloat16; then, unless it is NULL, residual, which is like c and may be c, is added and
 * the sum rounded again. A c that is not rounded has neither, but may be added to.
 */
typedef struct um_product {
    int m, n, k; /* k <= UM_PRODUCT_TERMS */
    um_matrix_ref a, b;
    void *c;
    um_dtype c_dtype; /* UM_F32 or UM_BF16 */
    int ldc;
    bool rounded, accumulate;
    const float *bias;
    const void *residual;
} um_product;

enum { UM_PRODUCT_TERMS = 1 << 18 };

struct um_backend {
    const char *name; /* "cpu-avx512", "cpu-neon", "cpu-ref", ... */
    um_pool *pool;    /* borrowed */
    const struct um_backend_ops *ops;
    void *scratch; /* implementation's own */
};

typedef struct um_backend_ops {
    /* Memory. */
    um_status (*alloc)(um_backend *be, um_buf *out, size_t bytes, um_error *err);
    void (*release)(um_backend *be, um_buf *buf);
    void (*zero)(um_backend *be, void *dst, size_t bytes);
    void (*upload)(um_backend *be, void *dst, const void *host, size_t bytes);
    void (*download)(um_backend *be, void *host, const void *src, size_t bytes);

    /*
     * c[M,N] = alpha * op(a) op(b) + (accumulate ? c : 0).
     * op(a) is [M,K]: a is [M,K] with row stride lda, or [K,M] when trans_a.
     * op(b) is [K,N]: b is [K,N] with row stride ldb, or [N,K] when trans_b.
     * The sum over K runs in order k = 0..K-1 for each c[m][n], in one chain per K-block of fixed
     * size, whatever M and N are.
     */
    void (*gemm)(um_backend *be, bool trans_a, bool trans_b, int m, int n, int k, float alpha,
                 const float *a, int lda, const float *b, int ldb, bool accumulate, float *c,
                 int ldc);

    /* A product in bfloat16, see um_product. The sum over K runs in order, in one chain per block
     * of terms; the blocks depend on K alone. */
    void (*product)(um_backend *be, const um_product *product);

    /*
     * Products with weights arranged once, for inference. The activations [M, K] are arranged for
     * them too: acts_bytes says how much memory that takes (0: too much), acts_set arranges rows of
     * stride ldx, acts_norm their RMSNorm with weights w. For UM_BF16 they are rounded to bfloat16,
     * for UM_I8 to bytes with a scale for each UM_BLOCK terms of a row.
     *
     * linear: y[M,N] = acts w^T (+ bias[N], or NULL) (+ y where `accumulate`). A product of bytes
     * is exact within a block; blocks are added in order. With UM_F32 the values are, bit for bit,
     * those of gemm(trans_b), bias added last.
     * linear_gate: out = silu(acts gate^T) * (acts up^T), [M,F], arranged for weights of `dtype`.
     */
    um_status (*pack)(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n, int k,
                      bool pair, um_error *err);
    void (*unpack)(um_backend *be, um_packed *packed);
    size_t (*acts_bytes)(um_dtype dtype, int m, int k);
    void (*acts_set)(um_backend *be, void *acts, um_dtype dtype, const float *x, int ldx, int m,
                     int k);
    void (*acts_norm)(um_backend *be, void *acts, um_dtype dtype, const float *x, const float *w,
                      int m, int k, float eps);
    void (*linear)(um_backend *be, float *y, int ldy, const void *acts, int m, const um_packed *w,
                   const float *bias, bool accumulate);
    void (*linear_gate)(um_backend *be, void *out, const void *acts, int m, const um_packed *pair);
    /* Runs the dot products of a format at the machine's peak on every thread, as often as asked;
     * how many operations that was (a multiply-add is two). For measuring. */
    double (*dot_ops)(um_backend *be, um_dtype dtype, int repeats);
    /* out[T,K] = outputs ids[T] (host memory) of a packed matrix that is no pair. */
    void (*packed_rows)(um_backend *be, float *out, const um_packed *w, const int32_t *ids, int t);

    /* bias: y[T,N] += b[N]; db[N] += sum over rows of dy[T,N]. */
    void (*bias_forward)(um_backend *be, float *y, const float *b, int t, int n);
    void (*bias_backward)(um_backend *be, float *db, const float *dy, int t, int n);

    /* out[T,C] = table[ids[t], :];  dtable[ids[t], :] += dout[t, :] in row order. ids: host memory.
     */
    void (*embed_forward)(um_backend *be, float *out, const float *table, const int32_t *ids, int t,
                          int c);
    void (*embed_backward)(um_backend *be, float *dtable, const float *dout, const int32_t *ids,
                           int t, int c);

    /* RMSNorm (Zhang & Sennrich 2019): out = x * rstd * w, rstd[T] = 1/sqrt(mean(x^2) + eps).
     * rstd may be NULL in inference. Backward: dx += ..., dw += ... */
    void (*rmsnorm_forward)(um_backend *be, float *out, float *rstd, const float *x, const float *w,
                            int t, int c, float eps);
    void (*rmsnorm_backward)(um_backend *be, float *dx, float *dw, const float *dout,
                             const float *x, const float *w, const float *rstd, int t, int c);

    /* Rotary embedding, half-split as in Hugging Face weights, in place on x[T, heads, D] (row
     * stride ld): angle of pair (i, i + D/2) is positions[t] * inv_freq[i]. inverse rotates back
     * (backward pass). positions, inv_freq: host memory. */
    void (*rope)(um_backend *be, float *x, int ld, int t, int heads, int head_dim,
                 const int32_t *positions, const float *inv_freq, bool inverse);

    /* Attention over spans (see um_span). q, out: [T, H*D] with row stride ldq / ldo; k, v: rows of
     * [G*D] with row stride ldkv. lse[T, H] (may be NULL in inference) = log sum exp of the scaled
     * scores. A row that attends nothing (possible with own_before < 0) gives 0. Softmax in fp32
     * with the row maximum subtracted. A row depends on the sequence of its keys only: the same
     * keys in the same order give the same bits in a long span, in a decoding step, and however the
     * list is cut into ranges. */
    void (*attention_forward)(um_backend *be, float *out, int ldo, float *lse, const float *q,
                              int ldq, const float *k, const float *v, int ldkv,
                              const um_attention_shape *shape, const um_span *spans, int n_spans,
                              const um_range *prefixes);
    /* dq is overwritten for the rows of the spans; dk, dv are added to. */
    void (*attention_backward)(um_backend *be, float *dq, int lddq, float *dk, float *dv, int lddkv,
                               const float *dout, int lddo, const float *out, int ldo,
                               const float *lse, const float *q, int ldq, const float *k,
                               const float *v, int ldkv, const um_attention_shape *shape,
                               const um_span *spans, int n_spans, const um_range *prefixes);

    /*
     * Cached keys and values. kv_open sizes and zeroes the pages; kv_close releases them. kv_write
     * stores rows of k and v (rows of [G*D] with row stride ld) at their spans' positions, rounded
     * to the cache's format. kv_copy makes page `to` equal to page `from` in every layer.
     */
    um_status (*kv_open)(um_backend *be, um_kv_cache *cache, um_dtype dtype, int layers, int pages,
                         int n_kv_heads, int head_dim, um_error *err);
    void (*kv_close)(um_backend *be, um_kv_cache *cache);
    void (*kv_write)(um_backend *be, um_kv_cache *cache, int layer, const float *k, const float *v,
                     int ld, const um_kv_span *spans, int n_spans);
    void (*kv_copy)(um_backend *be, um_kv_cache *cache, int to, int from);
    /*
     * Each row of a span attends to its sequence from position 0 to its own. q, out: [T, H*D] with
     * row strides ldq, ldo. Softmax in fp32 with the row maximum subtracted. The keys are taken
     * page by page, so a row's bits depend on the values of its own keys and on nothing else: not
     * on the length of its span, nor on who shares its pages. Neighbouring spans of one row that
     * name the same first pages are computed together: those pages are read once for all of them.
     */
    void (*kv_attention)(um_backend *be, float *out, int ldo, const float *q, int ldq,
                         const um_kv_cache *cache, int layer, const um_attention_shape *shape,
                         const um_kv_span *spans, int n_spans);

    /* out[T,F] = silu(gate) * up; gate and up are rows of stride ld. Backward overwrites dgate,
     * dup. All arrays are of dtype, UM_F32 or UM_BF16; what is bfloat16 is rounded at the end. */
    void (*swiglu_forward)(um_backend *be, um_dtype dtype, void *out, const void *gate,
                           const void *up, int ld, int t, int f);
    void (*swiglu_backward)(um_backend *be, um_dtype dtype, void *dgate, void *dup, int lddst,
                            const void *dout, const void *gate, const void *up, int ld, int t,
                            int f);

    void (*add)(um_backend *be, float *dst, const float *src, size_t n); /* dst += src */
    void (*scale)(um_backend *be, float *dst, float factor, size_t n);

    /* out[i, :] = in[rows[i], :];  dst[rows[i], :] += src[i, :] (rows distinct). rows: host memory.
     */
    void (*gather_rows)(um_backend *be, float *out, const float *in, int ld_in, const int32_t *rows,
                        int n, int c);
    void (*scatter_add_rows)(um_backend *be, float *dst, int ld_dst, const float *src,
                             const int32_t *rows, int n, int c);
    /* dst[rows[i], :] = src[i, :] with strides: writes K or V into cache rows. rows: host memory.
     */
    void (*scatter_rows)(um_backend *be, float *dst, int ld_dst, const float *src, int ld_src,
                         const int32_t *rows, int n, int c);

    /* logp[t] = log softmax(logits[t])[targets[t]] (fp32, max subtracted). targets: host memory. */
    void (*logprob_forward)(um_backend *be, float *logp, const float *logits,
                            const int32_t *targets, int t, int v);
    /* In place: logits[t, :] = coef[t] * (softmax(logits[t]) - onehot(targets[t])). coef: host. */
    void (*logprob_backward)(um_backend *be, float *logits, const int32_t *targets,
                             const float *coef, int t, int v);

    /* Sum of squares in double, in a fixed order. */
    double (*sum_squares)(um_backend *be, const float *x, size_t n);
    void (*adamw)(um_backend *be, float *w, const float *g, float *m, float *v, size_t n,
                  const um_adamw *hyper);

    /* bfloat16, to nearest with ties to even; NaN stays NaN. round_bf16: dst[i] as a float32 (dst
     * may be src). to_bf16, from_bf16: the 16 bits. weigh_bf16: x[T,C] = the rounded product of
     * rounded x and rounded weights[C], the last step of an RMSNorm whose result is rounded before
     * its weight. */
    void (*round_bf16)(um_backend *be, float *dst, const float *src, size_t n);
    void (*to_bf16)(um_backend *be, uint16_t *dst, const float *src, size_t n);
    void (*from_bf16)(um_backend *be, float *dst, const uint16_t *src, size_t n);
    void (*weigh_bf16)(um_backend *be, float *x, const float *weights, int t, int c);
} um_backend_ops;

/*
 * Opens the best CPU backend of this machine, or the named one (see um_backend_names; NULL or
 * "auto" is the best). Unknown or unsupported names: UM_ERR_UNSUPPORTED, listing what can be used.
 * The pool is borrowed and must outlive the backend.
 */
um_status um_backend_open(um_backend **out, const char *name, um_pool *pool,
                          um_error *err) UM_CHECKED;
void um_backend_close(um_backend *be);

/* Names this machine can run, best first; the array ends with NULL. Static storage. */
const char *const *um_backend_names(void);

#endif
