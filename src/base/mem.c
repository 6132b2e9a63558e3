#include "base/mem.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NUMERIC_ALIGN      ((size_t)64)
#define HUGE_PAGE          ((size_t)2 << 20)
#define ARENA_ALIGN        ((size_t)16)
#define ARENA_BLOCK_BYTES  ((size_t)1 << 16)
#define VEC_FIRST_CAPACITY ((size_t)8)

bool um_mul_overflows(size_t a, size_t b, size_t *product)
{
    return __builtin_mul_overflow(a, b, product);
}

void *um_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (um_mul_overflows(count, size, &bytes))
        return NULL;
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *um_reallocarray(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (um_mul_overflows(count, size, &bytes))
        return NULL;
    return realloc(block, bytes == 0 ? 1 : bytes);
}

void *um_aligned_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (um_mul_overflows(count, size, &bytes) || bytes > SIZE_MAX - HUGE_PAGE)
        return NULL;
    const size_t align = bytes < HUGE_PAGE ? NUMERIC_ALIGN : HUGE_PAGE;
    /* aligned_alloc wants a multiple of the alignment. */
    void *block = aligned_alloc(align, bytes == 0 ? align : (bytes + align - 1) / align * align);
#ifdef MADV_HUGEPAGE
    /* A hint: each small page costs a fault when it is first written, and numbers are read in
     * strides that touch more of them than the TLB has entries. */
    if (block != NULL && align == HUGE_PAGE)
        (void)madvise(block, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return block;
}

void *um_aligned_calloc(size_t count, size_t size)
{
    void *block = um_aligned_alloc(count, size);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

/* Blocks form a list, newest first; allocations are cut from the head block. */
struct um_arena_block {
    struct um_arena_block *next;
    size_t cap, len;
    alignas(16) unsigned char bytes[];
};

void um_arena_dispose(um_arena *a)
{
    struct um_arena_block *block = a->head;
    while (block != NULL) {
        struct um_arena_block *next = block->next;
        free(block);
        block = next;
    }
    a->head = NULL;
    a->used_bytes = 0;
}

void um_arena_reset(um_arena *a)
{
    if (a->head == NULL)
        return;
    struct um_arena_block *first = a->head;
    while (first->next != NULL) {
        struct um_arena_block *next = first->next;
        free(first);
        first = next;
    }
    first->len = 0;
    a->head = first;
    a->used_bytes = 0;
}

void *um_arena_alloc(um_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t need = (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (need == 0)
        need = ARENA_ALIGN;
    struct um_arena_block *head = a->head;
    if (head == NULL || head->cap - head->len < need) {
        size_t cap = need > ARENA_BLOCK_BYTES ? need : ARENA_BLOCK_BYTES;
        struct um_arena_block *block = malloc(sizeof *block + cap);
        if (block == NULL)
            return NULL;
        block->cap = cap;
        block->len = 0;
        /* A block made for one large item is full at once: keep cutting from the old head. */
        if (head != NULL && need == cap && head->cap > head->len) {
            block->next = head->next;
            head->next = block;
        } else {
            block->next = head;
            a->head = block;
        }
        head = block;
    }
    void *out = head->bytes + head->len;
    head->len += need;
    a->used_bytes += need;
    memset(out, 0, need);
    return out;
}

void um_arena_join(um_arena *a, um_arena *other)
{
    struct um_arena_block **end = &other->head;
    while (*end != NULL)
        end = &(*end)->next;
    *end = a->head;
    a->head = other->head;
    a->used_bytes += other->used_bytes;
    *other = (um_arena){0};
}

char *um_arena_strndup(um_arena *a, const char *text, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = um_arena_alloc(a, n + 1);
    if (copy != NULL && n > 0)
        memcpy(copy, text, n);
    return copy;
}

char *um_arena_strdup(um_arena *a, const char *text)
{
    return um_arena_strndup(a, text, strlen(text));
}

bool um_vec_grow(void *data_pp, size_t *cap, size_t need, size_t item_size)
{
    void *data;
    memcpy(&data, data_pp, sizeof data);
    size_t target = *cap < VEC_FIRST_CAPACITY ? VEC_FIRST_CAPACITY : *cap;
    while (target < need) {
        if (target > SIZE_MAX / 2)
            return false;
        target += target;
    }
    void *grown = NULL;
    if (target < HUGE_PAGE / item_size) {
        grown = um_reallocarray(data, target, item_size);
    } else if ((grown = um_aligned_alloc(target, item_size)) != NULL) {
        if (*cap > 0)
            memcpy(grown, data, *cap * item_size);
        free(data);
    }
    if (grown == NULL)
        return false;
    memcpy(data_pp, &grown, sizeof grown);
    *cap = target;
    return true;
}

int um_compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}
