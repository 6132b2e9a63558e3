/*
 * lock.h - workspace.lock: who writes to a workspace.
 *
 * The lock is flock(2) on the file, so the kernel drops it with the process that held it, however
 * that ended; the text inside ("pid", "host", "command") is only there to name the holder.
 */
#ifndef UM_STORE_LOCK_H
#define UM_STORE_LOCK_H

#include "mirrorer/status.h"

/* *fd holds the lock until um_lock_release. UM_ERR_STATE names the holder. */
um_status um_lock_take(int *fd, const char *path, um_error *err) UM_CHECKED;
void um_lock_release(int fd); /* -1 is fine */

#endif
