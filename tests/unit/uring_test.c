/* SPDX-License-Identifier: MIT */
/*
 * Calls through io_uring on a real file: results, order, fallbacks. Skipped where there is no
 * io_uring.
 */
#include <sys/syscall.h>

#include "uring_fixture.h"

#ifdef HAVE_LIBURING
/* The linker puts this in the place of the library's (--wrap). */
static int submit_error;
static bool submit_one; /* the kernel takes one entry only, once */

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	if (submit_one) {
		submit_one = false;
		ring->sq.sqe_head = ring->sq.sqe_tail;
		__atomic_store_n(ring->sq.ktail, ring->sq.sqe_tail, __ATOMIC_RELEASE);
		return (int)syscall(SYS_io_uring_enter, ring->ring_fd, 1, 0, 0, NULL, 0);
	}
	return submit_error ? submit_error : __real_io_uring_submit(ring);
}

#else
static bool submit_one;
static int submit_error; /* nobody looks: every test here is skipped */
#endif

static void test_reads_writes_and_syncs(void **state)
{
	uint8_t out[1024], in[1024] = { 0 };
	struct iovec write_vec[2] = { { out, 512 }, { out + 512, 512 } };
	struct iovec read_vec = { in, 1024 };
	struct vblk_call write = {
		.op = VBLK_CALL_PWRITEV, .iov = write_vec, .count = 2, .offset = 512, .bytes = 1024
	};
	struct vblk_call read = {
		.op = VBLK_CALL_PREADV, .iov = &read_vec, .count = 1, .offset = 512, .bytes = 1024
	};
	struct vblk_call sync = { .op = VBLK_CALL_SYNC };
	struct rig rig;

	(void)state;
	begin(&rig, false);
	memset(out, 0x11, 512);
	memset(out + 512, 0x22, 512);
	assert_int_equal(vblk_aio_start(rig.aio, &write), 0);
	assert_ptr_equal(wait_for_one(&rig), &write);
	assert_int_equal(write.result, 1024);
	assert_int_equal(vblk_aio_start(rig.aio, &sync), 0);
	assert_ptr_equal(wait_for_one(&rig), &sync);
	assert_int_equal(sync.result, 0);
	assert_int_equal(vblk_aio_start(rig.aio, &read), 0);
	assert_ptr_equal(wait_for_one(&rig), &read);
	assert_int_equal(read.result, 1024);
	assert_memory_equal(in, out, 1024);
	end(&rig);
}

static void test_the_end_of_the_file(void **state)
{
	uint8_t in[1024];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV,
				  .iov = &vec,
				  .count = 1,
				  .offset = FILE_SIZE - 100,
				  .bytes = sizeof(in) };
	struct rig rig;

	(void)state;
	begin(&rig, true);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	assert_int_equal(wait_for_one(&rig)->result, 100);
	call.offset = FILE_SIZE;
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	assert_int_equal(wait_for_one(&rig)->result, 0);
	end(&rig);
}

static void test_errors_are_results(void **state)
{
	struct iovec vec = { (void *)16, 8192 }; /* too long for a stage */
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 8192 };
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	assert_int_equal(wait_for_one(&rig)->result, -EFAULT);
	end(&rig);
}

static void test_what_it_does_not_take(void **state)
{
	struct vblk_call nothing = { .op = VBLK_CALL_DISCARD };
	struct vblk_call beyond = { .op = VBLK_CALL_DISCARD, .offset = 512, .bytes = INT64_MAX };
	struct vblk_call far_away = { .op = VBLK_CALL_PREADV, .offset = (uint64_t)INT64_MAX + 1 };
	struct vblk_call sync = { .op = VBLK_CALL_SYNC };
	struct vblk_call discard = { .op = VBLK_CALL_DISCARD, .bytes = 4096 };
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_aio_start(rig.aio, &nothing), -EAGAIN);
	assert_int_equal(vblk_aio_start(rig.aio, &beyond), -EAGAIN);
	assert_int_equal(vblk_aio_start(rig.aio, &far_away), -EAGAIN);
	assert_null(vblk_aio_reap(rig.aio));
	end(&rig);
	/* A file in memory is changed and synced at once; only reads gain by batches. */
	begin(&rig, true);
	assert_int_equal(vblk_aio_start(rig.aio, &sync), -EAGAIN);
	assert_int_equal(vblk_aio_start(rig.aio, &discard), -EAGAIN);
	end(&rig);
}

static void make_range(struct rig *rig, enum vblk_call_op op, uint32_t flags, uint64_t offset)
{
	struct vblk_call call = { .op = op, .flags = flags, .offset = offset, .bytes = 4096 };

	assert_int_equal(vblk_aio_start(rig->aio, &call), 0);
	assert_ptr_equal(wait_for_one(rig), &call);
	assert_int_equal(call.result, 0);
}

static void test_ranges(void **state)
{
	struct rig rig;

	(void)state;
	begin(&rig, false);
	make_range(&rig, VBLK_CALL_DISCARD, 0, 0);
	make_range(&rig, VBLK_CALL_WRITE_ZEROES, 0, 4096);
	make_range(&rig, VBLK_CALL_WRITE_ZEROES, VBLK_ZEROES_UNMAP, 8192);
	assert_true(disk_is_filled(rig.backing, 0, 0, 12288));
	assert_true(disk_is_filled(rig.backing, 12288, 0xab, 4096));
	assert_int_equal(lseek(rig.fd, 0, SEEK_END), FILE_SIZE);
	end(&rig);
}

/* Files in memory know holes and no other zeros: that is tried once, and comes back. */
static void test_a_change_that_the_file_does_not_know(void **state)
{
	const uint64_t bytes = 1 << 20;
	struct vblk_call zeroes = { .op = VBLK_CALL_WRITE_ZEROES, .bytes = bytes };
	struct vblk_call discard = { .op = VBLK_CALL_DISCARD, .bytes = bytes };
	struct rig rig;

	(void)state;
	begin(&rig, true);
	assert_int_equal(vblk_backing_grow(rig.backing, bytes), 0);
	assert_int_equal(vblk_aio_start(rig.aio, &zeroes), 0);
	assert_true(wait_for_one(&rig)->result == VBLK_CALL_NOT_MADE);
	assert_true(disk_is_filled(rig.backing, 0, 0xab, FILE_SIZE));
	assert_int_equal(vblk_backing_perform(rig.backing, &zeroes), -EOPNOTSUPP);
	assert_int_equal(vblk_aio_start(rig.aio, &zeroes), -EAGAIN);
	assert_int_equal(vblk_aio_start(rig.aio, &discard), 0);
	assert_int_equal(wait_for_one(&rig)->result, 0);
	assert_true(disk_is_filled(rig.backing, 0, 0, FILE_SIZE));
	end(&rig);
}

static void test_a_read_only_disk(void **state)
{
	uint8_t byte = 1;
	struct iovec vec = { &byte, 1 };
	struct vblk_call write = { .op = VBLK_CALL_PWRITEV, .iov = &vec, .count = 1, .bytes = 1 };
	struct vblk_call discard = { .op = VBLK_CALL_DISCARD, .bytes = 512 };
	struct vblk_call read = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 1 };
	struct vblk_backing *backing;
	struct vblk_aio *aio;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(
		vblk_backing_open_fd(rig.fd, VBLK_FILE_READ_ONLY | VBLK_FILE_NO_LOCK, &backing), 0);
	assert_int_equal(vblk_uring_create(backing, ENTRIES, &aio), 0);
	assert_int_equal(vblk_aio_start(aio, &write), -EAGAIN);
	assert_int_equal(vblk_aio_start(aio, &discard), -EAGAIN);
	assert_int_equal(vblk_backing_perform(backing, &discard), -EROFS);
	assert_int_equal(vblk_aio_start(aio, &read), 0);
	vblk_aio_wait(aio);
	assert_int_equal(vblk_aio_reap(aio)->result, 1);
	vblk_aio_destroy(aio);
	vblk_backing_unref(backing);
	end(&rig);
}

/* Short reads come by way of a stage, whatever number of vectors they have; longer ones do not. */
static void test_small_reads_are_staged(void **state)
{
	uint8_t in[8192] = { 0 };
	struct iovec vec[2] = { { in, 1000 }, { in + 2000, 3096 } };
	struct iovec long_vec = { in, sizeof(in) };
	struct vblk_call read = {
		.op = VBLK_CALL_PREADV, .iov = vec, .count = 2, .offset = 1, .bytes = 4096
	};
	struct vblk_call long_read = {
		.op = VBLK_CALL_PREADV, .iov = &long_vec, .count = 1, .bytes = sizeof(in)
	};
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_aio_start(rig.aio, &read), 0);
	assert_non_null(read.staged);
	assert_ptr_equal(wait_for_one(&rig), &read);
	assert_int_equal(read.result, 4096);
	assert_int_equal(in[0], 0xab);
	assert_int_equal(in[999], 0xab);
	assert_int_equal(in[1000], 0);
	assert_int_equal(in[5095], 0xab);
	assert_int_equal(in[5096], 0);
	assert_int_equal(vblk_aio_start(rig.aio, &long_read), 0);
	assert_null(long_read.staged);
	assert_int_equal(wait_for_one(&rig)->result, 8192);
	assert_int_equal(in[1000], 0xab);
	end(&rig);
}

/* More than the ring has room for are not taken, and those that were all come back. */
static void test_a_full_ring(void **state)
{
	uint8_t in[ENTRIES + 1][512];
	struct iovec vec[ENTRIES + 1];
	struct vblk_call call[ENTRIES + 1];
	struct rig rig;

	(void)state;
	begin(&rig, false);
	for (unsigned i = 0; i <= ENTRIES; i++) {
		vec[i] = (struct iovec){ in[i], 512 };
		call[i] = (struct vblk_call){ .op = VBLK_CALL_PREADV,
					      .iov = &vec[i],
					      .count = 1,
					      .offset = i * 512,
					      .bytes = 512 };
		assert_int_equal(vblk_aio_start(rig.aio, &call[i]), i < ENTRIES ? 0 : -EAGAIN);
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(wait_for_one(&rig)->result, 512);
	assert_null(vblk_aio_reap(rig.aio));
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(in[i][511], 0xab);
	end(&rig);
}

/* With rules, the calls that they are for are the injector's own, and it counts them all. */
static void test_faults_are_made_by_the_injector(void **state)
{
	const struct vblk_faulty_rule rule =
		FAULT(PREADV, ERROR, .value = EIO, .first = 2, .count = 1);
	uint8_t in[512];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 512 };
	struct vblk_backing *faulty;
	struct vblk_aio *aio;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_faulty_create(rig.backing, &rule, 1, NULL, &faulty), 0);
	assert_int_equal(vblk_uring_create(faulty, ENTRIES, &aio), 0);
	assert_int_equal(vblk_aio_start(aio, &call), 0);
	vblk_aio_wait(aio);
	assert_int_equal(vblk_aio_reap(aio)->result, 512);
	assert_int_equal(vblk_aio_start(aio, &call), -EAGAIN);
	assert_int_equal(vblk_backing_perform(faulty, &call), -EIO);
	assert_int_equal(vblk_aio_start(aio, &call), 0);
	vblk_aio_wait(aio);
	assert_int_equal(vblk_aio_reap(aio)->result, 512);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_PREADV), 3);
	vblk_aio_destroy(aio);
	vblk_backing_unref(faulty);
	end(&rig);
}

/* It counts when it is handed over, and who makes it in the end does not change that. */
static void test_a_call_that_comes_back_counts_once(void **state)
{
	const struct vblk_faulty_rule rule =
		FAULT(PREADV, ERROR, .value = EIO, .first = 2, .count = 1);
	uint8_t in[512];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 512 };
	struct vblk_backing *faulty;
	struct vblk_aio *aio;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_faulty_create(rig.backing, &rule, 1, NULL, &faulty), 0);
	assert_int_equal(vblk_uring_create(faulty, ENTRIES, &aio), 0);
	assert_int_equal(vblk_aio_start(aio, &call), 0);
	submit_error = -ENOMEM;
	vblk_aio_submit(aio);
	submit_error = 0;
	assert_true(vblk_aio_reap(aio)->result == VBLK_CALL_NOT_MADE);
	assert_int_equal(vblk_backing_perform(faulty, &call), 512);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_PREADV), 1);
	assert_int_equal(vblk_aio_start(aio, &call), -EAGAIN);
	assert_int_equal(vblk_backing_perform(faulty, &call), -EIO);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_PREADV), 2);
	vblk_aio_destroy(aio);
	vblk_backing_unref(faulty);
	end(&rig);
}

/* Nor does a call count that finds no room. */
static void test_a_call_without_room_counts_when_it_is_made(void **state)
{
	struct vblk_call calls[ENTRIES], one_more = { .op = VBLK_CALL_SYNC };
	struct vblk_backing *faulty;
	struct vblk_aio *aio;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_faulty_create(rig.backing, NULL, 0, NULL, &faulty), 0);
	assert_int_equal(vblk_uring_create(faulty, ENTRIES, &aio), 0);
	for (unsigned i = 0; i < ENTRIES; i++) {
		calls[i] = one_more;
		assert_int_equal(vblk_aio_start(aio, &calls[i]), 0);
	}
	assert_int_equal(vblk_aio_start(aio, &one_more), -EAGAIN);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_SYNC), ENTRIES);
	assert_int_equal(vblk_backing_perform(faulty, &one_more), 0);
	assert_int_equal(vblk_faulty_calls(faulty, VBLK_FAULTY_SYNC), ENTRIES + 1);
	for (unsigned i = 0; i < ENTRIES; i++) {
		vblk_aio_wait(aio);
		assert_int_equal(vblk_aio_reap(aio)->result, 0);
	}
	vblk_aio_destroy(aio);
	vblk_backing_unref(faulty);
	end(&rig);
}

/* What the kernel does not take is not made later either, when it takes others. */
static void test_calls_that_the_kernel_refuses(void **state)
{
	uint8_t byte = 0x77, in[2] = { 0 };
	struct iovec write_vec = { &byte, 1 }, read_vec = { in, 2 };
	struct vblk_call write = {
		.op = VBLK_CALL_PWRITEV, .iov = &write_vec, .count = 1, .bytes = 1
	};
	struct vblk_call read = {
		.op = VBLK_CALL_PREADV, .iov = &read_vec, .count = 1, .bytes = 2
	};
	struct rig rig;

	(void)state;
	begin(&rig, false);
	submit_error = -ENOMEM;
	assert_int_equal(vblk_aio_start(rig.aio, &write), 0);
	vblk_aio_submit(rig.aio);
	submit_error = 0;
	assert_ptr_equal(vblk_aio_reap(rig.aio), &write);
	assert_true(write.result == VBLK_CALL_NOT_MADE);
	for (unsigned i = 0; i < 2 * ENTRIES; i++) {
		assert_int_equal(vblk_aio_start(rig.aio, &read), 0);
		assert_ptr_equal(wait_for_one(&rig), &read);
		assert_int_equal(read.result, 2);
	}
	assert_null(vblk_aio_reap(rig.aio));
	assert_int_equal(in[0], 0xab);
	end(&rig);
}

/* However often it refuses: later calls find room, and each comes back once. */
static void test_the_ring_lives_on_after_refusals(void **state)
{
	uint8_t in[ENTRIES][512];
	struct iovec vec[ENTRIES];
	struct vblk_call call[ENTRIES];
	struct rig rig;

	(void)state;
	begin(&rig, false);
	for (unsigned i = 0; i < ENTRIES; i++) {
		vec[i] = (struct iovec){ in[i], 512 };
		call[i] = (struct vblk_call){ .op = VBLK_CALL_PREADV,
					      .iov = &vec[i],
					      .count = 1,
					      .offset = i * 512,
					      .bytes = 512 };
	}
	submit_error = -EAGAIN;
	for (unsigned i = 0; i < 3 * ENTRIES; i++) {
		assert_int_equal(vblk_aio_start(rig.aio, &call[0]), 0);
		vblk_aio_submit(rig.aio);
		assert_ptr_equal(vblk_aio_reap(rig.aio), &call[0]);
	}
	submit_error = 0;
	/* One is taken, then the rest is refused. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vblk_aio_start(rig.aio, &call[i]), 0);
	submit_one = true;
	submit_error = -EAGAIN;
	vblk_aio_submit(rig.aio);
	submit_error = 0;
	for (unsigned i = 0; i < 3; i++) {
		const struct vblk_call *over = wait_for_one(&rig);

		assert_true(over == &call[0] ? over->result == 512
					     : over->result == VBLK_CALL_NOT_MADE);
	}
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(vblk_aio_start(rig.aio, &call[i]), 0);
	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(wait_for_one(&rig)->result, 512);
	assert_null(vblk_aio_reap(rig.aio));
	end(&rig);
}

/* There are fewer stages than calls may be under way; each is one call's alone. */
static void test_more_reads_than_stages(void **state)
{
#ifdef HAVE_LIBURING
	enum {
		COUNT = 2 * VBLK_RING_STAGES
	};
	uint8_t in[COUNT][512] = { 0 };
	struct iovec vec[COUNT];
	struct vblk_call call[COUNT];
	struct vblk_aio *aio;
	unsigned staged;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_uring_create(rig.backing, COUNT, &aio), 0);
	for (unsigned round = 0; round < 2; round++) {
		staged = 0;
		for (unsigned i = 0; i < COUNT; i++) {
			uint8_t byte = (uint8_t)(round + i);

			assert_int_equal(pwrite(rig.fd, &byte, 1, i * 16), 1);
			vec[i] = (struct iovec){ in[i], 16 };
			call[i] = (struct vblk_call){ .op = VBLK_CALL_PREADV,
						      .iov = &vec[i],
						      .count = 1,
						      .offset = i * 16,
						      .bytes = 16 };
			assert_int_equal(vblk_aio_start(aio, &call[i]), 0);
			staged += call[i].staged != NULL;
		}
		assert_int_equal(staged, VBLK_RING_STAGES);
		for (unsigned i = 0; i < COUNT; i++) {
			struct vblk_call *over = vblk_aio_reap(aio);

			if (!over) {
				vblk_aio_wait(aio);
				over = vblk_aio_reap(aio);
			}
			assert_int_equal(over->result, 16);
			fetch(over);
		}
		for (unsigned i = 0; i < COUNT; i++)
			assert_int_equal(in[i][0], (uint8_t)(round + i));
	}
	vblk_aio_destroy(aio);
	end(&rig);
#else
	(void)state;
	skip();
#endif
}

/* A refused read has nothing in its stage, and gives it back. */
static void test_refused_reads_are_not_staged(void **state)
{
	uint8_t in[16];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = {
		.op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = sizeof(in)
	};
	struct rig rig;

	(void)state;
	begin(&rig, false);
	submit_error = -ENOMEM;
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
		assert_non_null(call.staged);
		vblk_aio_submit(rig.aio);
		assert_ptr_equal(vblk_aio_reap(rig.aio), &call);
		assert_true(call.result == VBLK_CALL_NOT_MADE);
		assert_null(call.staged);
	}
	submit_error = 0;
	end(&rig);
}

/*
 * The kernel closes what is registered later than the process: the lock of the disk must not be
 * among that.
 */
static void test_the_ring_does_not_keep_the_disk_locked(void **state)
{
#ifdef HAVE_LIBURING
	char path[] = "/var/tmp/vblk-uring-XXXXXX";
	struct vblk_backing *backing, *next;
	struct vblk_ring ring;
	int fd, ret;

	(void)state;
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	assert_int_equal(vblk_backing_open_file(path, 0, &backing), 0);
	ret = vblk_ring_open(&ring, vblk_backing_file_fd(backing), ENTRIES);
	if (ret == -ENOSYS || ret == -EPERM)
		skip();
	assert_int_equal(ret, 0);
	assert_true(ring.registered);
	assert_int_equal(vblk_backing_open_file(path, 0, &next), -EAGAIN);
	vblk_backing_unref(backing);
	assert_int_equal(vblk_backing_open_file(path, 0, &next), 0);
	vblk_backing_unref(next);
	vblk_ring_close(&ring);
	unlink(path);
#else
	(void)state;
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_writes_and_syncs),
		cmocka_unit_test(test_the_end_of_the_file),
		cmocka_unit_test(test_errors_are_results),
		cmocka_unit_test(test_what_it_does_not_take),
		cmocka_unit_test(test_a_full_ring),
		cmocka_unit_test(test_faults_are_made_by_the_injector),
		cmocka_unit_test(test_a_call_that_comes_back_counts_once),
		cmocka_unit_test(test_a_call_without_room_counts_when_it_is_made),
		cmocka_unit_test(test_calls_that_the_kernel_refuses),
		cmocka_unit_test(test_the_ring_lives_on_after_refusals),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_a_change_that_the_file_does_not_know),
		cmocka_unit_test(test_a_read_only_disk),
		cmocka_unit_test(test_small_reads_are_staged),
		cmocka_unit_test(test_more_reads_than_stages),
		cmocka_unit_test(test_refused_reads_are_not_staged),
		cmocka_unit_test(test_the_ring_does_not_keep_the_disk_locked),
	};

	return cmocka_run_group_tests_name("uring", tests, NULL, NULL);
}
