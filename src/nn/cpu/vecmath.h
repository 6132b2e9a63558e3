/*
 * vecmath.h - exp, sine and cosine of a vector. Included by every vector backend after its simd
 * header.
 *
 * Every lane is a function of that lane alone, so a value does not depend on where in a row, or in
 * which row, it stands. The coefficients are least-maximum-error fits (Lawson's iteration on
 * Chebyshev nodes, rounded to fp32), the constants ln 2 and pi/2 are split into fp32 pieces.
 */
#ifndef UM_NN_CPU_VECMATH_H
#define UM_NN_CPU_VECMATH_H

#define VF_LOG2_E 1.44269504f

/*
 * exp(x), within 1 ulp for normal results: x = n ln 2 + r with |r| <= ln 2 / 2, then
 * exp(r) = 1 + r + r^2 Q(r). exp(0) is exactly 1; -inf gives 0; NaN stays NaN.
 */
static inline vf vf_exp(vf x)
{
    /* Beyond these ends the result is 0 or infinity anyway. The order of operands keeps NaN. */
    x = vf_max(vf_set(-104.0f), x);
    x = vf_min(vf_set(89.0f), x);
    const vf n = vf_round(vf_mul(x, vf_set(VF_LOG2_E)));
    vf r = vf_fnma(n, vf_set(0.693147182f), x);
    r = vf_fnma(n, vf_set(-1.90465421e-09f), r);
    vf q = vf_set(0.00138144672f);
    q = vf_fma(q, r, vf_set(0.00836878084f));
    q = vf_fma(q, r, vf_set(0.0416683927f));
    q = vf_fma(q, r, vf_set(0.166665196f));
    q = vf_fma(q, r, vf_set(0.49999994f));
    const vf one_plus = vf_fma(vf_mul(r, r), q, r);
    return vf_scale_2(vf_add(one_plus, vf_set(1.0f)), n);
}

/* 2^x for x <= 0, with a relative error of at most 3e-6: for what is rounded to bfloat16. NaN stays
 * NaN. */
static inline vf vf_exp2_near(vf x)
{
    x = vf_max(vf_set(-150.0f), x);
    const vf n = vf_round(x), r = vf_sub(x, n);
    vf q = vf_set(0.00957010210f);
    q = vf_fma(q, r, vf_set(0.0559178591f));
    q = vf_fma(q, r, vf_set(0.240247443f));
    q = vf_fma(q, r, vf_set(0.693121791f));
    q = vf_fma(q, r, vf_set(0.999999285f));
    return vf_scale_2(q, n);
}

/* 1 / (1 + exp(-x)). */
static inline vf vf_sigmoid(vf x)
{
    const vf one = vf_set(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_negate(x))));
}

/* silu(gate) * up. */
static inline vf vf_gated(vf gate, vf up)
{
    return vf_mul(vf_mul(gate, vf_sigmoid(gate)), up);
}

/*
 * sin(x) and cos(x) within 1e-7 for |x| < 2^22: x = n pi/2 + r (Cody-Waite in three fp32 pieces),
 * sin r = r + r^3 S(r^2), cos r = 1 - r^2 / 2 + r^4 C(r^2).
 */
static inline void vf_sincos(vf x, vf *sine, vf *cosine)
{
    const vf n = vf_round(vf_mul(x, vf_set(0.636619772f)));
    vf r = vf_fnma(n, vf_set(1.57079637f), x);
    r = vf_fnma(n, vf_set(-4.37113883e-08f), r);
    r = vf_fnma(n, vf_set(-1.71512451e-15f), r);
    const vf r2 = vf_mul(r, r);
    vf s = vf_fma(vf_set(-0.000195166562f), r2, vf_set(0.00833217334f));
    s = vf_fma(s, r2, vf_set(-0.166666552f));
    *sine = vf_fma(vf_mul(r2, r), s, r);
    vf c = vf_fma(vf_set(2.44377297e-05f), r2, vf_set(-0.00138873619f));
    c = vf_fma(c, r2, vf_set(0.0416666456f));
    *cosine = vf_fma(vf_mul(r2, r2), c, vf_fma(r2, vf_set(-0.5f), vf_set(1.0f)));
    vf_quadrant(n, sine, cosine);
}

#endif
