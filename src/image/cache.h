/* SPDX-License-Identifier: MIT */
/*
 * The folder with the templates, and what lies in it:
 *
 *     KEY/template.img       a template, which nobody writes to
 *     KEY/stamp              by which it is known to be whole (image/stamp.h)
 *     KEY.tmp.RANDOM/        one that is being made, or put out of the way
 *     clone.RANDOM           a clone that is about to lose its name
 *     .locks/KEY.lock        held while something named KEY.* is made or removed
 *
 * The key of a template says all that decides what it is: FS-BYTES-FINGERPRINT, the last of the
 * formatter's version and options. So another version makes another template, and the old one
 * stays until it is cleared.
 *
 * What a process that died has left is known by its lock, which is free. Names of the other kind
 * may be removed by anybody at any time: who made one keeps the file and needs no name.
 *
 * A cache belongs to one thread; other processes may use the folder at the same time.
 */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "image/fs.h"
#include <sys/types.h>

#define VBLK_IMAGE_KEY_SIZE	 64
#define VBLK_IMAGE_TEMPLATE_NAME "template.img"
#define VBLK_IMAGE_CLONE_PREFIX	 "clone."

struct vblk_image_cache {
	char *path;
	int fd;
};

/*
 * Where the folder is: CACHE_DIR/templates; or XDG_CACHE_HOME/vblk/templates, if that is absolute;
 * or HOME/.cache/vblk/templates. Arguments are the values of the variables, may be NULL, and count
 * as not set if they are empty. The caller frees `*path`. Returns 0, -ENOENT (none of them can be
 * used), or -ENOMEM. Pure.
 */
VBLK_MUST_USE int vblk_image_cache_folder(const char *cache_dir, const char *xdg_cache_home,
					  const char *home, char **path);

/* Opens the folder that VBLK_CACHE_DIR and the others name, and makes it if need be. */
VBLK_MUST_USE int vblk_image_cache_open(struct vblk_image_cache *cache,
					struct vblk_image_failure *failure);

/* The same with a folder that is given. */
VBLK_MUST_USE int vblk_image_cache_open_at(const char *path, struct vblk_image_cache *cache,
					   struct vblk_image_failure *failure);

void vblk_image_cache_close(struct vblk_image_cache *cache);

/* Pure. */
void vblk_image_cache_key(const struct vblk_image_fs *fs, uint64_t bytes, uint64_t fingerprint,
			  char key[VBLK_IMAGE_KEY_SIZE]);

/* Takes the lock of a key without waiting, see image/lock.h. */
VBLK_MUST_USE int vblk_image_cache_lock(const struct vblk_image_cache *cache, const char *key,
					int *lock_fd, pid_t *holder);

/*
 * Opens a template to read, if there is one of `bytes` bytes that fits its stamp and has the file
 * system `fs` in it. Returns 0 and a descriptor, or -ENOENT and -1.
 */
VBLK_MUST_USE int vblk_image_cache_find(const struct vblk_image_cache *cache, const char *key,
					const char *fs, uint64_t bytes, int *fd);

/*
 * Makes a folder for a template to be made in, and in it the file, to read and write. `*file` is
 * its path and `*name` the folder's name in the cache, both to be freed. The lock is held.
 */
VBLK_MUST_USE int vblk_image_cache_stage(const struct vblk_image_cache *cache, const char *key,
					 char **name, char **file, int *fd);

/*
 * Makes what is in a staged folder the template of the key: stable, stamped, and at once. What was
 * there before is removed. The lock is held. After a failure the folder is still there.
 */
VBLK_MUST_USE int vblk_image_cache_publish(const struct vblk_image_cache *cache, const char *key,
					   const char *name, int fd);

/* Removes a staged folder. */
void vblk_image_cache_discard(const struct vblk_image_cache *cache, const char *name);

/* Removes what dead processes have left. Returns how many things that were. */
unsigned int vblk_image_cache_sweep(const struct vblk_image_cache *cache);

/*
 * Sweeps, and removes all templates but those that somebody makes just now. Returns how many
 * templates were removed.
 */
unsigned int vblk_image_cache_clear(const struct vblk_image_cache *cache);

#endif
