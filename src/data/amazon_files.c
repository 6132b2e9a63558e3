#include "data/amazon.h"

#include <string.h>

#include "base/error.h"
#include "base/file.h"

const um_amazon_layout um_amazon_2014 = {.name = "amazon-2014",
                                         .review_prefix = "reviews_",
                                         .review_suffix = ".json",
                                         .meta_is_python = true,
                                         .item = UM_JKEY("asin"),
                                         .user = UM_JKEY("reviewerID"),
                                         .rating = UM_JKEY("overall"),
                                         .time = UM_JKEY("unixReviewTime"),
                                         .title = UM_JKEY("summary"),
                                         .text = UM_JKEY("reviewText"),
                                         .votes = UM_JKEY("helpful"),
                                         .categories = UM_JKEY("categories"),
                                         .brand = UM_JKEY("brand")};
const um_amazon_layout um_amazon_2018 = {.name = "amazon-2018",
                                         .review_prefix = "",
                                         .review_suffix = ".json",
                                         .item = UM_JKEY("asin"),
                                         .user = UM_JKEY("reviewerID"),
                                         .rating = UM_JKEY("overall"),
                                         .time = UM_JKEY("unixReviewTime"),
                                         .title = UM_JKEY("summary"),
                                         .text = UM_JKEY("reviewText"),
                                         .verified = UM_JKEY("verified"),
                                         .votes = UM_JKEY("vote"),
                                         .main_category = UM_JKEY("main_cat"),
                                         .categories = UM_JKEY("category"),
                                         .brand = UM_JKEY("brand"),
                                         .features = UM_JKEY("feature"),
                                         .release = UM_JKEY("date")};
const um_amazon_layout um_amazon_2023 = {.name = "amazon-2023",
                                         .review_prefix = "",
                                         .review_suffix = ".jsonl",
                                         .is_ms = true,
                                         .has_counts = true,
                                         .item = UM_JKEY("parent_asin"),
                                         .user = UM_JKEY("user_id"),
                                         .rating = UM_JKEY("rating"),
                                         .time = UM_JKEY("timestamp"),
                                         .title = UM_JKEY("title"),
                                         .text = UM_JKEY("text"),
                                         .verified = UM_JKEY("verified_purchase"),
                                         .votes = UM_JKEY("helpful_vote"),
                                         .main_category = UM_JKEY("main_category"),
                                         .categories = UM_JKEY("categories"),
                                         .brand = UM_JKEY("store"),
                                         .features = UM_JKEY("features")};

/* The metadata of a category, "meta_<CAT>.json" or ".jsonl", in `name`; false when there are none.
 */
static bool find_meta(const um_bundle *bundle, const um_amazon_layout *lay, const char *category,
                      um_str *name)
{
    um_str_clear(name);
    um_str_appendf(name, "meta_%s%s", category, lay->review_suffix);
    if (um_partner_exists(bundle, um_str_text(name)))
        return true;
    if (lay != &um_amazon_2018)
        return false;
    um_str_append_char(name, 'l');
    return um_partner_exists(bundle, um_str_text(name));
}

void um_amazon_files_dispose(um_amazon_files *l)
{
    um_str_dispose(&l->category);
    um_str_dispose(&l->meta);
    um_str_dispose(&l->names);
}

/* Looks at review files of one suffix. is_core: only those of the smaller sets, "<CAT>_5". */
static void locate_suffix(um_amazon_files *l, const um_bundle *bundle, const um_amazon_layout *lay,
                          const char *suffix, bool is_core)
{
    size_t next = 0;
    um_str part = UM_STR_INIT, meta = UM_STR_INIT;
    const um_entry *entry;
    while ((entry = um_bundle_next_like(bundle, lay->review_prefix, suffix, &next, &part)) !=
           NULL) {
        const char *base = um_path_base(entry->name);
        bool core = um_str_ends(um_str_text(&part), "_5") && part.len > 2;
        if (um_str_starts(base, "meta_") || (is_core && !core) ||
            (lay != &um_amazon_2014 && um_str_starts(base, "reviews_")) ||
            (lay == &um_amazon_2023 && core))
            continue;
        if (core)
            part.data[part.len -= 2] = '\0';
        bool paired = find_meta(bundle, lay, um_str_text(&part), &meta);
        /* A file alone is only recognised where its name says what it is. */
        if (!paired && (l->reviews != NULL || (lay->review_prefix[0] == '\0' && !core)))
            continue;
        if (paired)
            um_str_appendf(&l->names, "%s%s", l->n_pairs > 0 ? ", " : "", base);
        if (paired && l->n_pairs++ > 0)
            continue;
        l->reviews = entry;
        um_str_clear(&l->category);
        um_str_append(&l->category, um_str_text(&part));
        um_str_clear(&l->meta);
        um_str_append(&l->meta, um_str_text(&meta));
    }
    um_str_dispose(&part);
    um_str_dispose(&meta);
}

void um_amazon_locate(um_amazon_files *l, const um_bundle *bundle, const um_amazon_layout *lay)
{
    *l = (um_amazon_files){0};
    locate_suffix(l, bundle, lay, lay->review_suffix, false);
    if (lay == &um_amazon_2018)
        locate_suffix(l, bundle, lay, ".jsonl", true);
}

um_status um_amazon_locate_one(um_amazon_files *l, const um_bundle *bundle,
                               const um_amazon_layout *lay, um_error *err)
{
    um_amazon_locate(l, bundle, lay);
    um_status status = um_str_status(&l->names, err);
    if (status == UM_OK)
        status = um_str_status(&l->category, err);
    if (status == UM_OK)
        status = um_str_status(&l->meta, err);
    if (status != UM_OK)
        return status;
    if (l->n_pairs == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: %s needs the metadata of its items, meta_%s%s or that with .gz, in the "
                       "same place",
                       bundle->path, l->reviews != NULL ? l->reviews->name : "a review file",
                       um_str_text(&l->category), lay->review_suffix);
    if (l->n_pairs > 1)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: review files of %zu categories or sizes: %.100s; give the path of the "
                       "one to read (its metadata are found beside it)%s",
                       bundle->path, l->n_pairs, um_str_text(&l->names),
                       bundle->kind == UM_BUNDLE_ZIP ? ", out of the zip" : "");
    return UM_OK;
}
