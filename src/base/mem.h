/*
 * mem.h - checked allocation, arenas, growable arrays.
 */
#ifndef UM_BASE_MEM_H
#define UM_BASE_MEM_H

#include "mirrorer/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count x size with overflow check; zeroed; NULL on failure. count or size 0 gives a valid pointer.
 */
void *um_calloc(size_t count, size_t size);
/* Reallocates to count x size, old contents kept; NULL on failure (old block stays valid). */
void *um_reallocarray(void *block, size_t count, size_t size);
/* 64-byte aligned, for numeric buffers, in huge pages where there are some; release with free(). */
void *um_aligned_alloc(size_t count, size_t size);
/* The same, zeroed. */
void *um_aligned_calloc(size_t count, size_t size);
bool um_mul_overflows(size_t a, size_t b, size_t *product);

/* Bump allocator: everything allocated lives until reset or dispose. Zero-initialised is valid. */
typedef struct um_arena {
    struct um_arena_block *head;
    size_t used_bytes; /* in all blocks */
} um_arena;

void um_arena_dispose(um_arena *a);
void um_arena_reset(um_arena *a);                 /* keeps the first block */
void *um_arena_alloc(um_arena *a, size_t bytes);  /* 16-byte aligned, zeroed; NULL on failure */
void um_arena_join(um_arena *a, um_arena *other); /* what is in the other becomes a's; empties it */
char *um_arena_strdup(um_arena *a, const char *text);
char *um_arena_strndup(um_arena *a, const char *text, size_t n);

/*
 * Growable array of T: UM_VEC(T) v = {0}; if (!um_vec_push(&v, value)) -> out of memory.
 * Fields: v.data, v.len, v.cap. Release with um_vec_dispose(&v).
 */
#define UM_VEC(T)                                                                                  \
    struct {                                                                                       \
        T *data;                                                                                   \
        size_t len, cap;                                                                           \
    }
bool um_vec_grow(void *data_pp, size_t *cap, size_t need, size_t item_size);
#define um_vec_reserve(v, n)                                                                       \
    ((n) <= (v)->cap || um_vec_grow((void *)&(v)->data, &(v)->cap, (n), sizeof(*(v)->data)))
#define um_vec_push(v, value)                                                                      \
    (um_vec_reserve((v), (v)->len + 1) ? ((v)->data[(v)->len++] = (value), true) : false)
#define um_vec_dispose(v) (free((v)->data), (v)->data = NULL, (v)->len = (v)->cap = 0)

/* Ascending order of uint32_t, for qsort. */
int um_compare_u32(const void *a, const void *b);

#endif
