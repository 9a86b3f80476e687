/* SPDX-License-Identifier: MIT */
/*
 * A worker whose requests are in the air for as long as the test wants: the disk is a pipe, and a
 * read of it is done when the test has written to the other end.
 */
#include "disk.h"
#include "mock_guest.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "backing/uring.h"
#include "request/air.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE 4096u
#define FILL	  0x5a

struct rig {
	struct guest guest;
	char name[16]; /* of the worker */
	int pipe[2];
};

static ssize_t read_pipe(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	ssize_t n = readv(((const int *)context)[0], iov, count);

	(void)offset;
	return n < 0 ? -errno : n;
}

static int fd_of_pipe(void *context, const struct vblk_call *call)
{
	(void)call;
	return ((const int *)context)[0];
}

/* A read-only disk, which owns nothing. */
static struct vblk_backing *create_pipe_disk(int *fds)
{
	static const struct vblk_backing_ops ops = { .preadv = read_pipe };
	const struct vblk_backing_info info = { DISK_SIZE, VBLK_BACKING_READ_ONLY };
	struct vblk_backing *disk;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(vblk_backing_create(&ops, fds, &info, &disk), 0);
	disk->async_fd = fd_of_pipe;
	return disk;
}

static void begin(struct rig *rig)
{
	const struct guest_options options = {
		.device = { .engine = VBLK_ENGINE_URING, .read_only = true },
	};
	struct vblk_backing *disk = create_pipe_disk(rig->pipe);
	struct vblk_aio *aio;

#ifdef EMULATED /* it has other system calls, and no io_uring */
	skip();
#endif
	if (vblk_uring_create(disk, 1, &aio) < 0)
		skip();
	vblk_aio_destroy(aio);
	guest_create(&rig->guest, &options, disk);
	snprintf(rig->name, sizeof(rig->name), "vblk%u/0", guest_instance(&rig->guest));
	guest_start(&rig->guest);
}

static void end(struct rig *rig)
{
	guest_destroy(&rig->guest);
	close(rig->pipe[0]);
	close(rig->pipe[1]);
}

/* Lets `count` reads of a sector land. */
static void land(struct rig *rig, unsigned count)
{
	uint8_t bytes[SECTOR];

	memset(bytes, FILL, sizeof(bytes));
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(write(rig->pipe[1], bytes, sizeof(bytes)), sizeof(bytes));
}

/*
 * Reads of a sector: heads that are headers, with data and status byte in common. More than there
 * are descriptors for chains of their own.
 */
static void offer_reads(struct guest *g, uint16_t count)
{
	const uint16_t data = 254;

	guest_put_header(g, GUEST_HEADER, VIRTIO_BLK_T_IN, 0);
	guest_put_desc(g, data, GUEST_DATA, SECTOR, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
		       data + 1);
	guest_put_desc(g, data + 1, GUEST_STATUS, 1, VRING_DESC_F_WRITE, 0);
	for (uint16_t i = 0; i < count; i++) {
		guest_put_desc(g, i, GUEST_HEADER, 16, VRING_DESC_F_NEXT, data);
		guest_offer(g, i);
	}
	guest_kick(g);
}

static bool sleeps(void *context)
{
	const struct rig *rig = context;

	return process_thread_waits(rig->name);
}

static bool waits_for_the_disk_or_is_at_rest(void *context)
{
	const struct rig *rig = context;

	return guest_is_paused(&rig->guest) || process_thread_is_in(rig->name, SYS_io_uring_enter);
}

static bool are_taken(void *context)
{
	struct rig *rig = context;

	return guest_metrics(&rig->guest).notifications > 0 && sleeps(rig);
}

/* Offers reads that stay in the air, and asks for a pause. */
static void pause_with(struct rig *rig, uint16_t reads)
{
	begin(rig);
	assert_true(process_wait(sleeps, rig));
	offer_reads(&rig->guest, reads);
	assert_true(process_wait(are_taken, rig));
	assert_int_equal(guest_used_idx(&rig->guest), 0);
	assert_true(guest_pause(&rig->guest));
	assert_true(process_wait(waits_for_the_disk_or_is_at_rest, rig));
}

/* At rest means that nothing is on its way to guest memory any more. Rules: U-6 */
static void test_a_pause_waits_for_what_is_in_the_air(void **state)
{
	struct rig rig;

	(void)state;
	pause_with(&rig, 2);
	assert_false(guest_is_paused(&rig.guest));
	land(&rig, 1);
	assert_true(process_wait(waits_for_the_disk_or_is_at_rest, &rig));
	assert_false(guest_is_paused(&rig.guest));
	land(&rig, 1);
	assert_int_equal(guest_wait_paused(&rig.guest, 10000), 0);
	assert_int_equal(guest_used_idx(&rig.guest), 2);
	assert_int_equal(guest_status_byte(&rig.guest), VIRTIO_BLK_S_OK);
	assert_true(guest_is_filled(&rig.guest, GUEST_DATA, FILL, SECTOR));
	end(&rig);
}

/* The room that landing made is used when the pause is over: no notification will say so. */
static void test_what_had_no_room_before_the_pause_is_served_behind_it(void **state)
{
	struct rig rig;

	(void)state;
	pause_with(&rig, VBLK_AIR_MAX + 1);
	land(&rig, VBLK_AIR_MAX);
	assert_int_equal(guest_wait_paused(&rig.guest, 10000), 0);
	assert_int_equal(guest_used_idx(&rig.guest), VBLK_AIR_MAX);
	land(&rig, 1);
	assert_true(guest_resume(&rig.guest));
	assert_true(guest_wait_used(&rig.guest, VBLK_AIR_MAX + 1));
	end(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pause_waits_for_what_is_in_the_air),
		cmocka_unit_test(test_what_had_no_room_before_the_pause_is_served_behind_it),
	};

	return cmocka_run_group_tests_name("worker_air", tests, NULL, NULL);
}
