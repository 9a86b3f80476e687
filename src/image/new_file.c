/* SPDX-License-Identifier: MIT */
/*
 * O_TMPFILE and linkat(2). linkat does not replace, so what replaces gets a name of its own first
 * and is then renamed.
 */
#include "image/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE 0666 /* less what the umask takes */

/* What open says where it does not know files without names. */
static bool no_nameless(int code)
{
	return code == -EOPNOTSUPP || code == -EISDIR || code == -ENOENT;
}

/* BEGINNING + RANDOM + END; NULL without memory or randomness. */
static char *random_name(const char *beginning, const char *end)
{
	uint64_t number;
	char *name;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number) ||
	    asprintf(&name, "%s%016" PRIx64 "%s", beginning, number, end) < 0)
		return NULL;
	return name;
}

static int open_named(const char *beginning, const char *end, char **name, int *fd)
{
	*name = random_name(beginning, end);
	if (!*name)
		return -ENOMEM;
	*fd = open(*name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
	if (*fd >= 0)
		return 0;
	free(*name);
	*name = NULL;
	return -errno;
}

int vblk_image_open_nameless(const char *folder, const char *prefix, int *fd)
{
	char *beginning, *name = NULL;
	int ret;

	*fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd >= 0)
		return 0;
	if (!no_nameless(-errno))
		return -errno;
	if (asprintf(&beginning, "%s/%s", folder, prefix) < 0)
		return -ENOMEM;
	ret = open_named(beginning, "", &name, fd);
	if (name) {
		unlink(name);
		free(name);
	}
	free(beginning);
	return ret;
}

/* Whether somebody has a file locked, as a disk that is in use is. */
static bool is_in_use(const char *path)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	bool used;

	if (fd < 0)
		return false;
	used = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return used;
}

/* Looks at what has the name now. On success `*path` is the name of what is to be replaced. */
static int look(const char *path, enum vblk_image_existing existing, char **real,
		struct vblk_image_failure *failure)
{
	struct stat st;

	*real = NULL;
	if (lstat(path, &st) < 0) {
		if (errno != ENOENT)
			return vblk_image_path_fail(failure, -errno, "make", path);
		*real = strdup(path);
	} else if (stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
		return vblk_image_refuse(failure, "'%s' exists and is not a regular file", path);
	} else if (existing == VBLK_IMAGE_KEEP) {
		return vblk_image_refuse(failure,
					 "'%s' exists: remove it first, or give --force to "
					 "replace it",
					 path);
	} else if (is_in_use(path)) {
		return vblk_image_refuse(failure, "'%s' is in use: another vblk has it open", path);
	} else {
		*real = realpath(path, NULL); /* a link stays, and what it leads to is replaced */
	}
	return *real ? 0 : vblk_image_fail(failure, -ENOMEM, "cannot make '%s'", path);
}

/* The folder that a file is in, to be freed. NULL: no memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

static int open_in_folder(struct vblk_image_new_file *file)
{
	char *folder = folder_of(file->path);
	char *beginning;
	int ret = 0;

	if (!folder)
		return -ENOMEM;
	file->fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, MODE);
	if (file->fd < 0)
		ret = -errno;
	/* A folder that is not there is one of the things that ENOENT may mean. */
	if (ret && no_nameless(ret)) {
		if (asprintf(&beginning, "%s.", file->path) < 0) {
			ret = -ENOMEM;
		} else {
			ret = open_named(beginning, "~", &file->temporary, &file->fd);
			free(beginning);
		}
	}
	free(folder);
	return ret;
}

int vblk_image_new_file_open(const char *path, enum vblk_image_existing existing,
			     struct vblk_image_new_file *file, struct vblk_image_failure *failure)
{
	int ret;

	*file = (struct vblk_image_new_file){ .fd = -1, .existing = existing };
	ret = look(path, existing, &file->path, failure);
	if (ret || !file->path)
		return ret;
	ret = open_in_folder(file);
	if (!ret)
		return 0;
	ret = vblk_image_path_fail(failure, ret, "make", path);
	free(file->path);
	return ret;
}

static int give_name(int fd, const char *path)
{
	char link[32];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Makes the names in a folder last, where that can be asked for. */
static int sync_folder(const char *path)
{
	char *folder = folder_of(path);
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int ret = folder ? 0 : -ENOMEM;

	free(folder);
	if (fd < 0)
		return ret; /* one that we may not read has been written to all the same */
	if (fsync(fd) < 0 && errno != EINVAL)
		ret = -errno;
	close(fd);
	return ret;
}

/* The bytes get to the disk before the name, or a power cut could leave neither old nor new. */
static int replace(struct vblk_image_new_file *file)
{
	char *beginning;
	int ret = 0;

	if (fsync(file->fd) < 0)
		return -errno;
	if (!file->temporary) {
		if (asprintf(&beginning, "%s.", file->path) < 0)
			return -ENOMEM;
		file->temporary = random_name(beginning, "~");
		free(beginning);
		if (!file->temporary)
			return -ENOMEM;
		ret = give_name(file->fd, file->temporary);
	}
	if (!ret && rename(file->temporary, file->path) < 0)
		ret = -errno;
	return ret ? ret : sync_folder(file->path);
}

static int commit(struct vblk_image_new_file *file)
{
	if (file->existing == VBLK_IMAGE_REPLACE)
		return replace(file);
	if (!file->temporary)
		return give_name(file->fd, file->path);
	/* Refuses to replace; the temporary name goes with the clean-up. */
	return link(file->temporary, file->path) < 0 ? -errno : 0;
}

int vblk_image_new_file_commit(struct vblk_image_new_file *file, struct vblk_image_failure *failure)
{
	int ret = commit(file);

	if (ret)
		ret = vblk_image_path_fail(failure, ret, "make", file->path);
	vblk_image_new_file_abandon(file);
	return ret;
}

void vblk_image_new_file_abandon(struct vblk_image_new_file *file)
{
	if (file->temporary)
		unlink(file->temporary); /* ENOENT if it has become the file */
	free(file->temporary);
	free(file->path);
	if (file->fd >= 0)
		close(file->fd);
	*file = (struct vblk_image_new_file){ .fd = -1 };
}
