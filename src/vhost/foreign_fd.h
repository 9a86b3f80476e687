/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that a front end sends, and which of them can be touched at all.
 *
 * A file may live on a file system that somebody else serves (FUSE, NFS). Nearly every call on it
 * then takes as long as that somebody likes: fstat, fstatfs, poll, write, and close no less. So
 * what comes is judged at the door, by what the kernel knows by itself, and what cannot be trusted
 * is closed by a thread that may hang.
 */
#ifndef VBLK_VHOST_FOREIGN_FD_H
#define VBLK_VHOST_FOREIGN_FD_H

#include <vblk/types.h>

/*
 * Whether no call on the descriptor waits for another process or another host: it is a memfd, a
 * file on tmpfs, hugetlbfs or a file system on a block device, a Unix socket, a pipe, or an eventfd
 * or something else without a file system. If not, *reason says what would be right.
 *
 * Refused are also files on local file systems without a block device of their own (btrfs, ZFS,
 * overlayfs), which cannot be told from NFS without asking them.
 */
bool vblk_vhost_fd_is_prompt(int fd, const char **reason);

/*
 * Closes descriptors on a thread, which is there only while there is something to close. Belongs
 * to one thread, but for what its own does; that one keeps what it needs when it is left behind.
 */
struct vblk_vhost_closer;

/* As many descriptors as it keeps; nobody may hand over more than that while it is busy. */
#define VBLK_VHOST_CLOSER_MAX 32u

/* Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_vhost_closer_create(struct vblk_vhost_closer **closer);
void vblk_vhost_closer_release(struct vblk_vhost_closer *closer);

/* Takes over `fd`. Without room for it, it is closed by the caller, come what may. */
void vblk_vhost_closer_close(struct vblk_vhost_closer *closer, int fd);

/* Whether there is still something to be closed; sees to it that it is tried. */
bool vblk_vhost_closer_is_busy(struct vblk_vhost_closer *closer);

#endif
