/* SPDX-License-Identifier: MIT */
/* A disk in a file that is mapped: the same as a file, without system calls, and SIGBUS-proof. */
#include "backing_fixture.h"

#include <errno.h>
#include <fcntl.h>

#define PAGE 4096u
#define SIZE (8 * PAGE)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

static struct vblk_backing *map_disk(uint64_t size, uint32_t flags)
{
	struct vblk_backing *backing = NULL;

	assert_int_equal(truncate(path_of("disk"), (off_t)size), 0);
	assert_int_equal(vblk_backing_map_file(path_of("disk"), flags, &backing), 0);
	return backing;
}

static void it_reads_and_writes_the_file(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, 0);
	char word[8] = { 0 };
	int fd;

	(void)state;
	assert_int_equal(size_of(backing), SIZE);
	assert_int_equal(read_at(backing, word, 4, 100), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal((uint8_t)word[i], disk_byte(100 + i));
	assert_int_equal(write_at(backing, "vblk", 4, PAGE - 2), 4);
	fd = open(path_of("disk"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, word, 4, PAGE - 2), 4);
	assert_memory_equal(word, "vblk", 4);
	close(fd);
	assert_int_equal(vblk_backing_sync(backing), 0);
	vblk_backing_unref(backing);
}

static void it_scatters_and_gathers(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, 0);
	char a[3] = "abc", b[5] = "defgh", seen[8];
	const struct iovec out[] = { { a, 3 }, { NULL, 0 }, { b, 5 } };
	struct iovec in[] = { { seen, 1 }, { seen + 1, 7 } };

	(void)state;
	assert_int_equal(vblk_backing_pwritev(backing, out, 3, 10), 8);
	assert_int_equal(vblk_backing_preadv(backing, in, 2, 10), 8);
	assert_memory_equal(seen, "abcdefgh", 8);
	vblk_backing_unref(backing);
}

/* The mapping ends where the file did; what is behind goes through the file. */
static void behind_its_end_it_is_a_file(void **state)
{
	struct vblk_backing *backing = map_disk(DISK_SIZE, 0);
	char bytes[64];

	(void)state;
	assert_int_equal(read_at(backing, bytes, 64, DISK_SIZE - 10), 10);
	assert_int_equal(read_at(backing, bytes, 64, DISK_SIZE), 0);
	assert_int_equal(write_at(backing, "0123456789", 10, DISK_SIZE - 4), 4);
	assert_int_equal(write_at(backing, "456789", 6, DISK_SIZE), 6);
	assert_int_equal(read_at(backing, bytes, 64, DISK_SIZE), 6);
	assert_memory_equal(bytes, "456789", 6);
	assert_int_equal(read_at(backing, bytes, 4, DISK_SIZE - 4), 4);
	assert_memory_equal(bytes, "0123", 4);
	assert_int_equal(vblk_backing_grow(backing, SIZE), 0);
	assert_int_equal(write_at(backing, "x", 1, SIZE - 1), 1);
	assert_int_equal(read_at(backing, bytes, 64, SIZE - 1), 1);
	vblk_backing_unref(backing);
}

static void a_file_that_is_cut_short_fails_the_request(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, 0);
	char bytes[2 * PAGE] = { 0 };

	(void)state;
	if (UNDER_TSAN) {
		vblk_backing_unref(backing);
		print_message("ThreadSanitizer's handlers cannot be left by a jump\n");
		skip();
	}
	assert_int_equal(truncate(path_of("disk"), PAGE), 0);
	assert_int_equal(read_at(backing, bytes, PAGE, 0), PAGE);
	assert_int_equal(read_at(backing, bytes, PAGE, 2 * PAGE), -EIO);
	assert_int_equal(write_at(backing, bytes, 512, 4 * PAGE), -EIO);
	/* And is there again when the file is. */
	assert_int_equal(truncate(path_of("disk"), SIZE), 0);
	assert_int_equal(read_at(backing, bytes, PAGE, 2 * PAGE), PAGE);
	assert_int_equal(write_at(backing, bytes, 512, 4 * PAGE), 512);
	vblk_backing_unref(backing);
}

static void a_part_that_was_copied_is_a_short_result(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, 0);
	char bytes[2 * PAGE] = { 0 };
	const struct iovec iov[] = { { bytes, PAGE }, { bytes + PAGE, PAGE } };

	(void)state;
	if (UNDER_TSAN) {
		vblk_backing_unref(backing);
		skip();
	}
	assert_int_equal(truncate(path_of("disk"), PAGE), 0);
	assert_int_equal(vblk_backing_preadv(backing, iov, 2, 0), PAGE);
	vblk_backing_unref(backing);
}

static void space_is_given_back_and_zeros_are_made(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, 0);
	uint8_t ones[PAGE], bytes[PAGE];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(write_at(backing, ones, PAGE, PAGE), PAGE);
	if (vblk_backing_discard(backing, PAGE, PAGE) == 0) {
		assert_int_equal(read_at(backing, bytes, PAGE, PAGE), PAGE);
		assert_int_equal(bytes[0] | bytes[PAGE - 1], 0);
	}
	assert_int_equal(write_at(backing, ones, PAGE, 0), PAGE);
	if (vblk_backing_write_zeroes(backing, 512, 512, 0) == 0) {
		assert_int_equal(read_at(backing, bytes, PAGE, 0), PAGE);
		assert_int_equal(bytes[511], 0xff);
		assert_int_equal(bytes[512] | bytes[1023], 0);
		assert_int_equal(bytes[1024], 0xff);
	}
	vblk_backing_unref(backing);
}

static void read_only_is_read_only(void **state)
{
	struct vblk_backing *backing = map_disk(SIZE, RO);
	char byte = 1;

	(void)state;
	assert_int_equal(write_at(backing, &byte, 1, 0), -EROFS);
	assert_int_equal(read_at(backing, &byte, 1, 0), 1);
	assert_int_equal((uint8_t)byte, disk_byte(0));
	vblk_backing_unref(backing);
}

static void what_cannot_be_mapped(void **state)
{
	struct vblk_backing *backing = NULL, *other;

	(void)state;
	assert_int_equal(vblk_backing_map_file(path_of("none"), 0, &backing), -ENOENT);
	assert_int_equal(vblk_backing_map_file(directory, 0, &backing), -EISDIR);
	assert_int_equal(truncate(path_of("disk"), 0), 0);
	assert_int_equal(vblk_backing_map_file(path_of("disk"), 0, &backing), -EINVAL);
	other = map_disk(SIZE, 0);
	assert_int_equal(vblk_backing_map_file(path_of("disk"), 0, &backing), -EAGAIN);
	assert_null(backing);
	vblk_backing_unref(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(it_reads_and_writes_the_file),
		DISK_TEST(it_scatters_and_gathers),
		DISK_TEST(behind_its_end_it_is_a_file),
		DISK_TEST(a_file_that_is_cut_short_fails_the_request),
		DISK_TEST(a_part_that_was_copied_is_a_short_result),
		DISK_TEST(space_is_given_back_and_zeros_are_made),
		DISK_TEST(read_only_is_read_only),
		DISK_TEST(what_cannot_be_mapped),
	};

	return cmocka_run_group_tests_name("backing: mapped", tests, make_directory,
					   remove_directory);
}
