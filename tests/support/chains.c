/* SPDX-License-Identifier: MIT */
#include "chains.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void offer_chain(struct guest *guest, uint32_t type, const struct guest_desc *desc, size_t count)
{
	guest_put_header(guest, GUEST_HEADER, type, 0);
	*guest_at(guest, GUEST_STATUS) = GUEST_SENTINEL;
	guest_offer(guest, guest_chain(guest, desc, count));
	guest_kick(guest);
}

/* Section 6: every rejection is told, with its head. */
static void expect_warning(struct guest *guest, const char *file, int line)
{
	_assert_true(guest_logged(guest, "vblk: warn: "), "warning", file, line);
	_assert_true(guest_logged(guest, "head="), "head", file, line);
}

void expect_refused_at(struct guest *guest, const char *file, int line)
{
	const struct vblk_metrics_snapshot one_error = { .io_errors = 1 };

	expect_answer_at(guest, VIRTIO_BLK_S_IOERR, 1, file, line);
	expect_counters_at(guest, &one_error, file, line);
	expect_interrupts_at(guest, 1, VIRTIO_MMIO_INT_VRING, file, line);
	expect_warning(guest, file, line);
	_assert_int_equal(guest_used_elem(guest, 0).len, 1, file, line);
}

void expect_dropped_at(struct guest *guest, const char *file, int line)
{
	const struct vblk_metrics_snapshot one_error = { .io_errors = 1 };

	expect_answer_at(guest, GUEST_SENTINEL, 0, file, line);
	expect_counters_at(guest, &one_error, file, line);
	expect_interrupts_at(guest, 0, 0, file, line);
	expect_warning(guest, file, line);
	guest_request(guest, VIRTIO_BLK_T_GET_ID, 0, 20);
	guest_kick(guest);
	expect_answer_at(guest, VIRTIO_BLK_S_OK, 1, file, line);
	expect_counters_at(guest, &one_error, file, line);
}
