/* test_util.h - what every unit test includes: cmocka and small helpers. */
#ifndef UM_TEST_UTIL_H
#define UM_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mirrorer/status.h"

/* Asserts UM_OK and shows the error text when it is not. */
#define assert_ok(call, err)                                                     \
    do {                                                                         \
        um_status status_ = (call);                                              \
        if (status_ != UM_OK)                                                    \
            fail_msg("%s: %s: %s", #call, um_status_name(status_), (err).text);  \
    } while (0)

#define assert_close(a, b, tolerance)                                            \
    do {                                                                         \
        double a_ = (double)(a), b_ = (double)(b), t_ = (double)(tolerance);     \
        if (!((a_ > b_ ? a_ - b_ : b_ - a_) <= t_))                              \
            fail_msg("%s = %.9g, expected %.9g within %g", #a, a_, b_, t_);      \
    } while (0)

/* A file below the repository's shared test data, or NULL with a visible note when it is absent. */
static inline const char *shared_data(const char *relative, char *buffer, size_t size)
{
    const char *root = getenv("UM_SHARED_DATA");
    if (root != NULL)
        snprintf(buffer, size, "%s/%s", root, relative);
    else
        snprintf(buffer, size, "%s/../shared/data/%s", UM_SOURCE_DIR, relative);
    FILE *f = fopen(buffer, "rb");
    if (f == NULL) {
        printf("[  SKIP   ] %s is absent\n", relative);
        return NULL;
    }
    fclose(f);
    return buffer;
}

/* A fresh temporary folder, removed by remove_dir. */
static inline char *make_dir(char *buffer, size_t size)
{
    const char *root = getenv("TMPDIR");
    snprintf(buffer, size, "%s/um-test-XXXXXX", root != NULL ? root : "/tmp");
    return mkdtemp(buffer);
}

static inline void remove_dir(const char *path)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    if (system(command) != 0)
        fail_msg("cannot remove %s", path);
}

#endif
