/* ref_product.c - products in bfloat16 in the scalar reference: every sum runs in double. */
#include "nn/cpu/ref_linear.h"
#include "nn/number.h"

static float rounded(float x)
{
    return um_bf16_value(um_bf16_bits(x));
}

static double element(const um_matrix_ref *x, int row, int column)
{
    const size_t i = (size_t)(x->trans ? column : row), j = (size_t)(x->trans ? row : column);
    const size_t at = i * (size_t)x->ld + j;
    return (double)rounded(um_array_value(x->dtype, x->data, at));
}

void um_ref_product(um_backend *be, const um_product *p)
{
    (void)be;
    for (int i = 0; i < p->m; i++) {
        for (int j = 0; j < p->n; j++) {
            const size_t at = (size_t)i * (size_t)p->ldc + (size_t)j;
            double sum = 0.0;
            for (int t = 0; t < p->k; t++)
                sum += element(&p->a, i, t) * element(&p->b, t, j);
            float value = (float)sum;
            if (p->c_dtype == UM_F32 && !p->rounded) {
                float *c = (float *)p->c + at;
                *c = p->accumulate ? *c + value : value;
                continue;
            }
            if (p->bias != NULL)
                value += rounded(p->bias[j]);
            value = rounded(value);
            if (p->residual != NULL)
                value = rounded(value + um_array_value(p->c_dtype, p->residual, at));
            um_array_set(p->c_dtype, p->c, at, value);
        }
    }
}
