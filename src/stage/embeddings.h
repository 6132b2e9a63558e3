/*
 * embeddings.h - vectors of items for the content source of exposures (option scenes.embeddings).
 */
#ifndef UM_STAGE_EMBEDDINGS_H
#define UM_STAGE_EMBEDDINGS_H

#include "stage/session.h"

/*
 * scenes.embeddings: "" gives none (*rows NULL); a .safetensors file is read (a matrix [items, dim]
 * named "embeddings", or the only one; rows in the log's order, or as the JSON list "item_ids" of
 * its metadata says; items without a row get zeros); a folder is a model that embeds the items'
 * descriptions; a URL an endpoint that does. What was made is kept in the workspace's folder. Call
 * it outside of a transaction. *rows is yours and out points to it.
 */
um_status um_embeddings_make(um_item_embeddings *out, float **rows, um_session *s,
                             const um_dataset *d, um_error *err) UM_CHECKED;

#endif
