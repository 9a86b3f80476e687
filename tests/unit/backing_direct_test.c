/* SPDX-License-Identifier: MIT */
/*
 * Files past the page cache: whatever is not aligned is aligned on the way, and nothing beside it
 * changes. Alignment is injected, so that blocks of 4096 are tried where the disk has 512.
 */
#include "disk.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "backing/direct.h"
#include "base/checked.h"

#define BLOCK	  4096u
#define FILE_SIZE (128u * BLOCK)

struct rig {
	char path[64];
	int fd;
	struct vblk_direct *direct;
	uint8_t *content; /* what the file should be */
	uint8_t *bytes;	  /* aligned, of the same size */
};

static int setup(void **state)
{
	const struct vblk_alignment alignment = { 512, BLOCK };
	struct rig *rig = calloc(1, sizeof(*rig));

	strcpy(rig->path, "/var/tmp/vblk-direct-XXXXXX");
	rig->fd = mkostemp(rig->path, O_CLOEXEC | O_DIRECT);
	*state = rig;
	if (rig->fd < 0)
		return 0; /* no O_DIRECT here: each test says so */
	rig->content = aligned_alloc(BLOCK, FILE_SIZE);
	rig->bytes = aligned_alloc(BLOCK, FILE_SIZE);
	for (size_t i = 0; i < FILE_SIZE; i++)
		rig->content[i] = (uint8_t)(i * 7 + i / 512);
	assert_int_equal(pwrite(rig->fd, rig->content, FILE_SIZE, 0), FILE_SIZE);
	assert_int_equal(vblk_direct_create(rig->fd, &alignment, &rig->direct), 0);
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	if (rig->fd >= 0) {
		vblk_direct_destroy(rig->direct);
		close(rig->fd);
		unlink(rig->path);
	}
	free(rig->content);
	free(rig->bytes);
	free(rig);
	return 0;
}

static struct rig *rig_of(void **state)
{
	struct rig *rig = *state;

	if (rig->fd < 0)
		skip();
	return rig;
}

struct place {
	size_t memory; /* how far the buffer is from being aligned */
	uint64_t offset;
	size_t length;
};

static const struct place places[] = {
	{ 0, 0, BLOCK },
	{ 1, 0, BLOCK },
	{ 0, 512, 512 },
	{ 3, 512, 512 },
	{ 0, BLOCK - 512, 1024 },
	{ 8, BLOCK - 512, 3 * BLOCK },
	{ 0, BLOCK, 2 * BLOCK },
	{ 512, BLOCK, 2 * BLOCK },
	{ 5, 0, FILE_SIZE - BLOCK },
	{ 0, FILE_SIZE - 512, 512 },
	{ 0, 0, 512 },			   /* in two vectors: neither is as long as a sector */
	{ 1, 512, FILE_SIZE / 2 + BLOCK }, /* more than the buffer takes at once */
};

/* Where a short result leaves off: at the end of a block, so that only the first is in part. */
static void go_on(uint8_t **at, uint64_t *offset, size_t *length, ssize_t n)
{
	assert_true(n > 0 && (size_t)n <= *length);
	*at += n;
	*offset += (uint64_t)n;
	*length -= (size_t)n;
	assert_true(*length == 0 || *offset % BLOCK == 0);
}

/* Goes on after short results, as requests do. */
static void read_all(struct rig *rig, uint8_t *to, size_t length, uint64_t offset)
{
	while (length > 0) {
		struct iovec iov[2] = { { to, length / 2 },
					{ to + length / 2, length - length / 2 } };
		ssize_t n = vblk_direct_preadv(rig->direct, iov, 2, offset);

		go_on(&to, &offset, &length, n);
	}
}

static void test_D_BLKSIZE_reads_from_anywhere_to_anywhere(void **state)
{
	struct rig *rig = rig_of(state);

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(places); i++) {
		uint8_t *to = rig->bytes + places[i].memory;

		memset(rig->bytes, 0xee, FILE_SIZE);
		read_all(rig, to, places[i].length, places[i].offset);
		assert_memory_equal(to, rig->content + places[i].offset, places[i].length);
		assert_int_equal(to[places[i].length], 0xee);
	}
}

static void write_all(struct rig *rig, uint8_t *from, size_t length, uint64_t offset)
{
	memcpy(rig->content + offset, from, length);
	while (length > 0) {
		struct iovec iov[2] = { { from, length / 2 },
					{ from + length / 2, length - length / 2 } };
		ssize_t n = vblk_direct_pwritev(rig->direct, iov, 2, offset);

		go_on(&from, &offset, &length, n);
	}
}

static void expect_content(struct rig *rig)
{
	assert_int_equal(lseek(rig->fd, 0, SEEK_END), FILE_SIZE);
	assert_int_equal(pread(rig->fd, rig->bytes, FILE_SIZE, 0), FILE_SIZE);
	assert_memory_equal(rig->bytes, rig->content, FILE_SIZE);
}

static void test_D_BLKSIZE_writes_change_what_they_name(void **state)
{
	struct rig *rig = rig_of(state);

	for (size_t i = 0; i < VBLK_ARRAY_SIZE(places); i++) {
		uint8_t *from = rig->bytes + places[i].memory;

		for (size_t j = 0; j < places[i].length; j++)
			from[j] = (uint8_t)(j * 11 + i);
		write_all(rig, from, places[i].length, places[i].offset);
		expect_content(rig);
	}
}

/* A file whose end is in the middle of a block keeps its length. */
static void test_a_short_file_does_not_grow(void **state)
{
	struct rig *rig = rig_of(state);
	struct iovec iov = { rig->bytes, 512 };

	assert_int_equal(ftruncate(rig->fd, BLOCK + 1024), 0);
	memset(rig->bytes, 0x55, 512);
	assert_int_equal(vblk_direct_pwritev(rig->direct, &iov, 1, BLOCK), 512);
	assert_int_equal(lseek(rig->fd, 0, SEEK_END), BLOCK + 1024);
	assert_int_equal(vblk_direct_preadv(rig->direct, &iov, 1, BLOCK), 512);
	assert_int_equal(rig->bytes[511], 0x55);
	iov = (struct iovec){ rig->bytes, 512 };
	assert_int_equal(vblk_direct_pwritev(rig->direct, &iov, 1, BLOCK + 1024), 512);
	assert_int_equal(lseek(rig->fd, 0, SEEK_END), BLOCK + 1536);
}

/* What lies between the old end and a write behind it is a hole, and reads as one. */
static void test_what_is_skipped_behind_the_end_are_zeros(void **state)
{
	struct rig *rig = rig_of(state);
	struct iovec iov = { rig->bytes, 512 };

	assert_int_equal(ftruncate(rig->fd, BLOCK + 512), 0);
	memset(rig->bytes, 0x55, BLOCK);
	assert_int_equal(vblk_direct_pwritev(rig->direct, &iov, 1, BLOCK + 2048), 512);
	assert_int_equal(lseek(rig->fd, 0, SEEK_END), BLOCK + 2560);
	assert_int_equal(pread(rig->fd, rig->bytes, BLOCK, BLOCK), 2560);
	assert_memory_equal(rig->bytes, rig->content + BLOCK, 512);
	for (size_t i = 512; i < 2560; i++)
		assert_int_equal(rig->bytes[i], i < 2048 ? 0 : 0x55);
}

static atomic_bool has_written;

static void *write_a_block(void *context)
{
	struct rig *rig = context;
	struct iovec iov = { rig->bytes, BLOCK };

	(void)!vblk_direct_pwritev(rig->direct, &iov, 1, 0);
	atomic_store(&has_written, true);
	return NULL;
}

static bool writer_waits_or_is_done(void *context)
{
	(void)context;
	return atomic_load(&has_written) || process_thread_is_in("writer", SYS_futex);
}

/* Who changes a block in part reads it first, and must not find what is about to change. */
static void test_a_block_in_part_is_beside_nobody(void **state)
{
	struct rig *rig = rig_of(state);
	pthread_t writer;

#ifdef EMULATED /* it has numbers of its own for what threads wait in */
	skip();
#endif
	atomic_store(&has_written, false);
	vblk_direct_begin(rig->direct, 512, 512);
	assert_int_equal(pthread_create(&writer, NULL, write_a_block, rig), 0);
	assert_int_equal(pthread_setname_np(writer, "writer"), 0);
	assert_true(process_wait(writer_waits_or_is_done, NULL));
	assert_false(atomic_load(&has_written));
	vblk_direct_end(rig->direct);
	pthread_join(writer, NULL);
	assert_true(atomic_load(&has_written));
	/* Whole ones are beside each other. */
	vblk_direct_begin(rig->direct, 0, BLOCK);
	(void)write_a_block(rig);
	vblk_direct_end(rig->direct);
}

static void test_the_end_of_the_file(void **state)
{
	struct rig *rig = rig_of(state);
	struct iovec iov = { rig->bytes + 1, 1024 };

	assert_int_equal(vblk_direct_preadv(rig->direct, &iov, 1, FILE_SIZE), 0);
	assert_int_equal(vblk_direct_preadv(rig->direct, &iov, 1, FILE_SIZE - 512), 512);
}

static void test_what_others_may_do(void **state)
{
	const struct vblk_alignment sectors = { 512, 512 };
	struct rig *rig = rig_of(state);
	struct iovec good = { rig->bytes, BLOCK }, bad = { rig->bytes + 8, BLOCK };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &good, .count = 1 };
	struct vblk_direct *small;

	assert_true(vblk_direct_is_free(rig->direct, &call));
	call.offset = 512;
	assert_false(vblk_direct_is_free(rig->direct, &call));
	call.offset = 0;
	call.op = VBLK_CALL_PWRITEV; /* others would not see the lock */
	assert_false(vblk_direct_is_free(rig->direct, &call));
	assert_int_equal(vblk_direct_create(rig->fd, &sectors, &small), 0);
	assert_true(vblk_direct_is_free(small, &call));
	good.iov_len = 256;
	assert_false(vblk_direct_is_free(small, &call));
	call.iov = &bad;
	assert_false(vblk_direct_is_free(small, &call));
	call.op = VBLK_CALL_SYNC;
	assert_true(vblk_direct_is_free(small, &call));
	vblk_direct_destroy(small);
}

static void test_asks_for_what_the_host_wants(void **state)
{
	struct rig *rig = rig_of(state);
	struct vblk_alignment alignment = { 0, 0 };

	vblk_direct_ask(rig->fd, &alignment);
	assert_true(alignment.memory > 0 && alignment.offset >= 512);
	assert_int_equal(alignment.offset & (alignment.offset - 1), 0);
}

static void test_opens_with_the_flag_only(void **state)
{
	struct rig *rig = rig_of(state);
	struct vblk_backing *backing;

	assert_int_equal(vblk_backing_open_fd(rig->fd, 0, &backing), -EINVAL);
	assert_int_equal(
		vblk_backing_open_fd(rig->fd, VBLK_FILE_DIRECT | VBLK_FILE_NO_LOCK, &backing), 0);
	vblk_backing_unref(backing);
	assert_int_equal(vblk_backing_map_file(rig->path, VBLK_FILE_DIRECT, &backing), -EINVAL);
	assert_int_equal(vblk_backing_open_file(rig->path, VBLK_FILE_DIRECT, &backing), 0);
	memset(rig->bytes, 0, FILE_SIZE);
	assert_true(disk_is_filled(backing, 0, rig->content[0], 1));
	vblk_backing_unref(backing);
}

/* What the file's operations make of it, and what of that others may do. */
static void test_an_open_file_moves_any_sector(void **state)
{
	struct rig *rig = rig_of(state);
	struct iovec vec = { rig->bytes, BLOCK };
	struct vblk_call read = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = BLOCK };
	struct vblk_backing *backing;

	assert_int_equal(vblk_backing_open_file(rig->path, VBLK_FILE_DIRECT, &backing), 0);
	disk_fill(backing, 3 * 512, 0x99, 5 * 512);
	assert_true(disk_is_filled(backing, 3 * 512, 0x99, 5 * 512));
	memset(rig->content + 3 * 512, 0x99, 5 * 512);
	expect_content(rig);
	assert_true(vblk_backing_async_fd(backing, &read) >= 0);
	vec.iov_base = rig->bytes + 1;
	assert_int_equal(vblk_backing_async_fd(backing, &read), -1);
	vblk_backing_unref(backing);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_D_BLKSIZE_reads_from_anywhere_to_anywhere),
		TEST(test_D_BLKSIZE_writes_change_what_they_name),
		TEST(test_a_short_file_does_not_grow),
		TEST(test_what_is_skipped_behind_the_end_are_zeros),
		TEST(test_a_block_in_part_is_beside_nobody),
		TEST(test_the_end_of_the_file),
		TEST(test_what_others_may_do),
		TEST(test_asks_for_what_the_host_wants),
		TEST(test_opens_with_the_flag_only),
		TEST(test_an_open_file_moves_any_sector),
	};

	return cmocka_run_group_tests_name("backing_direct", tests, NULL, NULL);
}
