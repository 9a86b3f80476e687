/* SPDX-License-Identifier: MIT */
/*
 * A template is a folder, because a folder is renamed in one step, with all that is in it. Names
 * are looked up from the descriptor of the folder that is meant, so that a template and its stamp
 * are of one and the same folder, whatever its name means a moment later.
 */
#include "image/cache.h"

#include "image/lock.h"
#include "image/stamp.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAMP_NAME  "stamp"
#define LOCKS	    ".locks"
#define STAGED_MARK ".tmp."
#define NAME_SIZE   128 /* of a staged folder or of a lock: a key and a few characters more */

int vblk_image_cache_folder(const char *cache_dir, const char *xdg_cache_home, const char *home,
			    char **path)
{
	int length;

	if (cache_dir && *cache_dir)
		length = asprintf(path, "%s/templates", cache_dir);
	else if (xdg_cache_home && *xdg_cache_home == '/')
		length = asprintf(path, "%s/vblk/templates", xdg_cache_home);
	else if (home && *home == '/')
		length = asprintf(path, "%s/.cache/vblk/templates", home);
	else
		return -ENOENT;
	return length < 0 ? -ENOMEM : 0;
}

/* All folders of a path; what is there already is left as it is. */
static int make_folders(char *path)
{
	char *slash = path;
	int ret = 0;

	do {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			ret = -errno;
		if (slash)
			*slash = '/';
	} while (slash && !ret);
	return ret;
}

int vblk_image_cache_open_at(const char *path, struct vblk_image_cache *cache,
			     struct vblk_image_failure *failure)
{
	int ret;

	cache->fd = -1;
	cache->path = strdup(path);
	if (!cache->path)
		return vblk_image_fail(failure, -ENOMEM, "cannot open the cache");
	cache->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = cache->fd >= 0 ? 0 : -errno;
	if (ret == -ENOENT) {
		ret = make_folders(cache->path);
		if (!ret)
			cache->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (!ret && cache->fd < 0)
			ret = -errno;
	}
	if (ret) {
		ret = vblk_image_path_fail(failure, ret, "use the folder for templates", path);
		vblk_image_cache_close(cache);
	}
	return ret;
}

int vblk_image_cache_open(struct vblk_image_cache *cache, struct vblk_image_failure *failure)
{
	char *path;
	int ret = vblk_image_cache_folder(getenv("VBLK_CACHE_DIR"), getenv("XDG_CACHE_HOME"),
					  getenv("HOME"), &path);

	if (ret == -ENOENT)
		return vblk_image_refuse(failure, "there is no folder for templates: set "
						  "VBLK_CACHE_DIR, XDG_CACHE_HOME or HOME to an "
						  "absolute path");
	if (ret)
		return vblk_image_fail(failure, ret, "cannot open the cache");
	ret = vblk_image_cache_open_at(path, cache, failure);
	free(path);
	return ret;
}

void vblk_image_cache_close(struct vblk_image_cache *cache)
{
	free(cache->path);
	if (cache->fd >= 0)
		close(cache->fd);
}

void vblk_image_cache_key(const struct vblk_image_fs *fs, uint64_t bytes, uint64_t fingerprint,
			  char key[VBLK_IMAGE_KEY_SIZE])
{
	snprintf(key, VBLK_IMAGE_KEY_SIZE, "%s-%" PRIu64 "-%016" PRIx64, fs->name, bytes,
		 fingerprint);
}

int vblk_image_cache_lock(const struct vblk_image_cache *cache, const char *key, int *lock_fd,
			  pid_t *holder)
{
	char name[NAME_SIZE];

	if (mkdirat(cache->fd, LOCKS, 0700) < 0 && errno != EEXIST)
		return -errno;
	snprintf(name, sizeof(name), LOCKS "/%s.lock", key);
	return vblk_image_lock_try(cache->fd, name, lock_fd, holder);
}

/* ---- finding ---- */

static ssize_t read_stamp(int folder_fd, char *text, size_t size)
{
	int fd = openat(folder_fd, STAMP_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size);

	if (fd >= 0)
		close(fd);
	return n;
}

static bool is_whole(int folder_fd, int fd, const char *fs, uint64_t bytes)
{
	char text[VBLK_IMAGE_STAMP_TEXT];
	const ssize_t length = read_stamp(folder_fd, text, sizeof(text));
	struct vblk_image_stamp stamp;

	return length > 0 && vblk_image_stamp_take(fd, &stamp) == 0 && stamp.bytes == bytes &&
	       strcmp(stamp.fs, fs) == 0 && vblk_image_stamp_matches(&stamp, text, (size_t)length);
}

int vblk_image_cache_find(const struct vblk_image_cache *cache, const char *key, const char *fs,
			  uint64_t bytes, int *fd)
{
	int folder = openat(cache->fd, key, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int file;

	*fd = -1;
	if (folder < 0)
		return -ENOENT;
	file = openat(folder, VBLK_IMAGE_TEMPLATE_NAME,
		      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (file >= 0 && !is_whole(folder, file, fs, bytes)) {
		close(file);
		file = -1;
	}
	close(folder);
	*fd = file;
	return file < 0 ? -ENOENT : 0;
}

/* ---- making ---- */

/* KEY.tmp.RANDOM. No two processes make the same one, so an orphaned formatter spoils nothing. */
static int staged_name(const char *key, char name[NAME_SIZE])
{
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(name, NAME_SIZE, "%s" STAGED_MARK "%016" PRIx64, key, number);
	return 0;
}

int vblk_image_cache_stage(const struct vblk_image_cache *cache, const char *key, char **name,
			   char **file, int *fd)
{
	char folder[NAME_SIZE];
	int ret = staged_name(key, folder);

	if (ret)
		return ret;
	*name = strdup(folder);
	if (asprintf(file, "%s/%s/" VBLK_IMAGE_TEMPLATE_NAME, cache->path, folder) < 0)
		*file = NULL;
	if (!*name || !*file)
		ret = -ENOMEM;
	else if (mkdirat(cache->fd, folder, 0700) < 0)
		ret = -errno;
	if (!ret) {
		*fd = open(*file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (*fd < 0) {
			ret = -errno;
			vblk_image_cache_discard(cache, folder);
		}
	}
	if (ret) {
		free(*name);
		free(*file);
	}
	return ret;
}

void vblk_image_cache_discard(const struct vblk_image_cache *cache, const char *name)
{
	int folder = openat(cache->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (folder < 0) {
		unlinkat(cache->fd, name, 0); /* a file that had the name of a template */
		return;
	}
	unlinkat(folder, VBLK_IMAGE_TEMPLATE_NAME, 0);
	unlinkat(folder, STAMP_NAME, 0);
	close(folder);
	unlinkat(cache->fd, name, AT_REMOVEDIR);
}

/* Gets what has the name of a template out of its way, and removes it. */
static int remove_template(const struct vblk_image_cache *cache, const char *key)
{
	char name[NAME_SIZE];
	int ret = staged_name(key, name);

	if (ret)
		return ret;
	if (renameat(cache->fd, key, cache->fd, name) < 0)
		return -errno;
	vblk_image_cache_discard(cache, name);
	return 0;
}

static int write_stamp(int folder, int image_fd)
{
	char text[VBLK_IMAGE_STAMP_TEXT];
	struct vblk_image_stamp stamp;
	int ret = vblk_image_stamp_take(image_fd, &stamp);
	size_t length;
	int fd;

	if (ret)
		return ret;
	vblk_image_stamp_format(&stamp, text);
	length = strlen(text);
	fd = openat(folder, STAMP_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return -errno;
	errno = ENOSPC; /* what a short write means */
	if (write(fd, text, length) != (ssize_t)length || fsync(fd) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int vblk_image_cache_publish(const struct vblk_image_cache *cache, const char *key,
			     const char *name, int fd)
{
	int folder, ret;

	/* Read-only for everybody, so that nobody writes to it by mistake. */
	if (fchmod(fd, 0444) < 0 || fsync(fd) < 0)
		return -errno;
	folder = openat(cache->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return -errno;
	ret = write_stamp(folder, fd);
	if (!ret && fsync(folder) < 0)
		ret = -errno;
	close(folder);
	if (!ret && faccessat(cache->fd, key, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		ret = remove_template(cache, key);
	if (!ret && renameat(cache->fd, name, cache->fd, key) < 0)
		ret = -errno;
	if (!ret && fsync(cache->fd) < 0)
		ret = -errno;
	return ret;
}

/* ---- removing ---- */

/* What becomes of one name in the folder. Returns whether it was removed. */
typedef bool visitor(const struct vblk_image_cache *cache, const char *name);

static unsigned int visit(const struct vblk_image_cache *cache, visitor *one)
{
	/* Of its own, because reading moves its position. */
	int fd = openat(cache->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	unsigned int count = 0;

	if (!folder) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.')
			count += one(cache, entry->d_name);
	closedir(folder);
	return count;
}

static bool sweep_one(const struct vblk_image_cache *cache, const char *name)
{
	const char *mark = strstr(name, STAGED_MARK);
	char key[VBLK_IMAGE_KEY_SIZE];
	int lock_fd = -1;

	if (strncmp(name, VBLK_IMAGE_CLONE_PREFIX, strlen(VBLK_IMAGE_CLONE_PREFIX)) == 0)
		return unlinkat(cache->fd, name, 0) == 0;
	if (!mark || (size_t)(mark - name) >= sizeof(key))
		return false;
	snprintf(key, sizeof(key), "%.*s", (int)(mark - name), name);
	if (vblk_image_cache_lock(cache, key, &lock_fd, NULL))
		return false;
	vblk_image_cache_discard(cache, name);
	close(lock_fd);
	return faccessat(cache->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

unsigned int vblk_image_cache_sweep(const struct vblk_image_cache *cache)
{
	return visit(cache, sweep_one);
}

static bool is_template(const struct vblk_image_cache *cache, const char *name)
{
	int folder = openat(cache->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	bool is = folder >= 0 && faccessat(folder, VBLK_IMAGE_TEMPLATE_NAME, F_OK, 0) == 0;

	if (folder >= 0)
		close(folder);
	return is;
}

static bool clear_one(const struct vblk_image_cache *cache, const char *name)
{
	int lock_fd = -1;
	bool removed;

	if (!is_template(cache, name) || strstr(name, STAGED_MARK) ||
	    strlen(name) >= VBLK_IMAGE_KEY_SIZE ||
	    vblk_image_cache_lock(cache, name, &lock_fd, NULL))
		return false;
	removed = remove_template(cache, name) == 0;
	close(lock_fd);
	return removed;
}

unsigned int vblk_image_cache_clear(const struct vblk_image_cache *cache)
{
	vblk_image_cache_sweep(cache);
	return visit(cache, clear_one);
}
