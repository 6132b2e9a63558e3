/*
 * amazon.h - what the three layouts of Amazon reviews have in common, and where their files are.
 */
#ifndef UM_DATA_AMAZON_H
#define UM_DATA_AMAZON_H

#include "data/objects.h"

/* What differs between the layouts; a key without a name: the layout has no
 * such member. */
typedef struct um_amazon_layout {
    const char *name, *review_prefix, *review_suffix;
    bool is_ms, has_counts, meta_is_python;
    um_jkey item, user, rating, time, title, text, verified, votes; /* of reviews */
    um_jkey main_category, categories, brand, features, release;    /* of items */
} um_amazon_layout;

extern const um_amazon_layout um_amazon_2014, um_amazon_2018, um_amazon_2023;

typedef struct um_amazon_files {
    const um_entry *reviews; /* the first that has metadata, else the first */
    um_str category, meta;
    um_str names;   /* of all review files with metadata, joined by commas */
    size_t n_pairs; /* of reviews and metadata */
} um_amazon_files;

/* Looks for review files of a layout and the metadata of their categories. Dispose in any case. */
void um_amazon_locate(um_amazon_files *files, const um_bundle *bundle, const um_amazon_layout *lay);
/* The same, but there must be one category, with its metadata. */
um_status um_amazon_locate_one(um_amazon_files *files, const um_bundle *bundle,
                               const um_amazon_layout *lay, um_error *err) UM_CHECKED;
void um_amazon_files_dispose(um_amazon_files *files);

/* What reviews need to know of the items besides the builder. */
typedef struct um_amazon_items {
    um_ids left_out; /* that min_rating_count leaves out; their names lie in the arena */
    um_arena arena;
} um_amazon_items;

/* Reads the metadata into the reading's builder; items starts as {0}. Dispose in any case. */
um_status um_amazon_read_items(um_reading *r, const um_amazon_layout *lay, um_bundle *bundle,
                               const um_entry *entry, um_amazon_items *items,
                               um_error *err) UM_CHECKED;
void um_amazon_items_dispose(um_amazon_items *items);

#endif
