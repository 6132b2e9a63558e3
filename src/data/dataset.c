#include <stdlib.h>
#include <string.h>

#include "data/dataset_memory.h"

um_dataset *um_dataset_new(void)
{
    um_dataset *dataset = um_calloc(1, sizeof *dataset);
    if (dataset == NULL)
        return NULL;
    dataset->memory = um_calloc(1, sizeof *dataset->memory);
    if (dataset->memory == NULL) {
        free(dataset);
        return NULL;
    }
    return dataset;
}

void *um_dataset_alloc(um_dataset *dataset, size_t count, size_t size)
{
    void *block = um_calloc(count, size);
    return block != NULL && um_dataset_own(dataset, block) ? block : NULL;
}

bool um_dataset_own(um_dataset *dataset, void *block)
{
    if (um_vec_push(&dataset->memory->blocks, block))
        return true;
    free(block);
    return false;
}

void um_dataset_free(um_dataset *dataset)
{
    if (dataset == NULL)
        return;
    struct um_dataset_memory *memory = dataset->memory;
    for (size_t i = 0; i < memory->blocks.len; i++)
        free(memory->blocks.data[i]);
    um_vec_dispose(&memory->blocks);
    um_arena_dispose(&memory->strings);
    free(memory);
    free(dataset);
}

int um_table_column(const um_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->n_columns; i++) {
        if (strcmp(table->columns[i], name) == 0)
            return (int)i;
    }
    return -1;
}

const char *um_table_cell(const um_table *table, uint32_t row, int column)
{
    if (column < 0 || (uint32_t)column >= table->n_columns || row >= table->n_rows)
        return NULL;
    return table->cells[(size_t)row * table->n_columns + (size_t)column];
}

const um_series *um_dataset_series(const um_dataset *dataset, const char *name)
{
    for (uint32_t i = 0; i < dataset->n_series; i++) {
        if (strcmp(dataset->series[i].name, name) == 0)
            return &dataset->series[i];
    }
    return NULL;
}
