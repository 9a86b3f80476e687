/* SPDX-License-Identifier: MIT */
/*
 * A driver's way to a vhost-user-blk back end, ours or another, on a socket. What the back end
 * answers is not trusted: lengths are checked, and no answer is waited for longer than 10 s.
 */
#ifndef DRIVER_FRONT_H
#define DRIVER_FRONT_H

#include "driver/transport.h"

/*
 * Connects, negotiates, and reads what the disk is. traits.pid is that of the process that
 * listened, by SO_PEERCRED.
 *
 * Returns 0 and a transport; -ENAMETOOLONG, or what connect(2) said; -EOPNOTSUPP if the back end
 * is no block device of virtio 1 that tells its size; -EPROTO, -ETIMEDOUT or -ECONNRESET if it
 * does not keep to the protocol; -EMFILE, -ENOMEM.
 */
VBLK_MUST_USE int vblk_front_open(const char *path, struct vblk_driver_transport **transport);

/* The same on a connection, whose descriptor is taken over in any case. */
VBLK_MUST_USE int vblk_front_adopt(int fd, struct vblk_driver_transport **transport);

#endif
