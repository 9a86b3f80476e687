/* SPDX-License-Identifier: MIT */
/*
 * The run loop of vblk bench, on a device in this process with the inline engine. Its backing
 * remembers what it is asked for, and ends the run after so many requests, so that no clock does.
 */
#include "cmd/bench_job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <vblk/backing.h>
#include <vblk/device.h>

#include <cmocka.h>

#include "driver/window.h"

#define BLOCK  4096u
#define BLOCKS 64u

/* The disk, and what happened to it. */
struct tape {
	uint8_t bytes[BLOCKS * BLOCK];
	uint64_t stop_after; /* requests */
	bool stop;
	uint64_t done;
	unsigned hits[BLOCKS];
	unsigned writes, flushes, writes_at_flush[16];
	int error; /* of every request from `error_from` on */
	uint64_t error_from;
	uint64_t lie_at; /* this read gives bytes of another block; 0: none does */
};

static int count_request(struct tape *tape)
{
	tape->done++;
	if (tape->done >= tape->stop_after)
		__atomic_store_n(&tape->stop, true, __ATOMIC_RELAXED);
	return tape->error && tape->done >= tape->error_from ? -tape->error : 0;
}

static ssize_t read_tape(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct tape *tape = context;
	int ret = count_request(tape);

	assert_int_equal(count, 1);
	assert_int_equal(iov->iov_len, BLOCK);
	tape->hits[offset / BLOCK]++;
	if (tape->done == tape->lie_at)
		offset = (offset + BLOCK) % sizeof(tape->bytes);
	memcpy(iov->iov_base, tape->bytes + offset, BLOCK);
	return ret ? ret : (ssize_t)BLOCK;
}

static ssize_t write_tape(void *context, const struct iovec *iov, int count, uint64_t offset)
{
	struct tape *tape = context;
	int ret = count_request(tape);

	assert_int_equal(count, 1);
	tape->hits[offset / BLOCK]++;
	tape->writes++;
	memcpy(tape->bytes + offset, iov->iov_base, iov->iov_len);
	return ret ? ret : (ssize_t)iov->iov_len;
}

static int sync_tape(void *context)
{
	struct tape *tape = context;

	if (tape->flushes < 16)
		tape->writes_at_flush[tape->flushes] = tape->writes;
	tape->flushes++;
	return count_request(tape);
}

static const struct vblk_backing_ops tape_ops = {
	.preadv = read_tape,
	.pwritev = write_tape,
	.sync = sync_tape,
};

struct scene {
	struct tape tape;
	struct vblk_device *device;
	struct vblk_driver_transport *transport;
	uint8_t *memory;
	struct bench_job job;
};

static struct scene *begin(uint32_t depth, const struct vblk_order *order, bool verify)
{
	const struct vblk_device_options options = { .engine = VBLK_ENGINE_INLINE };
	const struct vblk_backing_info info = { .size_bytes = (uint64_t)BLOCKS * BLOCK };
	struct scene *scene = calloc(1, sizeof(*scene));
	struct vblk_driver_place place;
	struct vblk_driver_shape shape;
	struct vblk_backing *backing;
	uint32_t most;

	assert_non_null(scene);
	scene->tape.stop_after = UINT64_MAX;
	assert_int_equal(vblk_backing_create(&tape_ops, &scene->tape, &info, &backing), 0);
	assert_int_equal(vblk_device_create(&options, backing, &scene->device), 0);
	vblk_backing_unref(backing);
	assert_int_equal(vblk_window_open(scene->device, options.engine, NULL, &scene->transport),
			 0);
	assert_int_equal(vblk_driver_shape(&scene->transport->traits, BLOCK, depth, &shape, &most),
			 0);
	scene->memory = aligned_alloc(4096, shape.bytes);
	assert_non_null(scene->memory);
	memset(scene->memory, 0, shape.bytes);
	assert_int_equal(vblk_driver_queue_init(&scene->job.queue, scene->transport, 0, &shape,
						scene->memory, VBLK_DRIVER_BASE, &place),
			 0);
	scene->job.order = *order;
	scene->job.stop = &scene->tape.stop;
	scene->job.end_ns = UINT64_MAX;
	assert_int_equal(bench_job_init(&scene->job, verify, 0), 0);
	assert_int_equal(scene->transport->ops->start(scene->transport, -1, scene->memory,
						      shape.bytes, &place, 1),
			 0);
	return scene;
}

static void end(struct scene *scene)
{
	scene->transport->ops->close(scene->transport);
	vblk_device_destroy(scene->device);
	bench_job_destroy(&scene->job);
	free(scene->memory);
	free(scene);
}

/* After a run that was told to stop. */
static void verify(struct scene *scene)
{
	scene->tape.stop = false;
	scene->tape.stop_after = UINT64_MAX;
	bench_job_verify(&scene->job);
}

static const struct vblk_order reads = { .blocks = BLOCKS, .read_percent = 100 };
static const struct vblk_order mix = {
	.blocks = BLOCKS, .random = true, .read_percent = 50, .flush_every = 8
};

static void each_request_is_made_and_counted_once(void **state)
{
	struct scene *scene = begin(4, &reads, false);

	(void)state;
	scene->tape.stop_after = 10 * BLOCKS;
	bench_job_run(&scene->job);
	assert_string_equal(scene->job.failure, "");
	assert_int_equal(scene->job.answers, scene->tape.done);
	assert_int_equal(scene->job.latency[VBLK_DRIVER_READ].count, scene->tape.done);
	assert_int_equal(scene->job.latency[VBLK_DRIVER_WRITE].count, 0);
	/* Those in flight at the end are waited for. */
	assert_in_range(scene->tape.done, 10 * BLOCKS, 10 * BLOCKS + 4);
	assert_int_equal(scene->job.queue.in_flight, 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_in_range(scene->tape.hits[i], 10, 11);
	end(scene);
}

static void time_that_is_over_ends_the_run_after_what_is_in_flight(void **state)
{
	struct scene *scene = begin(16, &reads, false);

	(void)state;
	scene->job.end_ns = 0;
	bench_job_run(&scene->job);
	assert_int_equal(scene->tape.done, 16);
	assert_int_equal(scene->job.done, 16);
	end(scene);
}

static void depth_of_128_fits_a_queue_of_256(void **state)
{
	const struct vblk_order many = { .blocks = BLOCKS, .read_percent = 100 };
	struct scene *scene = begin(128, &many, false);

	(void)state;
	scene->job.end_ns = 0;
	bench_job_run(&scene->job);
	assert_int_equal(scene->tape.done, 128);
	assert_int_equal(scene->job.queue.notifications, 1);
	end(scene);
}

static void flush_comes_after_every_so_many_writes(void **state)
{
	struct scene *scene = begin(1, &mix, false);

	(void)state;
	scene->tape.stop_after = 200;
	bench_job_run(&scene->job);
	assert_string_equal(scene->job.failure, "");
	assert_in_range(scene->tape.flushes, 9, 13);
	for (unsigned i = 0; i < scene->tape.flushes && i < 16; i++)
		assert_int_equal(scene->tape.writes_at_flush[i], 8 * (i + 1));
	assert_int_equal(scene->job.latency[VBLK_DRIVER_FLUSH].count, scene->tape.flushes);
	/* A flush is none of the reads and writes that IOPS are made of. */
	assert_int_equal(scene->job.done, scene->tape.done - scene->tape.flushes);
	end(scene);
}

static void verification_passes_what_is_right(void **state)
{
	struct scene *scene = begin(16, &mix, true);

	(void)state;
	scene->tape.stop_after = 2000;
	bench_job_run(&scene->job);
	assert_string_equal(scene->job.failure, "");
	assert_true(scene->job.verified > 500);
	scene->job.verified = 0;
	verify(scene);
	assert_string_equal(scene->job.failure, "");
	assert_int_equal(scene->job.verified, BLOCKS);
	end(scene);
}

static void verification_finds_what_is_wrong(void **state)
{
	struct scene *scene = begin(16, &mix, true);

	(void)state;
	scene->tape.stop_after = 2000;
	bench_job_run(&scene->job);
	scene->tape.bytes[5 * BLOCK + 1000] ^= 1;
	verify(scene);
	assert_string_equal(scene->job.failure, "a read at 20480: its checksum is wrong");
	end(scene);
}

static void verification_finds_a_block_that_belongs_elsewhere(void **state)
{
	struct scene *scene = begin(4, &mix, true);

	(void)state;
	scene->tape.stop_after = 2000;
	bench_job_run(&scene->job);
	scene->tape.lie_at = scene->tape.done + 3;
	verify(scene);
	assert_string_equal(scene->job.failure, "a read at 8192: it belongs elsewhere");
	end(scene);
}

static void verification_ends_when_it_is_told_to(void **state)
{
	const struct vblk_order writes = { .blocks = BLOCKS };
	struct scene *scene = begin(4, &writes, true);

	(void)state;
	scene->tape.stop_after = BLOCKS;
	bench_job_run(&scene->job);
	assert_int_equal(scene->job.answers, scene->tape.done);
	scene->tape.stop = false;
	scene->tape.stop_after = scene->tape.done + 10;
	bench_job_verify(&scene->job);
	assert_string_equal(scene->job.failure, "");
	assert_in_range(scene->job.verified, 10, 14);
	assert_int_equal(scene->job.queue.in_flight, 0);
	assert_int_equal(scene->job.unanswered, 0);
	end(scene);
}

static void request_that_fails_ends_the_run(void **state)
{
	struct scene *scene = begin(4, &reads, false);

	(void)state;
	scene->tape.error = EIO;
	scene->tape.error_from = 3;
	bench_job_run(&scene->job);
	assert_string_equal(scene->job.failure, "a read at 8192: the device reports an error");
	assert_in_range(scene->tape.done, 3, 8);
	end(scene);
}

static void flush_that_fails_says_so(void **state)
{
	const struct vblk_order writes = { .blocks = BLOCKS, .flush_every = 4 };
	struct scene *scene = begin(1, &writes, false);

	(void)state;
	scene->tape.error = EIO;
	scene->tape.error_from = 5;
	bench_job_run(&scene->job);
	assert_string_equal(scene->job.failure, "a flush: the device reports an error");
	end(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_is_made_and_counted_once),
		cmocka_unit_test(time_that_is_over_ends_the_run_after_what_is_in_flight),
		cmocka_unit_test(depth_of_128_fits_a_queue_of_256),
		cmocka_unit_test(flush_comes_after_every_so_many_writes),
		cmocka_unit_test(verification_passes_what_is_right),
		cmocka_unit_test(verification_finds_what_is_wrong),
		cmocka_unit_test(verification_finds_a_block_that_belongs_elsewhere),
		cmocka_unit_test(verification_ends_when_it_is_told_to),
		cmocka_unit_test(request_that_fails_ends_the_run),
		cmocka_unit_test(flush_that_fails_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
