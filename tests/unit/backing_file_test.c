/* SPDX-License-Identifier: MIT */
/* Reading and writing files and block devices. */
#include "backing_fixture.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

/* ---- reading and writing ---- */

static void file_reads_are_short_at_the_end(void **state)
{
	static const struct {
		uint64_t offset;
		size_t length;
		ssize_t result;
	} table[] = {
		{ 0, 1000, 1000 }, { 0, 2000, 1000 }, { 900, 512, 100 }, { 999, 1, 1 },
		{ 1000, 1, 0 },	   { 1001, 512, 0 },  { 50, 0, 0 },	 { 1ull << 40, 512, 0 },
	};
	struct vblk_backing *backing = open_disk(RO);
	uint8_t buffer[2000];

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		ssize_t n = read_at(backing, buffer, table[i].length, table[i].offset);

		assert_int_equal(n, table[i].result);
		for (ssize_t at = 0; at < n; at++)
			assert_int_equal(buffer[at], disk_byte(table[i].offset + (uint64_t)at));
	}
	vblk_backing_unref(backing);
}

/* As a request does it: again for the rest until nothing comes. */
static void file_read_loop_ends_at_the_end(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	uint8_t buffer[4096];
	uint64_t done = 0;
	int calls = 0;
	ssize_t n;

	(void)state;
	do {
		n = read_at(backing, buffer + done, vblk_min_u64(300, sizeof(buffer) - done), done);
		assert_in_range(n, 0, 300);
		done += (uint64_t)n;
		calls++;
	} while (n > 0);
	assert_int_equal(done, DISK_SIZE);
	assert_int_equal(calls, 5);
	vblk_backing_unref(backing);
}

static void file_scatters_and_gathers(void **state)
{
	char from[] = "abcdefghij", to[10];
	const struct iovec out[] = { { from, 3 }, { from + 3, 7 } };
	const struct iovec in[] = { { to + 5, 5 }, { to, 5 } };
	struct vblk_backing *backing = open_disk(0);

	(void)state;
	assert_int_equal(vblk_backing_pwritev(backing, out, 2, 10), 10);
	assert_int_equal(vblk_backing_preadv(backing, in, 2, 10), 10);
	assert_memory_equal(to, "fghijabcde", 10);
	assert_int_equal(vblk_backing_sync(backing), 0);
	vblk_backing_unref(backing);
}

static void file_grows_by_writing_behind_its_end(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	struct stat st;

	(void)state;
	assert_int_equal(write_at(backing, "x", 1, 5000), 1);
	assert_int_equal(stat(path_of("disk"), &st), 0);
	assert_int_equal(st.st_size, 5001);
	/* The description is that of the moment of opening. */
	assert_int_equal(size_of(backing), DISK_SIZE);
	vblk_backing_unref(backing);
}

static void file_offsets_beyond_four_gib(void **state)
{
	static const uint64_t offsets[] = { 4 * GIB - 2, 4 * GIB, 5 * GIB + 17, 1024 * GIB - 4 };
	struct vblk_backing *backing;
	char word[5] = { 0 };
	int fd;

	(void)state;
	assert_int_equal(truncate(path_of("disk"), 1024 * GIB), 0);
	backing = open_disk(0);
	assert_int_equal(size_of(backing), 1024 * GIB);
	fd = open(path_of("disk"), O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(offsets); i++) {
		snprintf(word, sizeof(word), "no%02zu", i);
		assert_int_equal(write_at(backing, word, 4, offsets[i]), 4);
	}
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(offsets); i++) {
		char expected[5], seen[5] = { 0 };

		snprintf(expected, sizeof(expected), "no%02zu", i);
		if (i == 0) /* the next one wrote over its second half */
			memcpy(expected + 2, "no", 2);
		assert_int_equal(read_at(backing, word, 4, offsets[i]), 4);
		assert_int_equal(pread(fd, seen, 4, (off_t)offsets[i]), 4);
		assert_string_equal(word, expected);
		assert_string_equal(seen, expected);
	}
	close(fd);
	vblk_backing_unref(backing);
}

static void file_offset_that_no_file_has(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	char byte = 0;

	(void)state;
	assert_int_equal(read_at(backing, &byte, 1, 1ull << 63), -EINVAL);
	assert_int_equal(write_at(backing, &byte, 1, 1ull << 63), -EINVAL);
	assert_int_equal(read_at(backing, &byte, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(write_at(backing, &byte, 1, UINT64_MAX), -EINVAL);
	vblk_backing_unref(backing);
}

static void file_errors_come_as_errno(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	const struct iovec bad = { .iov_base = (void *)(uintptr_t)16, .iov_len = 16 };
	const struct iovec iov[1] = { 0 };

	(void)state;
	assert_int_equal(vblk_backing_preadv(backing, &bad, 1, 0), -EFAULT);
	assert_int_equal(vblk_backing_pwritev(backing, &bad, 1, 0), -EFAULT);
	assert_int_equal(vblk_backing_preadv(backing, iov, -1, 0), -EINVAL);
	vblk_backing_unref(backing);
}

static void read_only_file_refuses_writes(void **state)
{
	struct vblk_backing *backing = open_disk(RO);
	char byte = 0;

	(void)state;
	assert_int_equal(write_at(backing, &byte, 1, 0), -EROFS);
	assert_int_equal(read_at(backing, &byte, 1, 0), 1);
	assert_int_equal(byte, disk_byte(0));
	assert_int_equal(vblk_backing_sync(backing), 0);
	vblk_backing_unref(backing);
}

/* ---- block devices ---- */

/* Puts the disk behind a loop device. Returns its number, or -1. */
static int attach_loop(char *path, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	int file = open(path_of("disk"), O_RDWR | O_CLOEXEC);
	int loop = -1;

	if (number >= 0) {
		snprintf(path, size, "/dev/loop%d", number);
		loop = open(path, O_RDWR | O_CLOEXEC);
	}
	if (loop < 0 || ioctl(loop, LOOP_SET_FD, file) < 0)
		number = -1;
	if (loop >= 0)
		close(loop);
	if (control >= 0)
		close(control);
	close(file);
	return number;
}

static void detach_loop(const char *path)
{
	int loop = open(path, O_RDWR | O_CLOEXEC);

	ioctl(loop, LOOP_CLR_FD, 0);
	close(loop);
}

static void block_device(void **state)
{
	struct vblk_backing *backing = NULL;
	uint64_t size = 0;
	char path[32], word[5] = { 0 };
	ssize_t written = 0, read = 0;
	int err, second = 0, sync = -1;

	(void)state;
	assert_int_equal(truncate(path_of("disk"), 1 << 20), 0);
	if (attach_loop(path, sizeof(path)) < 0) {
		print_message("no loop device to be had\n");
		skip();
	}
	err = vblk_backing_open_file(path, 0, &backing);
	if (err == 0) {
		size = size_of(backing);
		second = try_open(path, RO);
		written = write_at(backing, "word", 4, (1 << 20) - 4);
		read = read_at(backing, word, 4, (1 << 20) - 4);
		sync = vblk_backing_sync(backing);
		vblk_backing_unref(backing);
	}
	detach_loop(path);
	assert_int_equal(err, 0);
	assert_int_equal(size, 1 << 20);
	assert_int_equal(second, -EAGAIN);
	assert_int_equal(written, 4);
	assert_int_equal(read, 4);
	assert_string_equal(word, "word");
	assert_int_equal(sync, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(file_reads_are_short_at_the_end),
		DISK_TEST(file_read_loop_ends_at_the_end),
		DISK_TEST(file_scatters_and_gathers),
		DISK_TEST(file_grows_by_writing_behind_its_end),
		DISK_TEST(file_offsets_beyond_four_gib),
		DISK_TEST(file_offset_that_no_file_has),
		DISK_TEST(file_errors_come_as_errno),
		DISK_TEST(read_only_file_refuses_writes),
		DISK_TEST(block_device),
	};

	return cmocka_run_group_tests_name("backing: file", tests, make_directory,
					   remove_directory);
}
