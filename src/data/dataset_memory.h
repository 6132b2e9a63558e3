/* dataset_memory.h - what owns the arrays and strings of a um_dataset. */
#ifndef UM_DATA_DATASET_MEMORY_H
#define UM_DATA_DATASET_MEMORY_H

#include "base/mem.h"
#include "base/pool.h"
#include "data/spool.h"
#include "mirrorer/dataset.h"

#define UM_LONG_CELL_BYTES 256 /* longer cells are put aside on disk */

struct um_dataset_memory {
    um_arena strings;
    um_spool *texts;       /* NULL before the first */
    char *spool_dir;       /* NULL: the system's */
    UM_VEC(void *) blocks; /* each released with free() */
};

/* Whether a data set may be called so: UM_ERR_INPUT says what is wrong with the name. */
um_status um_dataset_check_name(const char *name, um_error *err) UM_CHECKED;
/* An empty data set that owns nothing yet; NULL when out of memory. */
um_dataset *um_dataset_new(void);
/* Where texts are to be put aside; before the first. */
um_status um_dataset_set_spool_dir(um_dataset *dataset, const char *dir, um_error *err) UM_CHECKED;
/* count x size zeroed bytes that live as long as the data set; NULL when out of memory. */
void *um_dataset_alloc(um_dataset *dataset, size_t count, size_t size);
/* The same for whoever writes all of it: not zeroed. */
void *um_dataset_room(um_dataset *dataset, size_t count, size_t size);
/* Takes over a heap block; false when out of memory, the block is then freed. */
bool um_dataset_own(um_dataset *dataset, void *block);
/* The spool of behaviour texts and long cells, made when it is first asked for. */
um_status um_dataset_spool(um_dataset *dataset, um_spool **out, um_error *err) UM_CHECKED;
/* Copies a text that lives as long as the data set: a behaviour text, of which there is one an
 * interaction, into a spool (spool.h); a cell there only when it is long. */
um_status um_dataset_keep_text(um_dataset *dataset, const char *text, size_t len, char **out,
                               um_error *err) UM_CHECKED;
um_status um_dataset_keep_cell(um_dataset *dataset, const char *text, size_t len, char **out,
                               um_error *err) UM_CHECKED;
/* After the last of them: only now may they be read. */
um_status um_dataset_flush_texts(um_dataset *dataset, um_error *err) UM_CHECKED;
/* um_spool_gather of such texts. */
um_status um_dataset_gather_texts(const um_dataset *dataset, char *const *texts, size_t n,
                                  um_str *out, size_t *place, um_error *err) UM_CHECKED;
uint64_t um_dataset_text_bytes(const um_dataset *dataset); /* of all of them, with their NULs */
/* Lets go of the memory that reading them through pointers has filled. */
void um_dataset_release_texts(const um_dataset *dataset);

/*
 * item_available_s where item_has_release is not set: the first time that anybody chose the item or
 * was shown it. A time of 0 is "before the log": it counts, as 0, only where there is no other.
 */
um_status um_dataset_find_first_seen(um_dataset *dataset, um_pool *pool, um_error *err) UM_CHECKED;

#endif
