/* SPDX-License-Identifier: MIT */
/* Backings: the object itself, and memory. */
#include "backing_fixture.h"

#include "backing/aio.h"
#include "backing/faulty.h"

/* ---- the object ---- */

struct probe {
	const struct iovec *iov;
	int count;
	uint64_t offset;
	char last;
	int closed;
};

static ssize_t probe_transfer(struct probe *probe, const struct iovec *iov, int count,
			      uint64_t offset, char op)
{
	probe->iov = iov;
	probe->count = count;
	probe->offset = offset;
	probe->last = op;
	return op == 'r' ? 11 : 22;
}

static ssize_t probe_preadv(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	return probe_transfer(context, iov, count, offset, 'r');
}

static ssize_t probe_pwritev(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	return probe_transfer(context, iov, count, offset, 'w');
}

static int probe_sync(void *context)
{
	((struct probe *)context)->last = 's';
	return -EIO;
}

static void probe_close(void *context)
{
	((struct probe *)context)->closed++;
}

static void create_checks_operations(void **state)
{
	static const struct {
		bool preadv, pwritev;
		uint32_t flags;
		int err;
	} table[] = {
		{ true, true, 0, 0 },
		{ true, true, VBLK_BACKING_READ_ONLY, 0 },
		{ true, false, VBLK_BACKING_READ_ONLY, 0 },
		{ true, false, 0, -EINVAL },
		{ false, true, 0, -EINVAL },
		{ false, false, VBLK_BACKING_READ_ONLY, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		const struct vblk_backing_ops ops = {
			.preadv = table[i].preadv ? probe_preadv : NULL,
			.pwritev = table[i].pwritev ? probe_pwritev : NULL,
			.close = probe_close,
		};
		const struct vblk_backing_info info = { .flags = table[i].flags };
		struct vblk_backing *backing = NULL;
		struct probe probe = { 0 };

		assert_int_equal(vblk_backing_create(&ops, &probe, &info, &backing), table[i].err);
		assert_int_equal(probe.closed, table[i].err ? 1 : 0);
		vblk_backing_unref(backing);
		assert_int_equal(probe.closed, 1);
	}
}

static void close_is_optional(void **state)
{
	const struct vblk_backing_ops none = { 0 };
	const struct vblk_backing_ops ops = { .preadv = probe_preadv, .pwritev = probe_pwritev };
	const struct vblk_backing_info info = { 0 };
	struct vblk_backing *backing;

	(void)state;
	assert_int_equal(vblk_backing_create(&none, NULL, &info, &backing), -EINVAL);
	assert_int_equal(vblk_backing_create(&ops, NULL, &info, &backing), 0);
	vblk_backing_unref(backing);
}

static void last_reference_closes_once(void **state)
{
	const struct vblk_backing_ops ops = { .preadv = probe_preadv,
					      .pwritev = probe_pwritev,
					      .close = probe_close };
	const struct vblk_backing_info info = { .size_bytes = 12345, .flags = 0 };
	struct vblk_backing *backing;
	struct probe probe = { 0 };

	(void)state;
	assert_int_equal(vblk_backing_create(&ops, &probe, &info, &backing), 0);
	assert_ptr_equal(vblk_backing_ref(backing), backing);
	vblk_backing_unref(backing);
	assert_int_equal(probe.closed, 0);
	assert_int_equal(size_of(backing), 12345);
	vblk_backing_unref(backing);
	assert_int_equal(probe.closed, 1);
	vblk_backing_unref(NULL);
}

static void calls_arrive_as_they_were_made(void **state)
{
	const struct vblk_backing_ops ops = { .preadv = probe_preadv,
					      .pwritev = probe_pwritev,
					      .sync = probe_sync };
	const struct vblk_backing_info info = { 0 };
	struct iovec iov[3] = { 0 };
	struct vblk_backing *backing;
	struct probe probe = { 0 };

	(void)state;
	assert_int_equal(vblk_backing_create(&ops, &probe, &info, &backing), 0);
	assert_int_equal(vblk_backing_preadv(backing, iov, 3, 5 * GIB), 11);
	assert_int_equal(probe.last, 'r');
	assert_ptr_equal(probe.iov, iov);
	assert_int_equal(probe.count, 3);
	assert_int_equal(probe.offset, 5 * GIB);
	assert_int_equal(vblk_backing_pwritev(backing, iov + 1, 2, UINT64_MAX), 22);
	assert_int_equal(probe.last, 'w');
	assert_ptr_equal(probe.iov, iov + 1);
	assert_int_equal(probe.count, 2);
	assert_true(probe.offset == UINT64_MAX);
	assert_int_equal(vblk_backing_sync(backing), -EIO);
	assert_int_equal(probe.last, 's');
	vblk_backing_unref(backing);
}

static void missing_sync_succeeds_and_read_only_refuses_writes(void **state)
{
	const struct vblk_backing_ops ops = { .preadv = probe_preadv, .pwritev = probe_pwritev };
	const struct vblk_backing_info info = { .flags = VBLK_BACKING_READ_ONLY };
	struct iovec iov = { 0 };
	struct vblk_backing *backing;
	struct probe probe = { 0 };

	(void)state;
	assert_int_equal(vblk_backing_create(&ops, &probe, &info, &backing), 0);
	assert_int_equal(vblk_backing_sync(backing), 0);
	assert_int_equal(vblk_backing_pwritev(backing, &iov, 1, 0), -EROFS);
	assert_int_equal(probe.last, 0);
	vblk_backing_unref(backing);
}

/* ---- memory ---- */

static void memory_checks_its_size(void **state)
{
	struct vblk_backing *backing = NULL;

	(void)state;
	assert_int_equal(vblk_backing_create_memory(0, &backing), -EINVAL);
	assert_int_equal(vblk_backing_create_memory(1ull << 63, &backing), -EINVAL);
	assert_int_equal(vblk_backing_create_memory(UINT64_MAX, &backing), -EINVAL);
	/* Allowed, but more than any address space holds. */
	assert_int_equal(vblk_backing_create_memory(INT64_MAX, &backing), -ENOMEM);
	assert_null(backing);
}

/* On a disk of 100 bytes, whose last one is not the last of a page. */
static void memory_edges(void **state)
{
	static const struct {
		uint64_t offset;
		size_t length;
		ssize_t read, written;
	} table[] = {
		{ 0, 100, 100, 100 },
		{ 0, 101, 100, 100 },
		{ 99, 1, 1, 1 },
		{ 99, 2, 1, 1 },
		{ 100, 1, 0, -ENOSPC },
		{ 101, 1, 0, -ENOSPC },
		{ 4096, 1, 0, -ENOSPC },
		{ UINT64_MAX, 1, 0, -ENOSPC },
		{ UINT64_MAX, 512, 0, -ENOSPC },
		{ 50, 0, 0, 0 },
		{ 100, 0, 0, 0 },
		{ UINT64_MAX, 0, 0, 0 },
	};
	struct vblk_backing *backing;
	uint8_t buffer[512];

	(void)state;
	assert_int_equal(vblk_backing_create_memory(100, &backing), 0);
	assert_int_equal(size_of(backing), 100);
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(table); i++) {
		memset(buffer, 0, sizeof(buffer));
		assert_int_equal(write_at(backing, buffer, table[i].length, table[i].offset),
				 table[i].written);
		memset(buffer, 0xaa, sizeof(buffer));
		assert_int_equal(read_at(backing, buffer, table[i].length, table[i].offset),
				 table[i].read);
		for (size_t at = 0; at < sizeof(buffer); at++)
			assert_int_equal(buffer[at], at < (size_t)table[i].read ? 0 : 0xaa);
	}
	assert_int_equal(vblk_backing_sync(backing), 0);
	vblk_backing_unref(backing);
}

static void memory_scatters_and_gathers(void **state)
{
	char from[] = "abcdefghij", to[12] = { 0 };
	const struct iovec out[] = {
		{ from, 3 },
		{ NULL, 0 },
		{ from + 3, 1 },
		{ from + 4, 6 },
	};
	const struct iovec in[] = {
		{ to + 6, 5 },
		{ NULL, 0 },
		{ to, 5 },
	};
	struct vblk_backing *backing;

	(void)state;
	assert_int_equal(vblk_backing_create_memory(4096, &backing), 0);
	assert_int_equal(vblk_backing_pwritev(backing, out, 4, 1000), 10);
	assert_int_equal(vblk_backing_preadv(backing, in, 3, 1000), 10);
	assert_memory_equal(to, "fghij\0abcde\0", sizeof(to));
	assert_int_equal(vblk_backing_preadv(backing, in, 0, 1000), 0);
	assert_int_equal(vblk_backing_pwritev(backing, out, 0, 1000), 0);
	vblk_backing_unref(backing);
}

static bool may_overcommit(void)
{
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "r");
	int mode = file ? fgetc(file) : EOF;

	if (file)
		fclose(file);
	return mode == '0' || mode == '1';
}

/* More than most machines have, and little enough for a sanitizer that uses addresses itself. */
static void memory_is_sparse(void **state)
{
	const uint64_t size = 256 * GIB;
	struct vblk_backing *backing;
	char word[5] = { 0 };

	(void)state;
	if (!may_overcommit()) {
		print_message("this system reserves all memory ahead\n");
		skip();
	}
	assert_int_equal(vblk_backing_create_memory(size, &backing), 0);
	assert_int_equal(write_at(backing, "tail", 4, size - 4), 4);
	assert_int_equal(read_at(backing, word, 4, size - 4), 4);
	assert_string_equal(word, "tail");
	assert_int_equal(read_at(backing, word, 4, size / 2), 4);
	assert_memory_equal(word, "\0\0\0\0", 4);
	vblk_backing_unref(backing);
}

/* ---- calls that somebody else makes ---- */

static int any_fd(void *context, const struct vblk_call *call)
{
	(void)context;
	(void)call;
	return 0;
}

/* Who asked for the descriptor was to make it, and could not: the rules have had their say. */
static void a_call_that_comes_back_counts_once(void **state)
{
	const struct vblk_faulty_rule rules[] = {
		{ .op = VBLK_FAULTY_PWRITEV,
		  .action = VBLK_FAULTY_ERROR,
		  .value = EIO,
		  .first = 2,
		  .count = 1 },
		{ .op = VBLK_FAULTY_PWRITEV, .action = VBLK_FAULTY_ZERO, .first = 3 },
	};
	char word[4] = "word";
	struct iovec vec = { word, 4 };
	struct vblk_call call = { .op = VBLK_CALL_PWRITEV, .iov = &vec, .count = 1, .bytes = 4 };
	struct vblk_backing *memory, *faulty;

	(void)state;
	assert_int_equal(vblk_backing_create_memory(4096, &memory), 0);
	memory->async_fd = any_fd;
	assert_int_equal(vblk_faulty_create(memory, rules, 2, NULL, &faulty), 0);
	assert_int_equal(vblk_backing_async_fd(faulty, &call), 0);
	call.result = VBLK_CALL_NOT_MADE;
	assert_int_equal(vblk_backing_perform(faulty, &call), 4);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_PWRITEV), 1);
	call.result = 0;
	assert_int_equal(vblk_backing_async_fd(faulty, &call), -1);
	assert_int_equal(vblk_backing_perform(faulty, &call), -EIO);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_PWRITEV), 2);
	vblk_backing_unref(faulty);
	vblk_backing_unref(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_checks_operations),
		cmocka_unit_test(close_is_optional),
		cmocka_unit_test(last_reference_closes_once),
		cmocka_unit_test(calls_arrive_as_they_were_made),
		cmocka_unit_test(missing_sync_succeeds_and_read_only_refuses_writes),
		cmocka_unit_test(memory_checks_its_size),
		cmocka_unit_test(memory_edges),
		cmocka_unit_test(memory_scatters_and_gathers),
		cmocka_unit_test(memory_is_sparse),
		cmocka_unit_test(a_call_that_comes_back_counts_once),
	};

	return cmocka_run_group_tests_name("backing", tests, NULL, NULL);
}
