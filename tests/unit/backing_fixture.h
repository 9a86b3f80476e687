/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the backings share: a directory of their own, a small file in it that serves
 * as the disk, and calls with a single buffer.
 */
#ifndef VBLK_TESTS_BACKING_FIXTURE_H
#define VBLK_TESTS_BACKING_FIXTURE_H

#include "backing/backing.h"

#include "base/checked.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB    (1ull << 30)
#define RO     VBLK_FILE_READ_ONLY
#define NOLOCK VBLK_FILE_NO_LOCK

static char directory[64];

static inline int make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/vblk-backing-XXXXXX");
	/* Another user must be able to search it, see the tests of permissions. */
	return mkdtemp(directory) && chmod(directory, 0755) == 0 ? 0 : -1;
}

static inline const char *path_of(const char *name)
{
	static char path[sizeof(directory) + 256];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

/* With all that failed tests may have left in it. */
static inline int remove_directory(void **state)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	(void)state;
	while (dir && (entry = readdir(dir)))
		remove(path_of(entry->d_name));
	if (dir)
		closedir(dir);
	return rmdir(directory);
}

/* The file that most tests use: 1000 bytes, of which each says where it is. */
#define DISK_SIZE 1000u

static inline uint8_t disk_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + 3);
}

static inline int make_disk(void **state)
{
	uint8_t bytes[DISK_SIZE];
	FILE *file = fopen(path_of("disk"), "w");

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = disk_byte(i);
	return file && fwrite(bytes, 1, sizeof(bytes), file) == sizeof(bytes) && fclose(file) == 0
		       ? 0
		       : -1;
}

static inline int remove_disk(void **state)
{
	(void)state;
	return unlink(path_of("disk"));
}

static inline struct vblk_backing *open_disk(uint32_t flags)
{
	struct vblk_backing *backing = NULL;

	assert_int_equal(vblk_backing_open_file(path_of("disk"), flags, &backing), 0);
	return backing;
}

/* Opens and closes. Returns what the opening returned. */
static inline int try_open(const char *path, uint32_t flags)
{
	struct vblk_backing *backing = NULL;
	int err = vblk_backing_open_file(path, flags, &backing);

	if (err == 0)
		vblk_backing_unref(backing);
	else
		assert_null(backing);
	return err;
}

static inline int try_open_fd(int fd, uint32_t flags)
{
	struct vblk_backing *backing = NULL;
	int err = vblk_backing_open_fd(fd, flags, &backing);

	if (err == 0)
		vblk_backing_unref(backing);
	else
		assert_null(backing);
	return err;
}

static inline ssize_t read_at(struct vblk_backing *backing, void *data, size_t length,
			      uint64_t offset)
{
	const struct iovec iov = { .iov_base = data, .iov_len = length };

	return vblk_backing_preadv(backing, &iov, 1, offset);
}

static inline ssize_t write_at(struct vblk_backing *backing, const void *data, size_t length,
			       uint64_t offset)
{
	const struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = length };

	return vblk_backing_pwritev(backing, &iov, 1, offset);
}

static inline uint64_t size_of(const struct vblk_backing *backing)
{
	struct vblk_backing_info info;

	vblk_backing_get_info(backing, &info);
	return info.size_bytes;
}

/* A test on a fresh disk. */
#define DISK_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_disk, remove_disk)

#endif
