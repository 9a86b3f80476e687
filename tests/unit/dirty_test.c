/* SPDX-License-Identifier: MIT */
/* The log of written pages: by itself, and through a view, a queue and a drain that write. */
#include "memory/dirty.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "bare_drain.h"
#include "base/checked.h"
#include "disk.h"
#include "ram.h"

#define PAGE VBLK_DIRTY_PAGE

static void pages_by_table(void **state)
{
	static const struct {
		uint64_t address;
		uint64_t length;
		uint8_t bits[3];
	} cases[] = {
		{ 0, 0, { 0, 0, 0 } },
		{ 0, 1, { 1, 0, 0 } },
		{ PAGE - 1, 1, { 1, 0, 0 } },
		{ PAGE - 1, 2, { 3, 0, 0 } },
		{ PAGE, PAGE, { 2, 0, 0 } },
		{ 7 * PAGE + 5, PAGE, { 0x80, 1, 0 } },
		{ 0, 16 * PAGE, { 0xff, 0xff, 0 } },
		{ 15 * PAGE, 5 * PAGE, { 0, 0x80, 0 } }, /* the log ends there */
		{ 16 * PAGE, 1, { 0, 0, 0 } },
		{ 0, UINT64_MAX, { 0xff, 0xff, 0 } },
		{ UINT64_MAX, 1, { 0, 0, 0 } },
		{ UINT64_MAX - 1, UINT64_MAX, { 0, 0, 0 } },
		{ 14 * PAGE, UINT64_MAX, { 0, 0xc0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		uint8_t bits[3] = { 0 };
		const struct vblk_dirty_log log = { bits, 2 };

		vblk_dirty_mark(&log, cases[i].address, cases[i].length);
		if (memcmp(bits, cases[i].bits, sizeof(bits)) != 0)
			fail_msg("case %zu: %02x %02x %02x", i, bits[0], bits[1], bits[2]);
	}
	vblk_dirty_mark(NULL, 0, PAGE);
}

static void marks_are_added(void **state)
{
	uint8_t bits[2] = { 0x41, 0 };
	const struct vblk_dirty_log log = { bits, 2 };

	(void)state;
	vblk_dirty_mark(&log, PAGE, 1);
	vblk_dirty_mark(&log, PAGE, 1);
	assert_int_equal(bits[0], 0x43);
	assert_int_equal(bits[1], 0);
}

/* What is written through a view is marked, and what is read is not. */
static void a_view_marks_what_it_writes(void **state)
{
	uint8_t bits[2] = { 0 }, bytes[8] = { 0 };
	const struct vblk_dirty_log log = { bits, 2 };
	struct ram ram;

	(void)state;
	ram_create(&ram, { 0, 8 * PAGE });
	ram.view.dirty = &log;
	assert_int_equal(vblk_memory_copy_in(&ram.view, bytes, 0, 8), 0);
	assert_int_equal(bits[0], 0);
	assert_int_equal(vblk_memory_copy_out(&ram.view, PAGE - 4, bytes, 8), 0);
	assert_int_equal(bits[0], 3);
	assert_int_equal(vblk_memory_zero(&ram.view, 4 * PAGE, 2 * PAGE), 0);
	assert_int_equal(bits[0], 0x33);
	/* What was written before it failed is. */
	assert_int_equal(vblk_memory_copy_out(&ram.view, 8 * PAGE - 4, bytes, 8), -EFAULT);
	assert_int_equal(bits[0], 0xb3);
	ram_destroy(&ram);
}

static void a_queue_marks_its_used_ring(void **state)
{
	const struct vblk_queue_layout layout = { 256, true, 0, PAGE, 2 * PAGE };
	uint8_t bits[2] = { 0 };
	const struct vblk_dirty_log log = { bits, 2 };
	struct vblk_queue queue;
	struct ram ram;
	uint16_t head;

	(void)state;
	ram_create(&ram, { 0, 8 * PAGE });
	vblk_queue_start(&queue, &layout, false, ram.memory);
	queue.view.dirty = &log;
	ram_put16(&ram, PAGE + 2, 1);
	assert_int_equal(vblk_queue_pop(&queue, &head), 1);
	assert_int_equal(bits[0], 0);
	assert_int_equal(vblk_queue_push(&queue, head, 1), 0);
	assert_int_equal(bits[0], 4);
	bits[0] = 0;
	assert_int_equal(vblk_queue_disable_notifications(&queue), 0);
	assert_int_equal(bits[0], 4);
	ram_destroy(&ram);
}

/*
 * The last elements of a page of a long ring, one of them over its end, in one region and in two;
 * used.idx stands in the page before.
 */
static void a_queue_marks_each_page_of_an_element(void **state)
{
	static const struct ram_region whole[] = { { 0, 16 * PAGE } };
	static const struct ram_region cut[] = { { 0, 5 * PAGE }, { 5 * PAGE, 3 * PAGE } };
	const struct vblk_queue_layout layout = { 1024, true, 0, 8 * PAGE, 4 * PAGE - 8 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t bits[2] = { 0 };
		const struct vblk_dirty_log log = { bits, 2 };
		struct vblk_queue queue;
		struct ram ram;

		ram_create_regions(&ram, i ? cut : whole, i ? 2 : 1);
		vblk_queue_start(&queue, &layout, false, ram.memory);
		queue.view.dirty = &log;
		vblk_queue_continue(&queue, 0, 512); /* at 5 * PAGE - 4 */
		assert_int_equal(vblk_queue_push(&queue, 7, 1), 0);
		assert_int_equal(bits[0], 1 << 3 | 1 << 4 | 1 << 5);
		bits[0] = 0;
		assert_int_equal(vblk_queue_push(&queue, 8, 1), 0);
		assert_int_equal(bits[0], 1 << 3 | 1 << 5);
		ram_destroy(&ram);
	}
}

/*
 * The data of a read, which the disk's call has written; never that of a write. The usual guest has
 * its used ring in page 2, data in page 5, the status byte in page 6.
 */
static void a_drain_marks_what_its_calls_write(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint8_t bits;
	} cases[] = {
		{ VIRTIO_BLK_T_IN, 0, 1 << 2 | 1 << 5 | 1 << 6 },
		{ VIRTIO_BLK_T_OUT, 0, 1 << 2 | 1 << 6 },
		{ VIRTIO_BLK_T_IN, 8, 1 << 2 | 1 << 6 }, /* past the end: nothing was read */
	};
	struct bare_drain bare;

	(void)state;
	bare_drain_create(&bare, NULL, disk_create(PAGE, 0xab));
	for (size_t i = 0; i < VBLK_ARRAY_SIZE(cases); i++) {
		uint8_t bits[2] = { 0 };
		const struct vblk_dirty_log log = { bits, 1 };

		bare.drain.queue.view.dirty = &log;
		guest_request(&bare.guest, cases[i].type, cases[i].sector, 512);
		bare_drain_run(&bare, VBLK_DRAIN_DONE);
		assert_int_equal(bits[0], cases[i].bits);
		assert_int_equal(bits[1], 0);
		bare.drain.queue.view.dirty = NULL;
	}
	bare_drain_destroy(&bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_by_table),
		cmocka_unit_test(marks_are_added),
		cmocka_unit_test(a_view_marks_what_it_writes),
		cmocka_unit_test(a_queue_marks_its_used_ring),
		cmocka_unit_test(a_queue_marks_each_page_of_an_element),
		cmocka_unit_test(a_drain_marks_what_its_calls_write),
	};

	return cmocka_run_group_tests_name("memory: dirty", tests, NULL, NULL);
}
