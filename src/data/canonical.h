/* canonical.h - names that the reader and the writer of canonical JSONL share. */
#ifndef UM_DATA_CANONICAL_H
#define UM_DATA_CANONICAL_H

#define UM_CANONICAL_USERS   "_user_feature.jsonl"
#define UM_CANONICAL_ITEMS   "_item_feature.jsonl"
#define UM_CANONICAL_LOG     "_interaction.jsonl"
#define UM_CANONICAL_RELEASE "release_time" /* item feature: when the item was released */
#define UM_CANONICAL_SHOWN   "impression_list"
#define UM_CANONICAL_CHOSEN  "item_pos"

#endif
