/* SPDX-License-Identifier: MIT */
/*
 * In which order a drain does what it does, looked at from inside: from the backing, and from the
 * record of requests in flight, which is told right before a used element and right behind it.
 */
#include "bare_drain.h"
#include "disk.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "device/device.h"

#define SECTOR	  VBLK_SECTOR_SIZE
#define DISK_SIZE 4096u

struct look {
	struct bare_drain bare;
	unsigned count;
	uint8_t status;	   /* the status byte */
	uint16_t used_idx; /* and the index, at that moment */
	bool data;	   /* whether the data were there */
	bool locked;	   /* whether somebody held a lock */
};

static void look_prepare(void *context, uint16_t head)
{
	struct look *look = context;
	struct guest *g = &look->bare.guest;

	(void)head;
	look->count++;
	look->status = guest_status_byte(g);
	look->used_idx = guest_used_idx(g);
	look->data = guest_is_filled(g, GUEST_DATA, 0x5a, SECTOR);
}

static void ignore_claim(void *context, uint16_t head)
{
	(void)context;
	(void)head;
}

static void ignore_commit(void *context, uint16_t head, uint16_t used_idx)
{
	(void)context;
	(void)head;
	(void)used_idx;
}

static const struct vblk_journal_ops ops = {
	.claim = ignore_claim,
	.prepare = look_prepare,
	.commit = ignore_commit,
};

/* Rules: Q-13, O-1 */
static void test_Q13_status_and_data_stand_before_the_used_element(void **state)
{
	struct look look = { .count = 0 };

	(void)state;
	bare_drain_create(&look.bare, NULL, disk_create(DISK_SIZE, 0x5a));
	look.bare.drain.config.journal = (struct vblk_journal){ &ops, &look };
	guest_request(&look.bare.guest, VIRTIO_BLK_T_IN, 0, SECTOR);
	bare_drain_run(&look.bare, VBLK_DRAIN_DONE);
	assert_int_equal(look.count, 1);
	assert_int_equal(look.status, VIRTIO_BLK_S_OK);
	assert_true(look.data);
	assert_int_equal(look.used_idx, 0);
	assert_int_equal(guest_used_idx(&look.bare.guest), 1);
	bare_drain_destroy(&look.bare);
}

static bool is_locked(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return true;
	pthread_mutex_unlock(lock);
	return false;
}

static void look_at_locks(void *context)
{
	struct look *look = context;
	struct vblk_device *device = look->bare.guest.device;

	look->count++;
	look->locked = look->locked || is_locked(&device->lock) ||
		       is_locked(&device->disk->throttle->lock) || is_locked(&device->park->lock);
}

/* With limits, so that there is one more lock to be held. */
static void test_Q11_no_lock_is_held_in_the_backing(void **state)
{
	const struct guest_options options = { .device.throttle = { .iops = 100 } };
	struct look look = { .count = 0 };

	(void)state;
	bare_drain_create(&look.bare, &options,
			  disk_create_hooked(DISK_SIZE, 0, look_at_locks, &look));
	guest_request_at(&look.bare.guest, 0, VIRTIO_BLK_T_OUT, 0, SECTOR);
	guest_request_at(&look.bare.guest, 1, VIRTIO_BLK_T_IN, 0, SECTOR);
	guest_request_at(&look.bare.guest, 2, VIRTIO_BLK_T_FLUSH, 0, 0);
	bare_drain_run(&look.bare, VBLK_DRAIN_DONE);
	assert_int_equal(look.count, 3);
	assert_false(look.locked);
	bare_drain_destroy(&look.bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_Q13_status_and_data_stand_before_the_used_element),
		cmocka_unit_test(test_Q11_no_lock_is_held_in_the_backing),
	};

	return cmocka_run_group_tests_name("drain order", tests, NULL, NULL);
}
