/*
 * simd_neon.h - the vector vocabulary of the kernels, in NEON of 64-bit ARM (see simd_avx512.h).
 */
#ifndef UM_NN_CPU_SIMD_NEON_H
#define UM_NN_CPU_SIMD_NEON_H

#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "nn/cpu/simd_hints.h"

#define SIMD_32_REGISTERS

enum {
    VL = 4,
    GEMM_MR = 12, /* rows of the largest register tile: 12 x 2 sums, 2 of b, 1 of a, of 32 */
};

typedef float32x4_t vf;

static inline vf vf_zero(void)
{
    return vdupq_n_f32(0.0f);
}

static inline vf vf_set(float x)
{
    return vdupq_n_f32(x);
}

static inline vf vf_load(const float *p)
{
    return vld1q_f32(p);
}

static inline void vf_store(float *p, vf x)
{
    vst1q_f32(p, x);
}

/* Past the caches where that can be said; seen by others after vf_stream_end. */
static inline void vf_stream(float *p, vf x)
{
    vf_store(p, x);
}

static inline void vf_stream_end(void)
{
}

/* All bits of lanes 0 .. n - 1; any n. */
static inline uint32x4_t first_lanes(int n)
{
    static const int32_t lane[4] = {0, 1, 2, 3};
    return vcgtq_s32(vdupq_n_s32(n), vld1q_s32(lane));
}

/* The first n lanes, 0 <= n <= VL; the others read as 0. */
static inline vf vf_load_n(const float *p, int n)
{
    float lane[4] = {0};
    memcpy(lane, p, (size_t)n * sizeof *lane);
    return vld1q_f32(lane);
}

static inline void vf_store_n(float *p, vf x, int n)
{
    float lane[4];
    vst1q_f32(lane, x);
    memcpy(p, lane, (size_t)n * sizeof *lane);
}

static inline vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}

static inline vf vf_sqrt(vf a)
{
    return vsqrtq_f32(a);
}

/* a * b + c, rounded once. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

/* c - a * b, rounded once. */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return vfmsq_f32(c, a, b);
}

/* The larger of each lane; a NaN stays. */
static inline vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return vminq_f32(a, b);
}

static inline vf vf_round(vf a)
{
    return vrndnq_f32(a);
}

static inline vf vf_negate(vf a)
{
    return vnegq_f32(a);
}

/* Lanes 0 .. n - 1 of x and `fill` beyond; any n. */
static inline vf vf_keep_n(vf x, int n, vf fill)
{
    return vbslq_f32(first_lanes(n), x, fill);
}

/* 2^n for integral n in [-126, 127]. */
static inline vf power_of_2(int32x4_t n)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* x 2^n for integral n in [-160, 160]; gradual underflow, overflow to infinity. */
static inline vf vf_scale_2(vf x, vf n)
{
    /* In two steps, since 2^n itself may not be a normal number. */
    const int32x4_t whole = vcvtnq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(x, power_of_2(half)), power_of_2(vsubq_s32(whole, half)));
}

/*
 * Of an integral n: swaps the lanes of *s and *c where n is odd, then turns signs so that
 * (sin r, cos r) becomes (sin, cos)(r + n pi / 2).
 */
static inline void vf_quadrant(vf n, vf *s, vf *c)
{
    const uint32x4_t q = vreinterpretq_u32_s32(vcvtnq_s32_f32(n)), one = vdupq_n_u32(1);
    const uint32x4_t odd = vtstq_u32(q, one);
    const vf sine = vbslq_f32(odd, *c, *s), cosine = vbslq_f32(odd, *s, *c);
    const uint32x4_t sine_sign = vshlq_n_u32(vshrq_n_u32(q, 1), 31);
    const uint32x4_t cosine_sign = vshlq_n_u32(vshrq_n_u32(vaddq_u32(q, one), 1), 31);
    *s = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(sine), sine_sign));
    *c = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(cosine), cosine_sign));
}

static inline float vf_sum(vf x)
{
    return vaddvq_f32(x);
}

/* The largest lane; which, when a lane is NaN, does not matter. */
static inline float vf_largest(vf x)
{
    return vmaxvq_f32(x);
}

/* Sum of squares of the lanes in double, lanes j and j + 2 in one chain. */
typedef struct vd_sum {
    float64x2_t sum;
} vd_sum;

static inline vd_sum vd_zero(void)
{
    return (vd_sum){vdupq_n_f64(0.0)};
}

static inline void vd_add_squares(vd_sum *s, vf x)
{
    const float64x2_t low = vcvt_f64_f32(vget_low_f32(x)), high = vcvt_high_f64_f32(x);
    s->sum = vfmaq_f64(s->sum, low, low);
    s->sum = vfmaq_f64(s->sum, high, high);
}

static inline double vd_total(const vd_sum *s)
{
    return vaddvq_f64(s->sum);
}

/* The magnitude of each lane. */
static inline vf vf_abs(vf x)
{
    return vabsq_f32(x);
}

/* Lanes within [-127, 127] rounded to integers, as bytes; NaN becomes -128. */
static inline void vf_store_i8(int8_t *p, vf x)
{
    const int32x4_t wide = vbslq_s32(vceqq_f32(x, x), vcvtnq_s32_f32(x), vdupq_n_s32(-128));
    const int16x4_t half = vqmovn_s32(wide);
    int8_t lane[8];
    vst1_s8(lane, vqmovn_s16(vcombine_s16(half, half)));
    memcpy(p, lane, VL);
}

/* Lanes rounded to bfloat16, the upper half of each, to nearest with ties to even; NaN stays one.
 */
static inline uint32x4_t vf_bf16_bits(vf x)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    return vbslq_u32(vceqq_f32(x, x), up, vorrq_u32(bits, vdupq_n_u32(0x00400000)));
}

static inline vf vf_round_bf16(vf x)
{
    return vreinterpretq_f32_u32(vandq_u32(vf_bf16_bits(x), vdupq_n_u32(0xffff0000u)));
}

static inline void vf_store_bf16(uint16_t *p, vf x)
{
    vst1_u16(p, vshrn_n_u32(vf_bf16_bits(x), 16));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}

/* VL pairs of bfloat16: the first ones and the second ones. */
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *first, vf *second)
{
    const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(p));
    *first = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
    *second = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
}

static inline vf vf_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

/* Dot products of fours of bytes (see simd_avx512.h). */
typedef int32x4_t vi;
typedef int8x16_t vi_weights;

static inline vi_weights vi_load(const int8_t *p)
{
    return vld1q_s8(p);
}

static inline int32_t vi_start(int32_t sum)
{
    (void)sum;
    return 0;
}

static inline vi vi_dot(vi acc, vi_weights w, const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_s32(acc, w, x);
#else
    /* Two products of at most 127 * 127 fit 16 bits. */
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
    return vpadalq_s16(acc, vpaddq_s16(low, high));
#endif
}

static inline vi vi_set(int32_t x)
{
    return vdupq_n_s32(x);
}

static inline vf vi_float(vi x)
{
    return vcvtq_f32_s32(x);
}

/* Transposes the VL x VL block whose rows are r[0 .. VL). */
static INLINE void vf_transpose(vf r[VL])
{
    /* t[0], t[2]: columns 0 and 2 of two rows each; t[1], t[3]: columns 1 and 3. */
    float64x2_t t[VL];
    UNROLL
    for (int i = 0; i < VL; i += 2) {
        t[i] = vreinterpretq_f64_f32(vtrn1q_f32(r[i], r[i + 1]));
        t[i + 1] = vreinterpretq_f64_f32(vtrn2q_f32(r[i], r[i + 1]));
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        r[i] = vreinterpretq_f32_f64(vtrn1q_f64(t[i], t[i + 2]));
        r[i + 2] = vreinterpretq_f32_f64(vtrn2q_f64(t[i], t[i + 2]));
    }
}

#endif
