/*
 * simd_avx512.h - the vector vocabulary of the kernels, in AVX-512 (F, DQ, BW, VL).
 *
 * A vf is VL floats. The kernels (gemm.h, attention.h, rows.h) are written in these words only and
 * are compiled once per instruction set; simd_avx2.h and simd_neon.h say the same words in AVX2 and
 * NEON. Sums across the lanes of a vector run in one fixed order.
 */
#ifndef UM_NN_CPU_SIMD_AVX512_H
#define UM_NN_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "nn/cpu/simd_hints.h"

#define SIMD_32_REGISTERS /* else 16: the larger tiles are not made */

enum {
    VL = 16,
    GEMM_MR = 12, /* rows of the largest register tile: 12 x 2 sums, 2 of b, 1 of a, of 32 */
};

typedef __m512 vf;

static inline vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}

/* Past the caches, to an address of whole vectors; seen by others after vf_stream_end. */
static inline void vf_stream(float *p, vf x)
{
    _mm512_stream_ps(p, x);
}

static inline void vf_stream_end(void)
{
    _mm_sfence();
}

/* The first n lanes, 0 <= n <= VL; the others read as 0. */
static inline vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}

static inline void vf_store_n(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), x);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}

/* a * b + c, rounded once. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b, rounded once. */
static inline vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* The larger of each lane; a NaN in b stays. */
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf vf_negate(vf a)
{
    return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f));
}

/* Lanes 0 .. n - 1 of x and `fill` beyond; any n. */
static inline vf vf_keep_n(vf x, int n, vf fill)
{
    unsigned bits = n >= VL ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u;
    return _mm512_mask_blend_ps((__mmask16)bits, fill, x);
}

/* x 2^n for integral n in [-160, 160]; gradual underflow, overflow to infinity. */
static inline vf vf_scale_2(vf x, vf n)
{
    return _mm512_scalef_ps(x, n);
}

/*
 * Of an integral n: swaps the lanes of *s and *c where n is odd, then turns signs so that
 * (sin r, cos r) becomes (sin, cos)(r + n pi / 2).
 */
static inline void vf_quadrant(vf n, vf *s, vf *c)
{
    const __m512i q = _mm512_cvtps_epi32(n), one = _mm512_set1_epi32(1);
    const __mmask16 odd = _mm512_test_epi32_mask(q, one);
    const vf sine = _mm512_mask_blend_ps(odd, *s, *c), cosine = _mm512_mask_blend_ps(odd, *c, *s);
    const __m512i sine_sign = _mm512_slli_epi32(_mm512_srli_epi32(q, 1), 31);
    const __m512i cosine_sign =
        _mm512_slli_epi32(_mm512_srli_epi32(_mm512_add_epi32(q, one), 1), 31);
    *s = _mm512_xor_ps(sine, _mm512_castsi512_ps(sine_sign));
    *c = _mm512_xor_ps(cosine, _mm512_castsi512_ps(cosine_sign));
}

static inline float vf_sum(vf x)
{
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_shuffle_ps(b, b, 1)));
}

/* The largest lane; which, when a lane is NaN, does not matter. */
static inline float vf_largest(vf x)
{
    return _mm512_reduce_max_ps(x);
}

/* Sum of squares of the lanes in double, lanes j and j + 8 in one chain. */
typedef struct vd_sum {
    __m512d sum;
} vd_sum;

static inline vd_sum vd_zero(void)
{
    return (vd_sum){_mm512_setzero_pd()};
}

static inline void vd_add_squares(vd_sum *s, vf x)
{
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    s->sum = _mm512_fmadd_pd(lo, lo, s->sum);
    s->sum = _mm512_fmadd_pd(hi, hi, s->sum);
}

static inline double vd_total(const vd_sum *s)
{
    double lane[8];
    _mm512_storeu_pd(lane, s->sum);
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* The magnitude of each lane. */
static inline vf vf_abs(vf x)
{
    return _mm512_abs_ps(x);
}

/* Lanes within [-127, 127] rounded to integers, as bytes; NaN becomes -128. */
static inline void vf_store_i8(int8_t *p, vf x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)));
}

/* Lanes rounded to bfloat16, the upper half of each, to nearest with ties to even; NaN stays one.
 */
static inline __m512i vf_bf16_bits(vf x)
{
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x00400000));
}

static inline vf vf_round_bf16(vf x)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    return _mm512_castsi512_ps(_mm512_and_si512(vf_bf16_bits(x), upper));
}

static inline void vf_store_bf16(uint16_t *p, vf x)
{
    const __m512i bits = _mm512_srli_epi32(vf_bf16_bits(x), 16);
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(bits));
}

static inline vf vf_load_bf16(const uint16_t *p)
{
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#define SIMD_BF16_MASKS /* else elements.h says the next two */

/* The first n; the other lanes read as 0. */
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    const __m256i some = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1u), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(some), 16));
}

static inline void vf_store_bf16_n(uint16_t *p, vf x, int n)
{
    const __m512i bits = _mm512_srli_epi32(vf_bf16_bits(x), 16);
    _mm256_mask_storeu_epi16(p, (__mmask16)((1u << n) - 1u), _mm512_cvtepi32_epi16(bits));
}

#ifdef __AVX512BF16__
/* bfloat16 is multiplied as such, here or in tiles, not as wider floats. */
#define SIMD_BF16_TERMS

/* c + the products of the two bfloat16 in each lane. */
static inline vf vf_dot(vf a, vf b, vf c)
{
    /* Not the intrinsic, for the same reason as in vi_dot. */
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
}

typedef float __attribute__((may_alias, aligned(2))) vf_pair_bits;

/* c + the products of each lane's pair and the pair at p. */
static inline vf vf_dot_pair(vf a, const uint16_t *p, vf c)
{
    simd_reads(p);
    __asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(a), "m"(*(const vf_pair_bits *)p));
    return c;
}

/* Words whose first terms are those of a, the second ones those of b. */
static inline vf vf_words(vf a, vf b)
{
    static const uint16_t order[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_loadu_si512(order), halves));
}

/* Words of consecutive terms: those of a, then those of b. */
static inline vf vf_row_words(vf a, vf b)
{
    return (vf)_mm512_cvtne2ps_pbh(b, a);
}
#endif

/* VL pairs of bfloat16: the first ones and the second ones. */
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *first, vf *second)
{
    const __m512i pairs = _mm512_loadu_si512(p), upper = _mm512_set1_epi32((int)0xffff0000u);
    *first = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    *second = _mm512_castsi512_ps(_mm512_and_si512(pairs, upper));
}

static inline vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/*
 * Dot products of fours of bytes: VL sums of 32 bits, VL fours of weights (w), one four of
 * activations (a) for all of them. The sums of a block are exact.
 */
typedef __m512i vi;
typedef struct vi_weights {
    __m512i bytes;
#ifndef __AVX512VNNI__
    __mmask64 negative;
#endif
} vi_weights;

#ifdef __AVX512VNNI__
/* The instruction multiplies unsigned by signed bytes: weights are raised by 128, and sums start at
 * -128 times the sum of the row's activations. */
static inline vi_weights vi_load(const int8_t *p)
{
    const __m512i flip = _mm512_set1_epi8((char)0x80);
    return (vi_weights){_mm512_xor_si512(_mm512_loadu_si512(p), flip)};
}

static inline int32_t vi_start(int32_t sum)
{
    return -128 * sum;
}

typedef int32_t __attribute__((may_alias, aligned(1))) vi_four;

/* _mm512_dpbusd_epi32, of which GCC copies every sum from register to register in a loop, and
 * spreads the four by an instruction of its own. */
static inline vi vi_dot(vi acc, vi_weights w, const int8_t *a)
{
    simd_reads(a);
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w.bytes), "m"(*(const vi_four *)a));
    return acc;
}
#else
/* Magnitudes of weights times activations of the product's sign: two products of at most 127 * 127
 * fit 16 bits. */
static inline vi_weights vi_load(const int8_t *p)
{
    const __m512i w = _mm512_loadu_si512(p);
    return (vi_weights){_mm512_abs_epi8(w), _mm512_movepi8_mask(w)};
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
    const __m512i x = _mm512_set1_epi32(four);
    const __m512i turned = _mm512_mask_sub_epi8(x, w.negative, _mm512_setzero_si512(), x);
    const __m512i pairs = _mm512_maddubs_epi16(w.bytes, turned);
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

static inline vi vi_set(int32_t x)
{
    return _mm512_set1_epi32(x);
}

static inline vf vi_float(vi x)
{
    return _mm512_cvtepi32_ps(x);
}

/* Transposes the VL x VL block whose rows are r[0 .. VL). */
static INLINE void vf_transpose(vf r[VL])
{
    vf t[VL];
    UNROLL
    for (int i = 0; i < VL; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    /* r[4g + j]: column j of every group of 4 columns, of rows 4g .. 4g + 3. */
    UNROLL
    for (int i = 0; i < VL; i += 4) {
        r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_f32x4(r[j], r[j + 4], 0x88);
        t[j + 4] = _mm512_shuffle_f32x4(r[j], r[j + 4], 0xdd);
        t[j + 8] = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0x88);
        t[j + 12] = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0xdd);
    }
    UNROLL
    for (int j = 0; j < 4; j++) {
        r[j] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0xdd);
        r[j + 4] = _mm512_shuffle_f32x4(t[j + 4], t[j + 12], 0x88);
        r[j + 12] = _mm512_shuffle_f32x4(t[j + 4], t[j + 12], 0xdd);
    }
}

#endif
