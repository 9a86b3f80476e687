/* SPDX-License-Identifier: MIT */
/*
 * Templates: images with an empty file system, each made once for its size, file system and
 * formatter, kept in the cache (image/cache.h), and copied for whoever wants one.
 *
 * Any number of processes may ask for one template at once: one makes it, the others wait, for at
 * most VBLK_IMAGE_WAIT_MS. Each call looks after what dead processes have left.
 */
#ifndef IMAGE_TEMPLATE_H
#define IMAGE_TEMPLATE_H

#include "image/cache.h"
#include "image/copy.h"
#include "image/progress.h"

#define VBLK_IMAGE_WAIT_MS 600000u

struct vblk_image_template {
	int fd;	    /* to read */
	char *path; /* owned */
};

/* Opens the template, which is made if it is not there or is not whole. */
VBLK_MUST_USE int vblk_image_template_open(const struct vblk_image_fs *fs, uint64_t bytes,
					   const struct vblk_image_events *events,
					   struct vblk_image_template *template,
					   struct vblk_image_failure *failure);

void vblk_image_template_close(struct vblk_image_template *template);

/*
 * Opens a copy of the template for one's own use, to read and write. It has no name, and is gone
 * when it is closed, also by the death of the process. It lies in the cache, or where that cannot
 * be written to, in TMPDIR or /tmp. A raw one is a hole of that size and needs no template; it
 * lies in TMPDIR, or in /tmp.
 */
VBLK_MUST_USE int vblk_image_throw_away(const struct vblk_image_fs *fs, uint64_t bytes,
					const struct vblk_image_events *events, int *fd,
					struct vblk_image_failure *failure);

#endif
