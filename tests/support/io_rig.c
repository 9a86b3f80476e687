/* SPDX-License-Identifier: MIT */
#include "io_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backing/backing.h"
#include "metrics/metrics.h"

static void count_warning(void *context, enum vblk_log_level level, const char *message,
			  const struct vblk_log_field *fields, size_t count)
{
	struct io_rig *rig = context;

	(void)fields;
	(void)count;
	assert_int_equal(level, VBLK_LOG_WARN);
	rig->warnings++;
	snprintf(rig->message, sizeof(rig->message), "%s", message);
}

static uint64_t read_clock(void *context)
{
	const uint64_t *now_ns = context;

	return *now_ns;
}

static void fresh_metrics(struct io_rig *rig)
{
	vblk_metrics_unref(rig->metrics);
	assert_int_equal(vblk_metrics_create(&rig->metrics), 0);
	rig->disk.metrics = rig->metrics;
	vblk_log_limit_init(&rig->log_limit);
	rig->warnings = 0;
	rig->message[0] = '\0';
}

void io_rig_create(struct io_rig *rig, uint64_t size, uint8_t fill)
{
	rig->plain = disk_create(size, fill);
	assert_int_equal(vblk_faulty_create(rig->plain, NULL, 0, NULL, &rig->faulty), 0);
	rig->disk = (struct vblk_disk){
		.backing = tape_create(&rig->tape, vblk_backing_ref(rig->faulty)),
		.capacity_bytes = size,
		.serial = { 's', 'e', 'r', 'i', 'a', 'l', '-', '0', '1', '2',
			    '3', '4', '5', '6', '7', '8', '9', '-', 'a', 'b' },
	};
	vblk_lease_init(&rig->lease);
	rig->metrics = NULL;
	rig->disk.clock = (struct vblk_clock){ read_clock, &rig->now_ns };
	rig->disk.log = (struct vblk_log){ count_warning, rig, VBLK_LOG_DEBUG };
	rig->io.disk = &rig->disk;
	rig->io.view = &rig->ram.view;
	rig->io.lease = &rig->lease;
	rig->io.log_limit = &rig->log_limit;
	rig->io.index = 0;
	fresh_metrics(rig);
}

void io_rig_destroy(struct io_rig *rig)
{
	vblk_metrics_unref(rig->metrics);
	vblk_backing_unref(rig->disk.backing);
	vblk_backing_unref(rig->faulty);
	vblk_backing_unref(rig->plain);
	ram_destroy(&rig->ram);
}

void io_rig_faults(struct io_rig *rig, const struct vblk_faulty_rule *rules, size_t count)
{
	assert_int_equal(vblk_faulty_set_rules(rig->faulty, rules, count), 0);
	tape_rewind(&rig->tape);
	fresh_metrics(rig);
}

void io_rig_request(struct io_rig *rig, uint32_t type, uint64_t sector)
{
	memset(&rig->flight.request, 0, sizeof(rig->flight.request));
	rig->flight.request.head = 3;
	rig->flight.request.type = type;
	rig->flight.request.sector = sector;
}

void io_rig_segment(struct io_rig *rig, uint64_t address, uint32_t length)
{
	assert_true(rig->flight.request.segment_count < VBLK_CHAIN_MAX);
	rig->flight.request.segment[rig->flight.request.segment_count++] =
		(struct vblk_segment){ address, length };
	rig->flight.request.data_len += length;
}

struct vblk_transfer io_rig_transfer(struct io_rig *rig)
{
	memset(&rig->flight.iovecs, 0xee, sizeof(rig->flight.iovecs));
	vblk_flight_carry_out(&rig->io, &rig->flight);
	return rig->flight.transfer;
}

struct vblk_answer io_rig_run(struct io_rig *rig)
{
	struct vblk_transfer transfer;
	struct vblk_answer answer;

	transfer = io_rig_transfer(rig);
	answer = vblk_io_complete(&rig->io, &rig->flight.request, &transfer);
	vblk_io_log(&rig->io, &rig->flight.request, &answer);
	return answer;
}

static void expect_equal(const char *name, uint64_t got, uint64_t want, const char *file, int line)
{
	if (got == want)
		return;
	print_error("%s is %llu, expected %llu\n", name, (unsigned long long)got,
		    (unsigned long long)want);
	_fail(file, line);
}

void io_rig_expect_at(struct io_rig *rig, uint8_t status, uint32_t used_len, const char *file,
		      int line)
{
	struct vblk_answer answer = io_rig_run(rig);

	expect_equal("status", answer.status, status, file, line);
	expect_equal("used length", answer.used_len, used_len, file, line);
}

void io_rig_counters_at(struct io_rig *rig, const struct vblk_metrics_snapshot *want,
			const char *file, int line)
{
	struct vblk_metrics_snapshot got;

	vblk_metrics_read(rig->metrics, &got);
	expect_equal("reads_completed", got.reads_completed, want->reads_completed, file, line);
	expect_equal("bytes_read", got.bytes_read, want->bytes_read, file, line);
	expect_equal("writes_completed", got.writes_completed, want->writes_completed, file, line);
	expect_equal("bytes_written", got.bytes_written, want->bytes_written, file, line);
	expect_equal("flushes_completed", got.flushes_completed, want->flushes_completed, file,
		     line);
	expect_equal("discards_completed", got.discards_completed, want->discards_completed, file,
		     line);
	expect_equal("bytes_discarded", got.bytes_discarded, want->bytes_discarded, file, line);
	expect_equal("write_zeroes_completed", got.write_zeroes_completed,
		     want->write_zeroes_completed, file, line);
	expect_equal("bytes_zeroed", got.bytes_zeroed, want->bytes_zeroed, file, line);
	expect_equal("io_errors", got.io_errors, want->io_errors, file, line);
	expect_equal("warnings", rig->warnings, want->io_errors, file, line);
	expect_equal("interrupts", got.interrupts, want->interrupts, file, line);
}
