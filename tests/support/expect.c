/* SPDX-License-Identifier: MIT */
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void expect_equal(const char *name, uint64_t got, uint64_t want, const char *file, int line)
{
	if (got == want)
		return;
	print_error("%s is %llu, expected %llu\n", name, (unsigned long long)got,
		    (unsigned long long)want);
	_fail(file, line);
}

void expect_counters_at(struct guest *guest, const struct vblk_metrics_snapshot *want,
			const char *file, int line)
{
	struct vblk_metrics_snapshot got = guest_metrics(guest);

	expect_equal("reads_completed", got.reads_completed, want->reads_completed, file, line);
	expect_equal("bytes_read", got.bytes_read, want->bytes_read, file, line);
	expect_equal("writes_completed", got.writes_completed, want->writes_completed, file, line);
	expect_equal("bytes_written", got.bytes_written, want->bytes_written, file, line);
	expect_equal("flushes_completed", got.flushes_completed, want->flushes_completed, file,
		     line);
	expect_equal("throttled", got.throttled, want->throttled, file, line);
	expect_equal("io_errors", got.io_errors, want->io_errors, file, line);
	expect_equal("invalid_avail_idx", got.invalid_avail_idx, want->invalid_avail_idx, file,
		     line);
	expect_equal("throttled_now", got.throttled_now, want->throttled_now, file, line);
}

void expect_answer_at(struct guest *guest, uint8_t status, uint16_t used_idx, const char *file,
		      int line)
{
	expect_equal("status byte", guest_status_byte(guest), status, file, line);
	expect_equal("used.idx", guest_used_idx(guest), used_idx, file, line);
}

/* Of a cause that was not announced, for event-idx's sake, only a register can tell. */
void expect_interrupts_at(struct guest *guest, uint64_t count, uint32_t bits, const char *file,
			  int line)
{
	expect_equal("interrupts", guest_take_interrupts(guest), count, file, line);
	if (count > 0 || guest->device || guest_interrupt_status(guest) != 0)
		expect_equal("InterruptStatus", guest_interrupt_status(guest), bits, file, line);
}
