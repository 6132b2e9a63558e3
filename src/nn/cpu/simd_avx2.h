/*
 * simd_avx2.h - the vector vocabulary of the kernels, in AVX2 and FMA (see simd_avx512.h).
 */
#ifndef UM_NN_CPU_SIMD_AVX2_H
#define UM_NN_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "nn/cpu/simd_hints.h"

enum {
    VL = 8,
    GEMM_MR = 6, /* rows of the largest register tile: 6 x 2 sums, 2 of b, 1 of a, of 16 */
};

typedef __m256 vf;

static inline vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}

/* Past the caches, to an address of whole vectors; seen by others after vf_stream_end. */
static inline void vf_stream(float *p, vf x)
{
    _mm256_stream_ps(p, x);
}

static inline void vf_stream_end(void)
{
    _mm_sfence();
}

/* All bits of lanes 0 .. n - 1; any n. */
static inline __m256i first_lanes(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}

/* The first n lanes, 0 <= n <= VL; the others read as 0. */
static inline vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

static inline void vf_store_n(float *p, vf x, int n)
{
    _mm256_maskstore_ps(p, first_lanes(n), x);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

static inline vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}

/* a * b + c, rounded once. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b, rounded once. */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

/* The larger of each lane; a NaN in b stays. */
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf vf_negate(vf a)
{
    return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f));
}

/* Lanes 0 .. n - 1 of x and `fill` beyond; any n. */
static inline vf vf_keep_n(vf x, int n, vf fill)
{
    return _mm256_blendv_ps(fill, x, _mm256_castsi256_ps(first_lanes(n)));
}

/* 2^n for integral n in [-126, 127]. */
static inline vf power_of_2(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* x 2^n for integral n in [-160, 160]; gradual underflow, overflow to infinity. */
static inline vf vf_scale_2(vf x, vf n)
{
    /* In two steps, since 2^n itself may not be a normal number. */
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    x = _mm256_mul_ps(x, power_of_2(half));
    return _mm256_mul_ps(x, power_of_2(_mm256_sub_epi32(whole, half)));
}

/*
 * Of an integral n: swaps the lanes of *s and *c where n is odd, then turns signs so that
 * (sin r, cos r) becomes (sin, cos)(r + n pi / 2).
 */
static inline void vf_quadrant(vf n, vf *s, vf *c)
{
    const __m256i q = _mm256_cvtps_epi32(n), one = _mm256_set1_epi32(1);
    const vf odd = _mm256_castsi256_ps(_mm256_slli_epi32(q, 31)); /* blendv looks at the top bit */
    const vf sine = _mm256_blendv_ps(*s, *c, odd), cosine = _mm256_blendv_ps(*c, *s, odd);
    const __m256i sine_sign = _mm256_slli_epi32(_mm256_srli_epi32(q, 1), 31);
    const __m256i cosine_sign =
        _mm256_slli_epi32(_mm256_srli_epi32(_mm256_add_epi32(q, one), 1), 31);
    *s = _mm256_xor_ps(sine, _mm256_castsi256_ps(sine_sign));
    *c = _mm256_xor_ps(cosine, _mm256_castsi256_ps(cosine_sign));
}

static inline float vf_sum(vf x)
{
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

/* The largest lane; which, when a lane is NaN, does not matter. */
static inline float vf_largest(vf x)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_shuffle_ps(b, b, 1)));
}

/* Sum of squares of the lanes in double, lanes j and j + 4 in one chain. */
typedef struct vd_sum {
    __m256d sum;
} vd_sum;

static inline vd_sum vd_zero(void)
{
    return (vd_sum){_mm256_setzero_pd()};
}

static inline void vd_add_squares(vd_sum *s, vf x)
{
    __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    s->sum = _mm256_fmadd_pd(lo, lo, s->sum);
    s->sum = _mm256_fmadd_pd(hi, hi, s->sum);
}

static inline double vd_total(const vd_sum *s)
{
    double lane[4];
    _mm256_storeu_pd(lane, s->sum);
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/* The magnitude of each lane. */
static inline vf vf_abs(vf x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* Lanes within [-127, 127] rounded to integers, as bytes; NaN becomes -128. */
static inline void vf_store_i8(int8_t *p, vf x)
{
    const __m256i wide = _mm256_cvtps_epi32(x);
    const __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(half, half));
}

/* Lanes rounded to bfloat16, to nearest with ties to even; NaN stays one. */
static inline vf vf_round_bf16(vf x)
{
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    const vf value = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(quiet),
                                      _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_and_ps(value, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000u)));
}

static inline void vf_store_bf16(uint16_t *p, vf x)
{
    const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(vf_round_bf16(x)), 16);
    _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(bits),
                                                    _mm256_extracti128_si256(bits, 1)));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* VL pairs of bfloat16: the first ones and the second ones. */
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *first, vf *second)
{
    const __m256i pairs = _mm256_loadu_si256((const __m256i *)p);
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000u);
    *first = _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
    *second = _mm256_castsi256_ps(_mm256_and_si256(pairs, upper));
}

static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/*
 * Dot products of fours of bytes (see simd_avx512.h): magnitudes of weights times activations of
 * the product's sign, so that two products of at most 127 * 127 fit 16 bits.
 */
typedef __m256i vi;
typedef struct vi_weights {
    __m256i bytes, magnitudes;
} vi_weights;

static inline vi_weights vi_load(const int8_t *p)
{
    const __m256i w = _mm256_loadu_si256((const __m256i *)p);
    return (vi_weights){w, _mm256_abs_epi8(w)};
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
    const __m256i turned = _mm256_sign_epi8(_mm256_set1_epi32(four), w.bytes);
    const __m256i pairs = _mm256_maddubs_epi16(w.magnitudes, turned);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline vi vi_set(int32_t x)
{
    return _mm256_set1_epi32(x);
}

static inline vf vi_float(vi x)
{
    return _mm256_cvtepi32_ps(x);
}

/* Transposes the VL x VL block whose rows are r[0 .. VL). */
static INLINE void vf_transpose(vf r[VL])
{
    vf t[VL];
    UNROLL
    for (int i = 0; i < VL; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    /* r[4g + j]: column j of every group of 4 columns, of rows 4g .. 4g + 3. */
    UNROLL
    for (int i = 0; i < VL; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        t[j] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x20);
        t[j + 4] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x31);
    }
    UNROLL
    for (int i = 0; i < VL; i++)
        r[i] = t[i];
}

#endif
