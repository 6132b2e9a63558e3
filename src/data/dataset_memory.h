/* dataset_memory.h - what owns the arrays and strings of a um_dataset. */
#ifndef UM_DATA_DATASET_MEMORY_H
#define UM_DATA_DATASET_MEMORY_H

#include "base/mem.h"
#include "mirrorer/dataset.h"

struct um_dataset_memory {
    um_arena strings;
    UM_VEC(void *) blocks; /* each released with free() */
};

/* An empty data set that owns nothing yet; NULL when out of memory. */
um_dataset *um_dataset_new(void);
/* count x size zeroed bytes that live as long as the data set; NULL when out of memory. */
void *um_dataset_alloc(um_dataset *dataset, size_t count, size_t size);
/* Takes over a heap block; false when out of memory, the block is then freed. */
bool um_dataset_own(um_dataset *dataset, void *block);

#endif
