/* SPDX-License-Identifier: MIT */
/*
 * A template that is there is found without a lock. Otherwise who gets the lock of its key makes
 * it; the others look again and again, for the template and for the lock, until there is one of
 * the two.
 */
#include "image/template.h"

#include "image/formatter.h"
#include "image/new_file.h"
#include "image/stamp.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 20

/* What is wanted, and with what it is made. */
struct wish {
	const struct vblk_image_fs *fs;
	uint64_t bytes;
	char *program;
	char key[VBLK_IMAGE_KEY_SIZE];
	char text[48]; /* ext4:256M */
	struct vblk_image_cache cache;
	const struct vblk_image_events *events;
};

static int cache_failed(const struct wish *wish, int code, struct vblk_image_failure *failure)
{
	int ret = vblk_image_path_fail(failure, code, "write to the folder for templates",
				       wish->cache.path);
	const size_t length = strlen(failure->text);

	if (ret == -EINVAL)
		snprintf(failure->text + length, sizeof(failure->text) - length,
			 " (VBLK_CACHE_DIR names another)");
	return ret;
}

/* ---- making it; the lock is held ---- */

/* Makes sure that the formatter has done what it said. */
static int check_result(const struct wish *wish, int fd, struct vblk_image_failure *failure)
{
	struct vblk_image_stamp stamp;
	int ret = vblk_image_stamp_take(fd, &stamp);

	if (ret)
		return vblk_image_fail(failure, ret, "cannot look at what %s made",
				       wish->fs->formatter);
	if (stamp.bytes == wish->bytes && strcmp(stamp.fs, wish->fs->name) == 0)
		return 0;
	return vblk_image_fail(failure, -EIO, "%s made %s of %" PRIu64 " bytes, not %s",
			       wish->fs->formatter, stamp.fs, stamp.bytes, wish->text);
}

static int fill(const struct wish *wish, const char *file, int fd,
		struct vblk_image_failure *failure)
{
	struct vblk_image_progress progress;
	int ret;

	if (ftruncate(fd, (off_t)wish->bytes) < 0)
		return vblk_image_path_fail(failure, -errno, "set the length of", file);
	vblk_image_progress_begin(&progress, wish->events);
	ret = vblk_image_formatter_run(wish->fs, wish->program, wish->key, file, &progress,
				       failure);
	vblk_image_progress_end(&progress);
	if (!ret)
		ret = check_result(wish, fd, failure);
	if (ret)
		return ret;
	/* For smaller and faster copies only. */
	ret = vblk_image_dig_holes(fd);
	if (ret && ret != -EOPNOTSUPP)
		return vblk_image_fail(failure, ret, "cannot make holes in '%s'", file);
	return 0;
}

static int make(const struct wish *wish, struct vblk_image_failure *failure)
{
	char *name, *file;
	int fd, ret;

	ret = vblk_image_cache_stage(&wish->cache, wish->key, &name, &file, &fd);
	if (ret)
		return cache_failed(wish, ret, failure);
	ret = fill(wish, file, fd, failure);
	if (!ret) {
		ret = vblk_image_cache_publish(&wish->cache, wish->key, name, fd);
		if (ret)
			ret = cache_failed(wish, ret, failure);
	}
	if (ret)
		vblk_image_cache_discard(&wish->cache, name);
	close(fd);
	free(name);
	free(file);
	return ret;
}

/* ---- finding it ---- */

static int find(const struct wish *wish, int *fd)
{
	return vblk_image_cache_find(&wish->cache, wish->key, wish->fs->name, wish->bytes, fd);
}

/* With the lock, nobody else makes it; but somebody may just have. */
static int find_or_make(const struct wish *wish, int *fd, struct vblk_image_failure *failure)
{
	int ret = find(wish, fd);

	if (!ret)
		return 0;
	ret = make(wish, failure);
	if (!ret && find(wish, fd))
		ret = vblk_image_fail(failure, -EIO, "the template %s does not fit its stamp",
				      wish->text);
	return ret;
}

static int obtain(const struct wish *wish, int *fd, struct vblk_image_failure *failure)
{
	const struct timespec look = { .tv_nsec = LOOK_MS * VBLK_NSEC_PER_MSEC };
	struct vblk_image_progress progress;
	pid_t holder = 0;
	int lock_fd = -1, ret;

	vblk_image_progress_begin(&progress, wish->events);
	while ((ret = find(wish, fd)) != 0) {
		const uint64_t waited_ms = vblk_image_progress_ms(&progress);

		ret = vblk_image_cache_lock(&wish->cache, wish->key, &lock_fd, &holder);
		if (ret != -EWOULDBLOCK || waited_ms >= VBLK_IMAGE_WAIT_MS)
			break;
		vblk_image_progress_tell(&progress, "waiting for process %ld, which makes %s",
					 (long)holder, wish->text);
		nanosleep(&look, NULL);
	}
	vblk_image_progress_end(&progress);
	if (ret == -EWOULDBLOCK)
		return vblk_image_fail(failure, -ETIMEDOUT,
				       "waited %u s for process %ld, which makes %s",
				       VBLK_IMAGE_WAIT_MS / 1000, (long)holder, wish->text);
	if (ret)
		return cache_failed(wish, ret, failure);
	if (*fd >= 0)
		return 0;
	ret = find_or_make(wish, fd, failure);
	close(lock_fd);
	return ret;
}

static int begin(struct wish *wish, struct vblk_image_failure *failure)
{
	char size[VBLK_IMAGE_SIZE_TEXT];
	uint64_t fingerprint;
	int ret;

	vblk_image_size_text(wish->bytes, size);
	snprintf(wish->text, sizeof(wish->text), "%s:%s", wish->fs->name, size);
	ret = vblk_image_formatter_find(wish->fs, getenv("PATH"), &wish->program, failure);
	if (ret)
		return ret;
	ret = vblk_image_formatter_fingerprint(wish->fs, wish->program, &fingerprint, failure);
	if (!ret)
		ret = vblk_image_cache_open(&wish->cache, failure);
	if (ret) {
		free(wish->program);
		return ret;
	}
	vblk_image_cache_key(wish->fs, wish->bytes, fingerprint, wish->key);
	vblk_image_cache_sweep(&wish->cache);
	return 0;
}

static void end(struct wish *wish)
{
	vblk_image_cache_close(&wish->cache);
	free(wish->program);
}

int vblk_image_template_open(const struct vblk_image_fs *fs, uint64_t bytes,
			     const struct vblk_image_events *events,
			     struct vblk_image_template *template,
			     struct vblk_image_failure *failure)
{
	struct wish wish = { .fs = fs, .bytes = bytes, .events = events };
	int ret = vblk_image_fs_check_size(fs, bytes, failure);

	if (ret)
		return ret;
	if (!fs->formatter)
		return vblk_image_refuse(failure, "%s has no file system and so no template",
					 fs->name);
	ret = begin(&wish, failure);
	if (ret)
		return ret;
	ret = obtain(&wish, &template->fd, failure);
	if (!ret && asprintf(&template->path, "%s/%s/" VBLK_IMAGE_TEMPLATE_NAME, wish.cache.path,
			     wish.key) < 0) {
		close(template->fd);
		ret = vblk_image_fail(failure, -ENOMEM, "cannot open the template");
	}
	end(&wish);
	return ret;
}

void vblk_image_template_close(struct vblk_image_template *template)
{
	close(template->fd);
	free(template->path);
}

/* ---- copies of it ---- */

static const char *temporary_folder(void)
{
	const char *folder = getenv("TMPDIR");

	return folder && *folder ? folder : "/tmp";
}

static int open_temporary(int *fd, struct vblk_image_failure *failure)
{
	const char *folder = temporary_folder();
	int ret = vblk_image_open_nameless(folder, "vblk.", fd);

	return ret ? vblk_image_path_fail(failure, ret, "make a file in", folder) : 0;
}

static int throw_away_raw(uint64_t bytes, int *fd, struct vblk_image_failure *failure)
{
	int ret = open_temporary(fd, failure);

	if (ret)
		return ret;
	if (ftruncate(*fd, (off_t)bytes) == 0)
		return 0;
	ret = vblk_image_path_fail(failure, -errno, "make a file of that size in",
				   temporary_folder());
	close(*fd);
	return ret;
}

/* Beside the template, because blocks are shared within a file system only. */
static int open_copy(const struct vblk_image_cache *cache, int *fd,
		     struct vblk_image_failure *failure)
{
	int ret = vblk_image_open_nameless(cache->path, VBLK_IMAGE_CLONE_PREFIX, fd);

	/* Templates that somebody else has made can be used without a right to write there. */
	if (ret == -EROFS || ret == -EACCES || ret == -EPERM)
		return open_temporary(fd, failure);
	return ret ? vblk_image_path_fail(failure, ret, "make a file in", cache->path) : 0;
}

int vblk_image_throw_away(const struct vblk_image_fs *fs, uint64_t bytes,
			  const struct vblk_image_events *events, int *fd,
			  struct vblk_image_failure *failure)
{
	struct vblk_image_template template;
	struct vblk_image_cache cache;
	enum vblk_image_copied how;
	int ret;

	if (!fs->formatter)
		return throw_away_raw(bytes, fd, failure);
	ret = vblk_image_cache_open(&cache, failure);
	if (ret)
		return ret;
	ret = vblk_image_template_open(fs, bytes, events, &template, failure);
	if (ret)
		goto close_cache;
	ret = open_copy(&cache, fd, failure);
	if (ret)
		goto close_template;
	ret = vblk_image_copy(template.fd, *fd, events, &how, failure);
	if (ret) {
		ret = vblk_image_path_fail(failure, ret, "make a copy of the template in",
					   cache.path);
		close(*fd);
	}
close_template:
	vblk_image_template_close(&template);
close_cache:
	vblk_image_cache_close(&cache);
	return ret;
}
