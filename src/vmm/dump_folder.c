/* SPDX-License-Identifier: MIT */
/*
 * Between the making of a folder and its lock somebody who sweeps may take it for left: then it is
 * locked by him, or gone, and another one is made.
 *
 * Renaming a folder never replaces one that has something in it, and a dump always has; so the
 * first number that is free is found by trying.
 */
#include "vmm/dump_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX	    ".dump-"
#define SUFFIX	    ".tmp"
#define NUMBERS_MAX 100000u
#define TRIES	    16u

int vmm_dump_folder_failed(const struct vmm_dump_folder *folder, int code, const char *what,
			   struct vmm_error *error)
{
	return vmm_error_host(error, code, "dump: cannot write %s/%s", folder->path, what);
}

static int open_inside(int place, const char *name)
{
	int fd = openat(place, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void remove_all(int place, const char *name, int inside)
{
	unlinkat(inside, VMM_DUMP_CORE, 0);
	unlinkat(inside, VMM_DUMP_JSON, 0);
	unlinkat(place, name, AT_REMOVEDIR);
}

/* --- What others have left --- */

static bool is_temporary(const char *name)
{
	const size_t length = strlen(name);

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && length > strlen(SUFFIX) &&
	       strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

/* Another user's is left to him; so is one where the file system knows no locks. */
static void sweep_one(int place, const char *name)
{
	int inside = open_inside(place, name);
	struct stat st;

	if (inside < 0)
		return;
	if (fstat(inside, &st) == 0 && st.st_uid == geteuid() &&
	    flock(inside, LOCK_EX | LOCK_NB) == 0)
		remove_all(place, name, inside);
	close(inside);
}

static void sweep(int place)
{
	/* Of its own, because reading moves its position. */
	int fd = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!stream) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(stream)) != NULL)
		if (is_temporary(entry->d_name))
			sweep_one(place, entry->d_name);
	closedir(stream);
}

/* --- The new one --- */

/* Returns 0; -EAGAIN: somebody has it already, or has removed it. */
static int take(int inside)
{
	struct stat st;

	if (flock(inside, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
		return -EAGAIN;
	if (fstat(inside, &st))
		return -errno;
	return st.st_nlink ? 0 : -EAGAIN;
}

/* Returns 0; -EAGAIN: it was taken away, another name may do better. */
static int make(struct vmm_dump_folder *folder)
{
	uint64_t number;
	int ret;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return -EIO;
	snprintf(folder->name, sizeof(folder->name), PREFIX "%016" PRIx64 SUFFIX, number);
	if (mkdirat(folder->place, folder->name, 0700)) {
		ret = errno == EEXIST ? -EAGAIN : -errno;
		folder->name[0] = '\0';
		return ret;
	}
	folder->inside = open_inside(folder->place, folder->name);
	if (folder->inside < 0) {
		ret = folder->inside == -ENOENT ? -EAGAIN : folder->inside;
		unlinkat(folder->place, folder->name, AT_REMOVEDIR);
		return ret;
	}
	ret = take(folder->inside);
	if (ret) {
		close(folder->inside);
		folder->inside = -1;
	}
	return ret;
}

int vmm_dump_folder_open(struct vmm_dump_folder *folder, const char *path, struct vmm_error *error)
{
	int ret = -EAGAIN;

	*folder = (struct vmm_dump_folder){ .path = path, .place = -1, .inside = -1 };
	if (mkdir(path, 0700) && errno != EEXIST)
		return vmm_error_host(error, -errno, "dump: cannot make the folder %s", path);
	folder->place = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder->place < 0)
		return vmm_error_host(error, -errno, "dump: cannot open the folder %s", path);
	sweep(folder->place);
	for (unsigned int i = 0; i < TRIES && ret == -EAGAIN; i++)
		ret = make(folder);
	return ret ? vmm_dump_folder_failed(folder, ret, "a new folder", error) : 0;
}

int vmm_dump_folder_publish(struct vmm_dump_folder *folder, struct vmm_error *error)
{
	char name[sizeof(folder->name)];
	int ret = -EEXIST;

	if (fsync(folder->inside))
		return vmm_dump_folder_failed(folder, -errno, folder->name, error);
	for (unsigned int number = 1; number < NUMBERS_MAX; number++) {
		snprintf(name, sizeof(name), "dump-%u", number);
		ret = renameat(folder->place, folder->name, folder->place, name) ? -errno : 0;
		if (ret != -EEXIST && ret != -ENOTEMPTY && ret != -ENOTDIR)
			break;
	}
	if (ret)
		return vmm_dump_folder_failed(folder, ret, name, error);
	memcpy(folder->name, name, sizeof(name));
	folder->published = true;
	/* It has its name; whether that is on disk yet is not ours to fail for. */
	(void)fsync(folder->place);
	return 0;
}

void vmm_dump_folder_close(struct vmm_dump_folder *folder)
{
	if (folder->inside >= 0 && !folder->published)
		remove_all(folder->place, folder->name, folder->inside);
	if (folder->inside >= 0)
		close(folder->inside);
	if (folder->place >= 0)
		close(folder->place);
	folder->inside = -1;
	folder->place = -1;
}
