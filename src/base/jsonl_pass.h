/*
 * jsonl_pass.h - the one pass over a text that jsonl.c makes; nobody else's.
 */
#ifndef UM_BASE_JSONL_PASS_H
#define UM_BASE_JSONL_PASS_H

#include "base/jsonl.h"
#include "base/mem.h"
#include "base/scan.h"

#define UM_JSONL_HABITS      64
#define UM_JSONL_HABIT_BYTES (2 * UM_SCAN_BYTES)

typedef struct um_jsonl_key {
    const char *text;
    size_t len;
} um_jsonl_key;

/*
 * A key as it stood in a text before: from the byte after the bracket or value before it, which is
 * a comma after a value, to the first byte of its own value. Rows have the same keys in the same
 * order, but for lists of objects and members that some lack: two keys are remembered that came
 * after it.
 */
typedef struct um_jsonl_habit {
    um_scan_bytes bytes[2], mask[2];
    uint64_t class;  /* class_of_key */
    uint32_t wanted; /* place among the members that are wanted, n_wanted: it is not */
    uint8_t key_at, key_len, n_bytes;
    enum { NO_KEY, OF_ROOT, NESTED } kind;
    uint8_t next[2]; /* 0: none */
} um_jsonl_habit;

struct um_jsonl {
    char *copy; /* of the text, or of the rest of it, with UM_JSONL_PADDING bytes after it */
    size_t copy_cap;
    char *rest;      /* what was copied begins there in the text; NULL: none of it was */
    bool saves_rest; /* the text is the caller's: it is copied from its first escape on */
    UM_VEC(uint64_t) tape;
    UM_VEC(um_jsonl_key) keys; /* of one object, to be sorted */
    um_jdoc view;
    bool has_nul, lacks_memory;
    um_jsonl_habit habits[UM_JSONL_HABITS]; /* the first is no key: what comes after it is the first
                                               of a text */
    uint8_t n_habits, oldest;               /* of them, besides that one; to be replaced next */
    um_jkey wanted[UM_JSONL_MAX_WANTED];
    size_t n_wanted;
    uint32_t members[UM_JSONL_MAX_WANTED + 1]; /* the last is of those that are not wanted */
};

/* Where the pass ended: behind the object or, where something is wrong, about there. */
typedef struct um_jsonl_end {
    char *text;
    size_t n_words; /* on the tape */
    bool has_high;  /* some string may have bytes above 127 */
} um_jsonl_end;

/* Whether text, blanks before it aside, begins with an object, which is then on j->tape from word 1
 * on. There is room for a word for each byte; a NUL comes after the text, and 64 bytes may be read
 * from there on. j->view has the tape and the text, j->members are 0. False also where
 * j->lacks_memory. */
bool um_jsonl_pass(um_jsonl *j, char *text, um_jsonl_end *end);
/* Makes room for a copy of that many bytes; false: out of memory. */
bool um_jsonl_reserve_copy(um_jsonl *j, size_t len);

#endif
