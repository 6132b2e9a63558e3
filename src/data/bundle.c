#include "data/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"

#define FOLDER_DEPTH   2
#define MAX_NAME_BYTES 1024
#define SHOWN_NAMES    12
#define ARCHIVE_BLOCK  ((size_t)1 << 16)

typedef UM_VEC(um_entry) entry_list;

static um_status add_entry(entry_list *list, const char *path, const char *name, bool is_encrypted,
                           size_t index, um_error *err)
{
    if (list->len >= UM_BUNDLE_MAX_ENTRIES)
        return um_fail(err, UM_ERR_LIMIT, "%s: more than %d files; give the data set's own folder",
                       path, UM_BUNDLE_MAX_ENTRIES);
    um_entry entry = {.name = um_strdup(name), .is_encrypted = is_encrypted, .index = index};
    if (entry.name == NULL || !um_vec_push(list, entry)) {
        free(entry.name);
        return um_fail_memory(err, "a file list");
    }
    return UM_OK;
}

/* "._name": what macOS keeps beside a file, in zips too, is no file of its own. */
static bool is_apple_double(const char *name)
{
    return um_str_starts(um_path_base(name), "._");
}

static um_status list_folder(entry_list *list, const char *root, const char *inside, int depth,
                             um_error *err)
{
    char **names = NULL, *folder = NULL, *name = NULL, *full = NULL;
    size_t n = 0;
    um_status status = um_path_join(&folder, root, inside, err);
    if (status == UM_OK) {
        /* A subfolder that cannot be read is only an error when a file in it is needed. */
        um_status listed = um_path_list(&names, &n, folder, err);
        if (listed != UM_OK && depth == 0)
            status = listed;
    }
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        struct stat info;
        if (inside[0] == '\0')
            name = um_strdup(names[i]);
        else
            status = um_path_join(&name, inside, names[i], err);
        if (status == UM_OK && name == NULL)
            status = um_fail_memory(err, "a file list");
        if (status == UM_OK)
            status = um_path_join(&full, root, name, err);
        if (status == UM_OK && stat(full, &info) == 0) {
            if (S_ISREG(info.st_mode) && !is_apple_double(name))
                status = add_entry(list, root, name, false, 0, err);
            else if (S_ISDIR(info.st_mode) && depth < FOLDER_DEPTH)
                status = list_folder(list, root, name, depth + 1, err);
        }
        free(name);
        free(full);
        name = full = NULL;
    }
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    free(folder);
    return status;
}

/* A name that would climb out of a folder it is unpacked in. */
static bool leaves_folder(const char *name)
{
    if (name[0] == '/' || name[0] == '\\' || (name[0] != '\0' && name[1] == ':'))
        return true;
    for (const char *part = name; part != NULL;) {
        if (part[0] == '.' && part[1] == '.' &&
            (part[2] == '/' || part[2] == '\\' || part[2] == '\0'))
            return true;
        part = strpbrk(part, "/\\");
        part = part == NULL ? NULL : part + 1;
    }
    return false;
}

static um_status list_zip(entry_list *list, const char *path, um_error *err)
{
    um_status status = UM_OK;
    struct archive *archive = archive_read_new();
    if (archive == NULL)
        return um_fail_memory(err, "an archive");
    archive_read_support_format_zip_seekable(archive);
    if (archive_read_open_filename(archive, path, ARCHIVE_BLOCK) != ARCHIVE_OK) {
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: not a whole zip (no table of contents at its end: "
                         "cut short?): %s; fetch it again",
                         path, archive_error_string(archive));
        goto done;
    }
    for (size_t index = 0;; index++) {
        struct archive_entry *entry = NULL;
        int rc = archive_read_next_header(archive, &entry);
        if (rc == ARCHIVE_EOF)
            break;
        if (rc < ARCHIVE_WARN) {
            status = um_fail(err, UM_ERR_INPUT, "%s: entry %zu: damaged zip: %s", path, index + 1,
                             archive_error_string(archive));
            goto done;
        }
        const char *name = archive_entry_pathname_utf8(entry);
        if (name == NULL)
            name = archive_entry_pathname(entry);
        if (name == NULL || strlen(name) > MAX_NAME_BYTES) {
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: entry %zu: its name cannot be read or is longer "
                             "than %d bytes",
                             path, index + 1, MAX_NAME_BYTES);
            goto done;
        }
        if (leaves_folder(name)) {
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: entry name '%.200s' leads out of the archive; "
                             "such archives are not read",
                             path, name);
            goto done;
        }
        if (archive_entry_filetype(entry) != AE_IFREG || is_apple_double(name))
            continue;
        status = add_entry(list, path, name, archive_entry_is_encrypted(entry) != 0, index, err);
        if (status != UM_OK)
            goto done;
    }
done:
    archive_read_free(archive);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const um_entry *)a)->name, ((const um_entry *)b)->name);
}

/* Zips are told by their first bytes: "PK\3\4", or "PK\5\6" for an empty one. */
static um_status is_zip(const char *path, bool *zip, um_error *err)
{
    unsigned char magic[4] = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return um_fail_errno(err, "open", path);
    size_t n = fread(magic, 1, sizeof magic, file);
    fclose(file);
    *zip = n == 4 && (memcmp(magic, "PK\3\4", 4) == 0 || memcmp(magic, "PK\5\6", 4) == 0);
    return UM_OK;
}

um_status um_bundle_open(um_bundle **out, const char *path, um_error *err)
{
    um_status status = UM_OK;
    entry_list list = {0};
    struct stat info;
    bool zip = false;
    um_bundle *bundle = um_calloc(1, sizeof *bundle);
    if (bundle == NULL || (bundle->path = um_strdup(path)) == NULL) {
        status = um_fail_memory(err, "a bundle");
        goto done;
    }
    if (stat(path, &info) != 0) {
        status = um_fail_errno(err, "open", path);
        goto done;
    }
    bundle->packed_bytes = (uint64_t)info.st_size;
    if (S_ISDIR(info.st_mode)) {
        bundle->kind = UM_BUNDLE_FOLDER;
        status = list_folder(&list, path, "", 0, err);
    } else if (!S_ISREG(info.st_mode)) {
        status = um_fail(err, UM_ERR_INPUT, "%s: neither a folder nor a regular file", path);
    } else if ((status = is_zip(path, &zip, err)) == UM_OK && zip) {
        bundle->kind = UM_BUNDLE_ZIP;
        status = list_zip(&list, path, err);
    } else if (status == UM_OK) {
        bundle->kind = UM_BUNDLE_FILE;
        status = add_entry(&list, path, um_path_base(path), false, 0, err);
    }
    if (status == UM_OK && list.len > 0)
        qsort(list.data, list.len, sizeof *list.data, compare_entries);
done:
    if (bundle != NULL) {
        bundle->entries = list.data;
        bundle->n_entries = list.len;
    }
    if (status == UM_OK)
        *out = bundle;
    else
        um_bundle_free(bundle);
    return status;
}

void um_bundle_free(um_bundle *bundle)
{
    if (bundle == NULL)
        return;
    for (size_t i = 0; i < bundle->n_entries; i++)
        free(bundle->entries[i].name);
    free(bundle->entries);
    free(bundle->path);
    free(bundle);
}

const um_entry *um_bundle_find(const um_bundle *bundle, const char *name)
{
    const um_entry *best = NULL;
    size_t best_depth = SIZE_MAX, len = strlen(name);
    bool twice = false;
    for (size_t i = 0; i < bundle->n_entries; i++) {
        const char *base = um_path_base(bundle->entries[i].name);
        if (strncmp(base, name, len) != 0 ||
            (strcmp(base + len, "") != 0 && strcmp(base + len, ".gz") != 0))
            continue;
        size_t depth = 0;
        for (const char *p = bundle->entries[i].name; *p != '\0'; p++)
            depth += *p == '/';
        twice = depth == best_depth || (twice && depth > best_depth);
        if (depth < best_depth) {
            best = &bundle->entries[i];
            best_depth = depth;
        }
    }
    return twice ? NULL : best;
}

void um_bundle_describe(const um_bundle *bundle, um_str *text)
{
    if (bundle->n_entries == 0)
        um_str_append(text, "no files");
    for (size_t i = 0; i < bundle->n_entries && i < SHOWN_NAMES; i++)
        um_str_appendf(text, "%s%.60s", i > 0 ? ", " : "", bundle->entries[i].name);
    if (bundle->n_entries > SHOWN_NAMES)
        um_str_appendf(text, " and %zu more", bundle->n_entries - SHOWN_NAMES);
}
