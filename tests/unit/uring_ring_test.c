/* SPDX-License-Identifier: MIT */
/*
 * The ring itself: what it is allowed to do, the file that is registered with it, and rings that
 * are made in advance. Skipped where there is no io_uring.
 */
#include <sys/socket.h>

#include "backing/file.h"
#include "uring_fixture.h"

#ifdef HAVE_LIBURING
/* The linker puts these in the place of two that a process may have no right to (--wrap). */
static int open_error;
static int buffers_error;

int __real_vblk_file_open_to_read(int fd);
int __wrap_vblk_file_open_to_read(int fd);
int __wrap_vblk_file_open_to_read(int fd)
{
	return open_error ? open_error : __real_vblk_file_open_to_read(fd);
}

int __real_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n);
int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n);
int __wrap_io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov, unsigned n)
{
	return buffers_error ? buffers_error : __real_io_uring_register_buffers(ring, iov, n);
}
#endif

#ifdef HAVE_LIBURING
static void open_ring(struct vblk_ring *ring, int fd)
{
	int ret = vblk_ring_open(ring, fd, ENTRIES);

	if (ret == -ENOSYS || ret == -EPERM)
		skip();
	assert_int_equal(ret, 0);
}

/* The result of the one entry that was prepared. */
static int result_of(struct vblk_ring *ring)
{
	struct io_uring_cqe *cqe;
	int result;

	assert_int_equal(io_uring_submit_and_wait(&ring->ring, 1), 1);
	assert_int_equal(io_uring_peek_cqe(&ring->ring, &cqe), 0);
	result = cqe->res;
	io_uring_cqe_seen(&ring->ring, cqe);
	return result;
}

static int result_of_a_read(struct vblk_ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);
	uint8_t byte;

	io_uring_prep_read(sqe, vblk_ring_read_fd(ring), &byte, 1, 0);
	vblk_ring_mark_read(ring, sqe);
	return result_of(ring);
}

/* Neither more operations, nor more files and buffers. */
static void expect_restricted(struct vblk_ring *ring)
{
	int fd = open_somewhere(true);

	io_uring_prep_nop(io_uring_get_sqe(&ring->ring));
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_openat(io_uring_get_sqe(&ring->ring), AT_FDCWD, "/dev/null", O_RDONLY, 0);
	assert_int_equal(result_of(ring), -EACCES);
	io_uring_prep_socket(io_uring_get_sqe(&ring->ring), AF_INET, SOCK_STREAM, 0, 0);
	assert_int_equal(result_of(ring), -EACCES);
	assert_int_equal(io_uring_register_files_update(&ring->ring, 0, &fd, 1), -EACCES);
	assert_int_equal(io_uring_unregister_buffers(&ring->ring), -EACCES);
	close(fd);
}

static void test_the_ring_can_do_nothing_else(void **state)
{
	struct vblk_ring ring;
	int fd = open_somewhere(true);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	open_ring(&ring, fd);
	assert_true(ring.registered);
	assert_int_equal(result_of_a_read(&ring), 1);
	expect_restricted(&ring);
	vblk_ring_close(&ring);
	close(fd);
}

/* What is registered can only be read, whatever the disk is. */
static void test_the_registered_file_cannot_be_written(void **state)
{
	struct io_uring_sqe *sqe;
	struct vblk_ring ring;
	uint8_t byte = 1;
	int fd = open_somewhere(true);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	open_ring(&ring, fd);
	sqe = io_uring_get_sqe(&ring.ring);
	io_uring_prep_write(sqe, vblk_ring_read_fd(&ring), &byte, 1, 0);
	vblk_ring_mark_read(&ring, sqe);
	assert_int_equal(result_of(&ring), -EBADF);
	vblk_ring_close(&ring);
	close(fd);
}

/* The disk is the end of a pipe, of which somebody hears when nobody has it open any more. */
static void test_the_file_is_closed_when_the_ring_is(void **state)
{
	struct vblk_ring ring;
	int fds[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	open_ring(&ring, fds[0]);
	assert_true(ring.registered);
	close(fds[0]);
	assert_int_equal(write(fds[1], "", 1), 1);
	vblk_ring_close(&ring);
	assert_int_equal(write(fds[1], "", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(fds[1]);
}

static void test_a_file_that_cannot_be_opened_again(void **state)
{
	struct vblk_ring ring;
	int fd = open_somewhere(true);

	(void)state;
	assert_int_equal(ftruncate(fd, 4096), 0);
	open_error = -EACCES;
	open_ring(&ring, fd);
	open_error = 0;
	assert_false(ring.registered);
	assert_int_equal(result_of_a_read(&ring), 1);
	expect_restricted(&ring);
	vblk_ring_close(&ring);
	close(fd);
}

static void test_no_memory_may_be_locked(void **state)
{
	uint8_t in[512];
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call read = {
		.op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = sizeof(in)
	};
	struct rig rig;

	(void)state;
	buffers_error = -ENOMEM;
	begin(&rig, false);
	buffers_error = 0;
	assert_int_equal(vblk_aio_start(rig.aio, &read), 0);
	assert_null(read.staged);
	assert_int_equal(wait_for_one(&rig)->result, 512);
	assert_int_equal(in[511], 0xab);
	end(&rig);
}
#endif

/* Past the page cache if the descriptor is, and only to be read; the name does not matter. */
static void test_opening_a_file_again(void **state)
{
	static const int modes[] = { O_RDONLY, O_RDWR, O_RDWR | O_DIRECT };
	const int same = O_DIRECT | O_NONBLOCK;

	(void)state;
	for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		char path[] = "/var/tmp/vblk-uring-XXXXXX";
		int fd, again, made = mkostemp(path, O_CLOEXEC);

		assert_true(made >= 0);
		fd = open(path, modes[i] | O_CLOEXEC);
		unlink(path);
		close(made);
		if (fd < 0 && errno == EINVAL)
			continue; /* a file system without O_DIRECT */
		assert_true(fd >= 0);
		again = vblk_file_open_to_read(fd);
		assert_true(again >= 0);
		assert_int_equal(fcntl(again, F_GETFL) & O_ACCMODE, O_RDONLY);
		assert_int_equal(fcntl(again, F_GETFL) & same, modes[i] & same);
		assert_int_equal(fcntl(again, F_GETFD), FD_CLOEXEC);
		close(again);
		close(fd);
	}
	assert_true(vblk_file_open_to_read(-1) < 0);
}

/* io_uring would hand its reads to a thread otherwise; whoever gave us the file keeps his flags. */
static void test_a_file_in_memory_is_not_waited_for(void **state)
{
	int again, fd = open_somewhere(true);

	(void)state;
	again = vblk_file_open_to_read(fd);
	assert_true(again >= 0);
	assert_int_equal(fcntl(again, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(again);
	close(fd);
}

static void read_one(struct vblk_aio *aio)
{
	uint8_t in[512] = { 0 };
	struct iovec vec = { in, sizeof(in) };
	struct vblk_call call = { .op = VBLK_CALL_PREADV, .iov = &vec, .count = 1, .bytes = 512 };

	assert_int_equal(vblk_aio_start(aio, &call), 0);
	vblk_aio_wait(aio);
	assert_ptr_equal(vblk_aio_reap(aio), &call);
	assert_int_equal(call.result, 512);
	fetch(&call);
	assert_int_equal(in[511], 0xab);
}

/* As many as were prepared, each for one at a time, and no other is made. */
static void test_rings_that_were_prepared(void **state)
{
	struct vblk_aio *aio[3];
	size_t fds;
	struct rig rig;

	(void)state;
	begin(&rig, false);
	assert_int_equal(vblk_uring_prepare(rig.backing, ENTRIES, 2), 0);
	fds = process_fds();
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(vblk_uring_create(rig.backing, ENTRIES, &aio[0]), 0);
		assert_int_equal(vblk_uring_create(rig.backing, ENTRIES, &aio[1]), 0);
		assert_int_equal(vblk_uring_create(rig.backing, ENTRIES, &aio[2]), -EBUSY);
		assert_ptr_not_equal(aio[0], aio[1]);
		read_one(aio[0]);
		read_one(aio[1]);
		vblk_aio_destroy(aio[0]);
		vblk_aio_destroy(aio[1]);
		assert_int_equal(process_fds(), fds);
	}
	end(&rig);
}

/* Any descriptor that io_uring would take. */
static int one_fd(void *context, const struct vblk_call *call)
{
	(void)context;
	(void)call;
	return STDIN_FILENO;
}

/* Why there are none is told to who comes later, without another try. */
static void test_rings_that_could_not_be_prepared(void **state)
{
	struct vblk_backing *memory = disk_create(4096, 0);
	struct vblk_aio *aio;

	(void)state;
	assert_int_equal(vblk_uring_prepare(memory, ENTRIES, 2), -EOPNOTSUPP);
	memory->async_fd = one_fd;
	assert_int_equal(vblk_uring_create(memory, ENTRIES, &aio), -EOPNOTSUPP);
	vblk_backing_unref(memory);
}

static void test_a_disk_that_is_no_file(void **state)
{
	struct vblk_backing *memory = disk_create(4096, 0);
	struct vblk_aio *aio;

	(void)state;
	assert_int_equal(vblk_uring_create(memory, ENTRIES, &aio), -EOPNOTSUPP);
	vblk_backing_unref(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#ifdef HAVE_LIBURING
		cmocka_unit_test(test_the_ring_can_do_nothing_else),
		cmocka_unit_test(test_the_registered_file_cannot_be_written),
		cmocka_unit_test(test_the_file_is_closed_when_the_ring_is),
		cmocka_unit_test(test_a_file_that_cannot_be_opened_again),
		cmocka_unit_test(test_no_memory_may_be_locked),
#endif
		cmocka_unit_test(test_opening_a_file_again),
		cmocka_unit_test(test_a_file_in_memory_is_not_waited_for),
		cmocka_unit_test(test_rings_that_were_prepared),
		cmocka_unit_test(test_rings_that_could_not_be_prepared),
		cmocka_unit_test(test_a_disk_that_is_no_file),
	};

	return cmocka_run_group_tests_name("uring_ring", tests, NULL, NULL);
}
