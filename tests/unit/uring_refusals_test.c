/* SPDX-License-Identifier: MIT */
/*
 * What io_uring says against a call or a wait, and that nobody waits for what does not come.
 * Skipped where there is no io_uring.
 */
#include "disk.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/uring.h"

#ifdef HAVE_LIBURING
#include <liburing.h>

/* The linker puts these in the place of the library's (--wrap). */
static int submit_error;
static unsigned submit_interrupts; /* so many submissions are interrupted */
static int wait_error;
static unsigned waits_failed;

static struct io_uring *last_ring; /* that something was submitted to */

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	last_ring = ring;
	if (submit_interrupts > 0) {
		submit_interrupts--;
		return -EINTR;
	}
	return submit_error ? submit_error : __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
	if (wait_error == 0)
		return __real_io_uring_submit_and_wait(ring, count);
	waits_failed++;
	return wait_error;
}

/* What has landed says that it would have had to wait. */
static void say_again(void)
{
	struct io_uring_cqe *cqe;

	assert_int_equal(io_uring_peek_cqe(last_ring, &cqe), 0);
	cqe->res = -EAGAIN;
}
#else
/* Nobody looks: every test here is skipped. */
static unsigned submit_interrupts, waits_failed;
static int submit_error, wait_error;

static void say_again(void)
{
}
#endif

#define FILE_SIZE 16384u
#define ENTRIES	  8u

struct rig {
	int fd;
	struct vblk_backing *backing;
	struct vblk_aio *aio;
	size_t fds; /* open before */
};

static void begin(struct rig *rig)
{
	char path[] = "/var/tmp/vblk-uring-XXXXXX";
	uint8_t content[FILE_SIZE];
	int ret;

	*rig = (struct rig){ .fds = process_fds() };
	memset(content, 0xab, sizeof(content));
	rig->fd = mkostemp(path, O_CLOEXEC);
	assert_true(rig->fd >= 0);
	unlink(path);
	assert_int_equal(pwrite(rig->fd, content, FILE_SIZE, 0), FILE_SIZE);
	assert_int_equal(vblk_backing_open_fd(rig->fd, 0, &rig->backing), 0);
	ret = vblk_uring_create(rig->backing, ENTRIES, &rig->aio);
	if (ret == -ENOSYS || ret == -EPERM || ret == -EOPNOTSUPP)
		skip();
	assert_int_equal(ret, 0);
}

static void end(struct rig *rig)
{
	vblk_aio_destroy(rig->aio);
	vblk_backing_unref(rig->backing);
	close(rig->fd);
	assert_int_equal(process_fds(), rig->fds);
}

static struct vblk_call *wait_for_one(struct rig *rig)
{
	struct vblk_call *call = vblk_aio_reap(rig->aio);

	if (!call) {
		vblk_aio_wait(rig->aio);
		call = vblk_aio_reap(rig->aio);
	}
	assert_non_null(call);
	return call;
}

/* An interrupted submission is made again, and no call is made twice. */
static void test_a_submission_that_is_interrupted(void **state)
{
	uint8_t in[512];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 512 };
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	submit_interrupts = 3;
	vblk_aio_submit(rig.aio);
	assert_int_equal(submit_interrupts, 0);
	assert_ptr_equal(wait_for_one(&rig), &call);
	assert_int_equal(call.result, 512);
	assert_null(vblk_aio_reap(rig.aio));
	end(&rig);
}

/* Nothing is under way then: who waited would wait for ever. */
static void test_nobody_waits_for_what_was_refused(void **state)
{
	struct vblk_call call = { .op = VBLK_CALL_SYNC };
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	submit_error = -ENOMEM;
	vblk_aio_wait(rig.aio);
	submit_error = 0;
	assert_ptr_equal(vblk_aio_reap(rig.aio), &call);
	assert_true(call.result == VBLK_CALL_NOT_MADE);
	end(&rig);
}

/* Where the kernel will not wait, the ring's descriptor says when something has landed. */
static void test_a_wait_that_the_kernel_refuses(void **state)
{
	struct vblk_call call = { .op = VBLK_CALL_SYNC };
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	wait_error = -EBUSY;
	waits_failed = 0;
	/* A call that has landed before it is waited for shows nothing. */
	for (unsigned i = 0; i < 1000 && waits_failed == 0; i++) {
		const struct vblk_call *landed;

		vblk_aio_wait(rig.aio);
		landed = vblk_aio_reap(rig.aio);
		assert_ptr_equal(landed, &call);
		assert_int_equal(call.result, 0);
		assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	}
	wait_error = 0;
	assert_int_not_equal(waits_failed, 0);
	assert_ptr_equal(wait_for_one(&rig), &call);
	end(&rig);
}

/* The kernel should have waited itself where it says "again": then the call was not made. */
static void test_again_is_no_error_of_the_disk(void **state)
{
	uint8_t in[512];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 512 };
	struct rig rig;

	(void)state;
	begin(&rig);
	assert_int_equal(vblk_aio_start(rig.aio, &call), 0);
	vblk_aio_wait(rig.aio);
	say_again();
	assert_ptr_equal(vblk_aio_reap(rig.aio), &call);
	assert_true(call.result == VBLK_CALL_NOT_MADE);
	end(&rig);
}

static int fd_of_context(void *context, const struct vblk_call *call)
{
	(void)call;
	return *(const int *)context;
}

/* A sync is one: it fails on a pipe, which has nothing to make stable. */
static void test_a_sync_is_asked_of_the_file(void **state)
{
	struct vblk_call sync = { .op = VBLK_CALL_SYNC };
	struct vblk_backing backing = { .async_fd = fd_of_context };
	struct rig rig;
	int fds[2];

	(void)state;
	begin(&rig); /* for its look at whether there is io_uring */
	end(&rig);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	backing.context = &fds[0];
	assert_int_equal(vblk_uring_create(&backing, ENTRIES, &rig.aio), 0);
	assert_int_equal(vblk_aio_start(rig.aio, &sync), 0);
	assert_ptr_equal(wait_for_one(&rig), &sync);
	assert_int_equal(sync.result, -EINVAL);
	vblk_aio_destroy(rig.aio);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_submission_that_is_interrupted),
		cmocka_unit_test(test_nobody_waits_for_what_was_refused),
		cmocka_unit_test(test_a_wait_that_the_kernel_refuses),
		cmocka_unit_test(test_again_is_no_error_of_the_disk),
		cmocka_unit_test(test_a_sync_is_asked_of_the_file),
	};

	return cmocka_run_group_tests_name("uring_refusals", tests, NULL, NULL);
}
