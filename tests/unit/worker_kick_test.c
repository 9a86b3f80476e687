/* SPDX-License-Identifier: MIT */
/* Kicks that are not as the worker would have made them. */
#include "bare_drain.h"
#include "disk.h"
#include "process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/eventfd.h"
#include "device/device.h"
#include "engine/worker.h"
#include "metrics/metrics.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE (64 * SECTOR)
#define LONG_MS	  10000u

struct rig {
	struct bare_drain bare;
	struct vblk_park *park;
	struct vblk_worker *worker;
};

static void begin(struct rig *rig, int kick_fd)
{
	const struct vblk_engine_host host = { .lost = NULL };

	memset(rig, 0, sizeof(*rig));
	bare_drain_create(&rig->bare, NULL, disk_create(DISK_SIZE, 0xab));
	assert_int_equal(vblk_park_create(&rig->park), 0);
	assert_int_equal(
		vblk_worker_start(&rig->bare.drain.config, &host, rig->park, kick_fd, &rig->worker),
		0);
}

static void end(struct rig *rig)
{
	assert_int_equal(vblk_worker_stop(rig->worker, LONG_MS), 0);
	vblk_park_unref(rig->park);
	bare_drain_destroy(&rig->bare);
}

static uint64_t notifications(struct rig *rig)
{
	return guest_metrics(&rig->bare.guest).notifications;
}

static bool was_notified(void *context)
{
	return notifications(context) > 0;
}

/* It is readable for ever, and says nothing. Rules: W-4 */
static void test_kick_that_hangs_up_does_not_keep_the_worker_busy(void **state)
{
	struct rig rig;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
			 0);
	begin(&rig, pair[0]);
	close(pair[1]);
	assert_true(process_wait(was_notified, &rig));
	/* Whoever is busy with the kick sees it again and again meanwhile. */
	for (unsigned i = 0; i < 100; i++) {
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, 0, SECTOR);
		vblk_worker_wake(rig.worker);
	}
	assert_int_equal(notifications(&rig), 1);
	assert_int_equal(vblk_worker_stop(rig.worker, LONG_MS), 0);
	assert_int_equal(notifications(&rig), 1);
	vblk_park_unref(rig.park);
	bare_drain_destroy(&rig.bare);
	close(pair[0]);
}

/* Somebody else may have read it by the time that the worker looks. Rules: W-6 */
static void test_kick_that_would_block_serves_the_ring(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct rig rig;

	(void)state;
	begin(&rig, fd);
	for (uint16_t i = 0; i < 3; i++) {
		guest_request_at(&rig.bare.guest, i, VIRTIO_BLK_T_IN, 0, SECTOR);
		assert_int_equal(vblk_eventfd_signal(fd), 0);
		assert_true(guest_wait_used(&rig.bare.guest, (uint16_t)(i + 1)));
	}
	end(&rig);
	close(fd);
}

/* Whoever waits for one that was asked to stop is told when it has. Rules: W-5 */
static void test_worker_that_was_asked_to_stop_is_waited_for(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	struct rig rig;

	(void)state;
	begin(&rig, fd);
	assert_false(vblk_worker_wait(rig.worker, 0));
	vblk_worker_ask_to_stop(rig.worker);
	assert_true(vblk_worker_wait(rig.worker, LONG_MS));
	end(&rig);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kick_that_hangs_up_does_not_keep_the_worker_busy),
		cmocka_unit_test(test_kick_that_would_block_serves_the_ring),
		cmocka_unit_test(test_worker_that_was_asked_to_stop_is_waited_for),
	};

	return cmocka_run_group_tests_name("worker_kick", tests, NULL, NULL);
}
