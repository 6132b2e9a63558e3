/* nn_packed_util.h - what the tests of packed weights share. */
#ifndef UM_NN_PACKED_TEST_UTIL_H
#define UM_NN_PACKED_TEST_UTIL_H

#include "nn_util.h"

enum { N_FORMATS = 4 };
static const um_dtype formats[N_FORMATS] = {UM_F32, UM_BF16, UM_F16, UM_I8};

static inline um_packed pack(um_backend *be, um_dtype dtype, const float *w, int n, int k,
                             bool pair)
{
    um_error err;
    um_packed packed;
    assert_ok(be->ops->pack(be, &packed, dtype, w, n, k, pair, &err), err);
    assert_int_equal(packed.n, n);
    assert_int_equal(packed.k, k);
    assert_int_equal(packed.pair, pair);
    return packed;
}

/* Memory for activations, full of NaN: what is not arranged shows. */
static inline um_buf new_acts(um_backend *be, um_dtype dtype, int m, int k)
{
    um_error err;
    um_buf acts;
    const size_t bytes = be->ops->acts_bytes(dtype, m, k);
    assert_true(bytes >= (size_t)m * (size_t)k);
    assert_ok(be->ops->alloc(be, &acts, bytes, &err), err);
    memset(acts.data, 0xff, bytes);
    return acts;
}

#endif
