/* SPDX-License-Identifier: MIT */
/* Ranges of a backing: given back, made zero; and a backing that grows. */
#include "backing_fixture.h"

#include <errno.h>
#include <fcntl.h>

#define KIB  1024ull
#define SIZE (256 * KIB)

static struct vblk_backing *file_of_ones(void)
{
	struct vblk_backing *backing = NULL;
	uint8_t *ones = malloc(SIZE);

	assert_non_null(ones);
	memset(ones, 0xff, SIZE);
	assert_int_equal(truncate(path_of("disk"), 0), 0);
	backing = open_disk(0);
	assert_int_equal(write_at(backing, ones, SIZE, 0), SIZE);
	free(ones);
	return backing;
}

static struct vblk_backing *memory_of_ones(void)
{
	struct vblk_backing *backing = NULL;
	uint8_t *ones = malloc(SIZE);

	assert_non_null(ones);
	memset(ones, 0xff, SIZE);
	assert_int_equal(vblk_backing_create_memory(SIZE, &backing), 0);
	assert_int_equal(write_at(backing, ones, SIZE, 0), SIZE);
	free(ones);
	return backing;
}

/* Whether exactly bytes [from, to) are zero and all others are ones. */
static bool only_zero(struct vblk_backing *backing, uint64_t from, uint64_t to)
{
	uint8_t *bytes = malloc(SIZE);
	bool fine = true;

	assert_non_null(bytes);
	assert_int_equal(read_at(backing, bytes, SIZE, 0), SIZE);
	for (uint64_t i = 0; i < SIZE; i++)
		fine = fine && bytes[i] == (i >= from && i < to ? 0 : 0xff);
	free(bytes);
	return fine;
}

static const struct {
	uint64_t offset;
	uint64_t bytes;
} ranges[] = {
	{ 0, SIZE },		   /* all of it */
	{ 0, 512 },		   /* less than a page */
	{ 4096, 4096 },		   /* a page */
	{ 512, 16 * KIB },	   /* ends that are not on a page */
	{ SIZE - 512, 512 },	   /* the end */
	{ 8 * KIB - 512, 1024 },   /* across a page's border, none whole */
	{ 1000, 0 },		   /* nothing */
	{ 3 * 512, 64 * KIB + 1 }, /* odd */
};

typedef struct vblk_backing *(*maker)(void);
static const maker makers[] = { file_of_ones, memory_of_ones };

static void a_range_is_discarded(void **state)
{
	(void)state;
	for (size_t m = 0; m < VBLK_ARRAY_SIZE(makers); m++) {
		for (size_t i = 0; i < VBLK_ARRAY_SIZE(ranges); i++) {
			struct vblk_backing *backing = makers[m]();
			int err = vblk_backing_discard(backing, ranges[i].offset, ranges[i].bytes);

			if (err == -EOPNOTSUPP) {
				print_message("no holes in this file system\n");
				vblk_backing_unref(backing);
				skip();
			}
			assert_int_equal(err, 0);
			assert_true(only_zero(backing, ranges[i].offset,
					      ranges[i].offset + ranges[i].bytes));
			vblk_backing_unref(backing);
		}
	}
}

static void a_range_is_made_zero(void **state)
{
	static const uint32_t flags[] = { 0, VBLK_ZEROES_UNMAP };

	(void)state;
	for (size_t m = 0; m < VBLK_ARRAY_SIZE(makers); m++) {
		for (size_t i = 0; i < 2 * VBLK_ARRAY_SIZE(ranges); i++) {
			uint64_t offset = ranges[i / 2].offset, bytes = ranges[i / 2].bytes;
			struct vblk_backing *backing = makers[m]();
			int err = vblk_backing_write_zeroes(backing, offset, bytes, flags[i % 2]);

			/* On some file systems only the one or the other is to be had. */
			assert_true(err == 0 || err == -EOPNOTSUPP);
			if (err == 0)
				assert_true(only_zero(backing, offset, offset + bytes));
			else
				assert_true(only_zero(backing, 0, 0));
			vblk_backing_unref(backing);
		}
	}
}

static int64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks;
}

/* What was discarded needs no space any more; what was made zero without UNMAP still has it. */
static void a_file_gives_its_space_back_or_keeps_it(void **state)
{
	struct vblk_backing *backing = file_of_ones();
	int64_t full;

	(void)state;
	assert_int_equal(vblk_backing_sync(backing), 0);
	full = blocks_of(path_of("disk"));
	if (vblk_backing_write_zeroes(backing, 0, SIZE, 0) == 0)
		assert_true(blocks_of(path_of("disk")) >= full);
	if (vblk_backing_discard(backing, 0, SIZE) == 0)
		assert_true(blocks_of(path_of("disk")) < full);
	assert_int_equal(size_of(backing), 0); /* as it was when it was opened */
	vblk_backing_unref(backing);
}

/* A file that is shorter than its disk keeps its length: zeros are what is read there anyway. */
static void a_file_does_not_grow_by_a_range_behind_its_end(void **state)
{
	struct vblk_backing *backing = file_of_ones();
	struct stat st;

	(void)state;
	assert_true(vblk_backing_discard(backing, SIZE, SIZE) <= 0);
	assert_true(vblk_backing_write_zeroes(backing, SIZE - 512, SIZE, 0) <= 0);
	assert_true(vblk_backing_write_zeroes(backing, SIZE - 512, SIZE, VBLK_ZEROES_UNMAP) <= 0);
	assert_int_equal(stat(path_of("disk"), &st), 0);
	assert_int_equal(st.st_size, SIZE);
	vblk_backing_unref(backing);
}

static void a_range_that_no_file_has(void **state)
{
	struct vblk_backing *backing = open_disk(0);

	(void)state;
	assert_int_equal(vblk_backing_discard(backing, 1ull << 63, 512), -EINVAL);
	assert_int_equal(vblk_backing_discard(backing, INT64_MAX - 511, 513), -EINVAL);
	assert_int_equal(vblk_backing_write_zeroes(backing, UINT64_MAX, 1, 0), -EINVAL);
	vblk_backing_unref(backing);
}

/* The end of memory is hard for zeros; a discard is a hint and takes what there is. */
static void ranges_at_the_end_of_memory(void **state)
{
	struct vblk_backing *backing = memory_of_ones();

	(void)state;
	assert_int_equal(vblk_backing_write_zeroes(backing, SIZE - 512, 513, 0), -ENOSPC);
	assert_int_equal(vblk_backing_write_zeroes(backing, SIZE + 512, 0, 0), -ENOSPC);
	assert_int_equal(vblk_backing_write_zeroes(backing, 512, UINT64_MAX, 0), -ENOSPC);
	assert_true(only_zero(backing, 0, 0));
	assert_int_equal(vblk_backing_discard(backing, UINT64_MAX, UINT64_MAX), 0);
	assert_int_equal(vblk_backing_discard(backing, SIZE - 512, UINT64_MAX), 0);
	assert_true(only_zero(backing, SIZE - 512, SIZE));
	vblk_backing_unref(backing);
}

static void read_only_refuses_ranges(void **state)
{
	struct vblk_backing *backing = open_disk(RO);
	char byte = 0;

	(void)state;
	assert_false(vblk_backing_can_discard(backing));
	assert_int_equal(vblk_backing_discard(backing, 0, 512), -EROFS);
	assert_int_equal(vblk_backing_write_zeroes(backing, 0, 512, 0), -EROFS);
	assert_int_equal(read_at(backing, &byte, 1, 0), 1);
	assert_int_equal(byte, disk_byte(0));
	vblk_backing_unref(backing);
}

static ssize_t no_transfer(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	(void)context;
	(void)iov;
	(void)count;
	(void)offset;
	return 0;
}

static void a_backing_without_the_operations(void **state)
{
	static const struct vblk_backing_ops ops = { .preadv = no_transfer,
						     .pwritev = no_transfer };
	const struct vblk_backing_info info = { .size_bytes = 4096 };
	struct vblk_backing *backing = NULL;

	(void)state;
	assert_int_equal(vblk_backing_create(&ops, NULL, &info, &backing), 0);
	assert_false(vblk_backing_can_discard(backing));
	assert_int_equal(vblk_backing_discard(backing, 0, 512), -EOPNOTSUPP);
	assert_int_equal(vblk_backing_write_zeroes(backing, 0, 512, 0), -EOPNOTSUPP);
	assert_int_equal(vblk_backing_grow(backing, 4096), 0);
	assert_int_equal(vblk_backing_grow(backing, 4097), -EOPNOTSUPP);
	vblk_backing_unref(backing);
}

static void a_file_grows_and_never_shrinks(void **state)
{
	struct vblk_backing *backing = open_disk(0);
	uint8_t bytes[2] = { 1, 1 };
	struct stat st;

	(void)state;
	assert_true(vblk_backing_can_discard(backing));
	assert_int_equal(vblk_backing_grow(backing, 0), 0);
	assert_int_equal(vblk_backing_grow(backing, DISK_SIZE - 1), 0);
	assert_int_equal(stat(path_of("disk"), &st), 0);
	assert_int_equal(st.st_size, DISK_SIZE);
	assert_int_equal(vblk_backing_grow(backing, 1 << 20), 0);
	assert_int_equal(stat(path_of("disk"), &st), 0);
	assert_int_equal(st.st_size, 1 << 20);
	assert_int_equal(read_at(backing, bytes, 2, DISK_SIZE - 1), 2);
	assert_int_equal(bytes[0], disk_byte(DISK_SIZE - 1));
	assert_int_equal(bytes[1], 0);
	assert_int_equal(vblk_backing_grow(backing, 1ull << 63), -EFBIG);
	vblk_backing_unref(backing);
}

#define DISK_TEST(fn) cmocka_unit_test_setup_teardown(fn, make_disk, remove_disk)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(a_range_is_discarded),
		DISK_TEST(a_range_is_made_zero),
		DISK_TEST(a_file_gives_its_space_back_or_keeps_it),
		DISK_TEST(a_file_does_not_grow_by_a_range_behind_its_end),
		DISK_TEST(a_range_that_no_file_has),
		DISK_TEST(ranges_at_the_end_of_memory),
		DISK_TEST(read_only_refuses_ranges),
		DISK_TEST(a_backing_without_the_operations),
		DISK_TEST(a_file_grows_and_never_shrinks),
	};

	return cmocka_run_group_tests_name("backing: ranges", tests, make_directory,
					   remove_directory);
}
