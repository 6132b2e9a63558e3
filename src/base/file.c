#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/scan.h"
#include "base/str.h"

#define READ_FIRST_BYTES ((size_t)1 << 16)

/* Opens a file that can be read as one; a missing one is UM_ERR_NOT_FOUND. */
static um_status open_input(int *out, struct stat *info, const char *path, um_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT)
            return um_fail(err, UM_ERR_NOT_FOUND, "cannot open '%s': no such file", path);
        return um_fail_errno(err, "open", path);
    }
    if (fstat(fd, info) != 0) {
        um_status status = um_fail_errno(err, "examine", path);
        close(fd);
        return status;
    }
    if (S_ISDIR(info->st_mode)) {
        close(fd);
        return um_fail(err, UM_ERR_INPUT, "cannot read '%s': it is a folder, need a file", path);
    }
    *out = fd;
    return UM_OK;
}

static um_status fail_too_long(um_error *err, const char *path, size_t max_bytes)
{
    return um_fail(err, UM_ERR_LIMIT, "%s: file is longer than its limit of %zu bytes", path,
                   max_bytes);
}

/* Reads to the end; one byte past max_bytes is read to tell a file that fits from one that does
 * not. */
static um_status read_all(int fd, size_t expected, size_t max_bytes, const char *path,
                          char **data_out, size_t *len_out, um_error *err)
{
    size_t cap = expected + 2 > READ_FIRST_BYTES ? expected + 2 : READ_FIRST_BYTES;
    size_t len = 0;
    um_status status;
    char *data = malloc(cap);
    if (data == NULL)
        return um_fail_memory(err, path);
    for (;;) {
        ssize_t got = read(fd, data + len, cap - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = um_fail_errno(err, "read", path);
            goto fail;
        }
        if (got == 0)
            break;
        len += (size_t)got;
        if (len > max_bytes) {
            status = fail_too_long(err, path, max_bytes);
            goto fail;
        }
        if (len + 1 == cap) {
            char *grown = cap > SIZE_MAX / 2 ? NULL : realloc(data, cap * 2);
            if (grown == NULL) {
                status = um_fail_memory(err, path);
                goto fail;
            }
            data = grown;
            cap *= 2;
        }
    }
    data[len] = '\0';
    *data_out = data;
    *len_out = len;
    return UM_OK;
fail:
    free(data);
    return status;
}

um_status um_file_read(char **data, size_t *len, const char *path, size_t max_bytes, um_error *err)
{
    int fd;
    struct stat info;
    um_status status = open_input(&fd, &info, path, err);
    if (status != UM_OK)
        return status;
    size_t expected = S_ISREG(info.st_mode) && info.st_size > 0 ? (size_t)info.st_size : 0;
    if (expected > max_bytes)
        status = fail_too_long(err, path, max_bytes);
    else
        status = read_all(fd, expected, max_bytes, path, data, len, err);
    close(fd);
    return status;
}

um_status um_filemap_open(um_filemap *map, const char *path, um_error *err)
{
    int fd;
    struct stat info;
    um_status status = open_input(&fd, &info, path, err);
    if (status != UM_OK)
        return status;
    if (!S_ISREG(info.st_mode)) {
        status = um_fail(err, UM_ERR_INPUT, "cannot map '%s': it is not a regular file", path);
    } else if (info.st_size == 0) {
        *map = (um_filemap){.data = (const unsigned char *)"", .len = 0};
    } else {
        size_t len = (size_t)info.st_size;
        void *data = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            status = um_fail_errno(err, "map", path);
        else
            *map = (um_filemap){.data = data, .len = len};
    }
    close(fd);
    return status;
}

void um_filemap_close(um_filemap *map)
{
    if (map->len > 0)
        munmap((void *)(uintptr_t)map->data, map->len);
    *map = (um_filemap){0};
}

um_status um_outfile_open(um_outfile *out, const char *path, um_error *err)
{
    *out = (um_outfile){.path = um_strdup(path)};
    um_str temporary = UM_STR_INIT;
    um_str_appendf(&temporary, "%s.tmp", path);
    um_status status = um_str_take(&temporary, &out->temporary, err);
    um_str_dispose(&temporary);
    if (status == UM_OK && out->path == NULL)
        status = um_fail_memory(err, path);
    if (status == UM_OK) {
        int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
        int fd = open(out->temporary, flags, 0666);
        out->stream = fd < 0 ? NULL : fdopen(fd, "wb");
        if (out->stream == NULL) {
            status = um_fail_errno(err, "create", out->temporary);
            if (fd >= 0)
                close(fd);
        }
    }
    if (status != UM_OK)
        um_outfile_dispose(out);
    return status;
}

/* A name that was made, moved or taken away stays so only once the folder that holds it is
 * synced. */
static um_status sync_parent(const char *path, um_error *err)
{
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    while (len > 0 && path[len - 1] != '/')
        len--;
    char *dir = len == 0 ? um_strdup(path[0] == '/' ? "/" : ".") : um_strndup(path, len);
    if (dir == NULL)
        return um_fail_memory(err, path);
    um_status status = UM_OK;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        status = um_fail_errno(err, "sync folder", dir);
    if (fd >= 0)
        close(fd);
    free(dir);
    return status;
}

um_status um_outfile_commit(um_outfile *out, um_error *err)
{
    um_status status = UM_OK;
    if (fflush(out->stream) != 0 || ferror(out->stream))
        status = um_fail_errno(err, "write", out->temporary);
    else if (fsync(fileno(out->stream)) != 0)
        status = um_fail_errno(err, "sync", out->temporary);
    int closed = fclose(out->stream);
    out->stream = NULL;
    if (status == UM_OK && closed != 0)
        status = um_fail_errno(err, "close", out->temporary);
    if (status == UM_OK && rename(out->temporary, out->path) != 0)
        status = um_fail_errno(err, "rename into place", out->path);
    if (status == UM_OK) {
        free(out->temporary); /* nothing is left for dispose to remove */
        out->temporary = NULL;
        status = sync_parent(out->path, err);
    }
    um_outfile_dispose(out);
    return status;
}

void um_outfile_dispose(um_outfile *out)
{
    if (out->stream != NULL)
        fclose(out->stream);
    if (out->temporary != NULL)
        unlink(out->temporary);
    free(out->temporary);
    free(out->path);
    *out = (um_outfile){0};
}

um_status um_file_write(const char *path, const void *data, size_t len, um_error *err)
{
    um_outfile out;
    um_status status = um_outfile_open(&out, path, err);
    if (status != UM_OK)
        return status;
    if (len > 0 && fwrite(data, 1, len, out.stream) != len) {
        status = um_fail_errno(err, "write", out.temporary);
        um_outfile_dispose(&out);
        return status;
    }
    return um_outfile_commit(&out, err);
}

bool um_path_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool um_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

um_status um_path_join(char **out, const char *dir, const char *name, um_error *err)
{
    um_str path = UM_STR_INIT;
    um_str_append(&path, dir);
    if (path.len > 0 && path.data[path.len - 1] != '/')
        um_str_append_char(&path, '/');
    um_str_append(&path, name);
    um_status status = um_str_take(&path, out, err);
    um_str_dispose(&path);
    return status;
}

const char *um_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

um_status um_path_make_dirs(const char *path, um_error *err)
{
    um_status status = UM_OK;
    char *copy = um_strdup(path);
    if (copy == NULL)
        return um_fail_memory(err, path);
    size_t len = strlen(copy);
    for (size_t i = 1; i <= len && status == UM_OK; i++) {
        if (copy[i] != '/' && copy[i] != '\0')
            continue;
        char cut = copy[i];
        copy[i] = '\0';
        if (mkdir(copy, 0777) == 0) {
            status = sync_parent(copy, err);
        } else if (errno != EEXIST || !um_path_is_dir(copy)) {
            if (errno == EEXIST)
                errno = ENOTDIR;
            status = um_fail_errno(err, "make folder", copy);
        }
        copy[i] = cut;
    }
    free(copy);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

um_status um_path_list(char ***names, size_t *n, const char *dir, um_error *err)
{
    UM_VEC(char *) list = {0};
    um_status status = UM_OK;
    DIR *stream = opendir(dir);
    if (stream == NULL)
        return um_fail_errno(err, "open folder", dir);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            if (errno != 0)
                status = um_fail_errno(err, "read folder", dir);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *name = um_strdup(entry->d_name);
        if (name == NULL || !um_vec_push(&list, name)) {
            free(name);
            status = um_fail_memory(err, dir);
            break;
        }
    }
    closedir(stream);
    if (status == UM_OK && list.data == NULL && !um_vec_reserve(&list, 1))
        status = um_fail_memory(err, dir);
    if (status != UM_OK) {
        for (size_t i = 0; i < list.len; i++)
            free(list.data[i]);
        um_vec_dispose(&list);
        return status;
    }
    qsort(list.data, list.len, sizeof *list.data, compare_names);
    *names = list.data;
    *n = list.len;
    return UM_OK;
}

uint64_t um_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t um_peak_rss_kb(void)
{
    /* VmHWM belongs to this program; ru_maxrss also remembers the process that started it. */
    unsigned long long kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    if (f != NULL) {
        char line[256];
        while (fgets(line, sizeof line, f) != NULL) {
            if (sscanf(line, "VmHWM: %llu kB", &kb) == 1)
                break;
        }
        fclose(f);
    }
    if (kb == 0) {
        struct rusage usage;
        if (getrusage(RUSAGE_SELF, &usage) == 0)
            kb = (unsigned long long)usage.ru_maxrss;
    }
    return kb;
}

uint64_t um_memory_physical(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : UINT64_MAX;
}

uint64_t um_memory_available(void)
{
    uint64_t physical = um_memory_physical(), bytes = physical;
    FILE *f = fopen("/proc/meminfo", "re");
    if (f == NULL)
        return physical;
    char line[256];
    unsigned long long kb;
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1) {
            bytes = kb < physical / 1024 ? kb * 1024 : physical;
            break;
        }
    }
    fclose(f);
    return bytes;
}

bool um_time_parse(const char *text, int64_t *seconds)
{
    return um_time_parse_n(text, strlen(text), seconds);
}

/* Two digits at each place of a text of eight bytes, as bytes of numbers, from bytes of digits. */
static uint64_t digit_pairs(uint64_t digits)
{
    return digits * 10 + (digits >> 8);
}

static int byte_of(uint64_t word, int i)
{
    return (int)(word >> 8 * i & 0xff);
}

/* Whether 8 bytes, from which the text of a shape was taken as bits (^), have digits where it has
 * '0', and what it has elsewhere. */
static bool has_shape(uint64_t differ, uint64_t digits)
{
    const uint64_t tops = (digits & UINT64_C(0xf0f0f0f0f0f0f0f0)) | ~digits;
    return ((differ | (differ + (digits & UINT64_C(0x0606060606060606)))) & tops) == 0;
}

bool um_time_parse_n(const char *text, size_t len, int64_t *seconds)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    enum { LEN = 19, TIME_AT = 11, BEFORE_1970 = 719528 /* days from 0000-01-01 */ };
    if (len != LEN)
        return false;
    const uint64_t date = um_scan_word(text) ^ um_scan_word("0000-00-");
    const uint64_t time = um_scan_word(text + TIME_AT) ^ um_scan_word("00:00:00");
    const unsigned tens = (unsigned char)(text[8] - '0'), ones = (unsigned char)(text[9] - '0');
    if (!has_shape(date, UINT64_C(0x00ffff00ffffffff)) ||
        !has_shape(time, UINT64_C(0xffff00ffff00ffff)) || tens > 9 || ones > 9 || text[10] != ' ')
        return false;
    const uint64_t dates = digit_pairs(date), times = digit_pairs(time);
    const int century = byte_of(dates, 0), year = byte_of(dates, 2); /* of the century */
    const int month = byte_of(dates, 5), day = (int)(tens * 10 + ones);
    const int hour = byte_of(times, 0), minute = byte_of(times, 3), second = byte_of(times, 6);
    if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59)
        return false;
    /* The proleptic Gregorian calendar: fourths, hundredths and four hundredths of the years before
     * this one. */
    const int leap = year % 4 == 0 && (year != 0 || century % 4 == 0);
    const int fourths = century * 25 + (year + 3) / 4, hundredths = century + (year > 0);
    const int days = (century * 100 + year) * 365 + fourths - hundredths + (hundredths + 3) / 4;
    const int first = before[month - 1] + (month > 2 ? leap : 0);
    if (day < 1 || day > before[month] + (month > 1 ? leap : 0) - first)
        return false;
    *seconds = (int64_t)(days + first + day - 1 - BEFORE_1970) * 86400 + hour * 3600 + minute * 60 +
               second;
    return true;
}

void um_time_format(int64_t seconds, char out[32])
{
    int64_t days = seconds / 86400 - (seconds % 86400 < 0);
    int rest = (int)((seconds % 86400 + 86400) % 86400);
    int64_t shifted = days + 719468; /* days since 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted_month = (5 * day_of_year + 2) / 153; /* 0 = March */
    int day = (int)(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    int month = (int)(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
    long long year = (long long)(year_of_era + era * 400 + (month <= 2));
    char text[64]; /* the longest year an int64_t reaches makes 27 characters */
    snprintf(text, sizeof text, "%04lld-%02d-%02d %02d:%02d:%02d", year, month, day, rest / 3600,
             rest / 60 % 60, rest % 60);
    memcpy(out, text, 31);
    out[31] = '\0';
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

um_status um_path_remove_tree(const char *path, um_error *err)
{
    if (!um_path_exists(path))
        return UM_OK;
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return um_fail_errno(err, "remove", path);
    return UM_OK;
}

um_status um_path_rename(const char *from, const char *to, um_error *err)
{
    if (rename(from, to) != 0)
        return um_fail_errno(err, "rename", from);
    um_status status = sync_parent(to, err);
    return status == UM_OK ? sync_parent(from, err) : status;
}
