#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"

/* Program and verb only: further arguments may hold what must not reach the disk. */
static void describe_command(char *out, size_t size)
{
    char line[256] = "";
    FILE *f = fopen("/proc/self/cmdline", "re");
    size_t n = f != NULL ? fread(line, 1, sizeof line - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    const char *program = strrchr(line, '/');
    program = program != NULL ? program + 1 : line;
    size_t verb_at = strlen(line) + 1;
    const char *verb = verb_at < n && line[verb_at] != '-' ? line + verb_at : "";
    snprintf(out, size, "%.64s%s%.32s", program[0] != '\0' ? program : "unknown",
             verb[0] != '\0' ? " " : "", verb);
}

static um_status write_holder(int fd, const char *path, um_error *err)
{
    char host[128] = "unknown", command[128], text[512];
    gethostname(host, sizeof host - 1);
    describe_command(command, sizeof command);
    int n = snprintf(text, sizeof text, "pid %ld\nhost %s\ncommand %s\n", (long)getpid(), host,
                     command);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return um_fail_errno(err, "write", path);
    return UM_OK;
}

/* The holder's own words on one line: "pid 12, host a, command mirrorer decide". */
static void read_holder(int fd, char *out, size_t size)
{
    char text[256];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    size_t used = 0;
    out[0] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        for (char *p = line; *p != '\0'; p++)
            *p = (unsigned char)*p < 0x20 ? '?' : *p;
        int wrote = snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "", line);
        if (wrote < 0 || (size_t)wrote >= size - used)
            break;
        used += (size_t)wrote;
    }
    if (used == 0)
        snprintf(out, size, "a process that has not named itself yet");
}

um_status um_lock_take(int *fd_out, const char *path, um_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return um_fail_errno(err, "open", path);
    um_status status = UM_OK;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            char holder[300];
            read_holder(fd, holder, sizeof holder);
            status =
                um_fail(err, UM_ERR_STATE,
                        "%s: another process writes to this workspace (%s); wait for it or stop it",
                        path, holder);
        } else {
            status = um_fail_errno(err, "lock", path);
        }
    } else {
        status = write_holder(fd, path, err);
    }
    if (status != UM_OK) {
        close(fd);
        return status;
    }
    *fd_out = fd;
    return UM_OK;
}

void um_lock_release(int fd)
{
    if (fd < 0)
        return;
    /* The file stays: removing it would let two processes lock two files of the same name. */
    int ignored = ftruncate(fd, 0);
    (void)ignored;
    close(fd);
}
