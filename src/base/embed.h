/*
 * embed.h - files built into the binary (um_embed in cmake/embed.cmake).
 *
 *     UM_EMBEDDED_DECLARE(template_world);
 *     um_embedded_file file = UM_EMBEDDED("world.yaml", template_world);
 *
 * The data is static storage, and a NUL follows its last byte. The length is known to the assembler
 * only, so UM_EMBEDDED initialises automatic variables, not static ones. Needs 64-bit size_t.
 */
#ifndef UM_BASE_EMBED_H
#define UM_BASE_EMBED_H

#include <stddef.h>

typedef struct um_embedded_file {
    const char *name;
    const unsigned char *data;
    size_t len;
} um_embedded_file;

#define UM_EMBEDDED_DECLARE(id)                                                                    \
    extern const unsigned char um_embedded_##id[];                                                 \
    extern const size_t um_embedded_##id##_len

#define UM_EMBEDDED(file_name, id)                                                                 \
    {                                                                                              \
        (file_name), um_embedded_##id, um_embedded_##id##_len                                      \
    }

_Static_assert(sizeof(size_t) == 8, "um_embed writes 8-byte lengths");

#endif
