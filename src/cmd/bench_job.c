/* SPDX-License-Identifier: MIT */
/* A job takes an answer, reads the clock once, and makes the slot's next request. */
#include "cmd/bench_job.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "driver/pattern.h"

/* Answers are waited for in slices, and longer than one only while nobody has said to stop. */
#define SLICE_MS    250u
#define PATIENCE_MS 30000u
#define STOPPED_MS  1000u
#define IN_FLIGHT   0x80000000u /* of an entry of `written` */

struct bench_slot {
	uint64_t started_ns;
	uint64_t block; /* of the share */
	uint32_t generation;
	enum vblk_driver_kind kind;
};

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * VBLK_NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

int bench_job_init(struct bench_job *job, bool verify, uint64_t seed)
{
	vblk_order_init(&job->order, seed);
	job->slots = calloc(job->queue.shape.depth, sizeof(*job->slots));
	if (verify)
		job->written = calloc(job->order.blocks, sizeof(*job->written));
	return job->slots && (job->written || !verify) ? 0 : -ENOMEM;
}

void bench_job_destroy(struct bench_job *job)
{
	vblk_driver_queue_destroy(&job->queue);
	free(job->slots);
	free(job->written);
}

static uint64_t next_block(struct bench_job *job)
{
	uint64_t block = vblk_order_block(&job->order);

	/* There are more blocks than slots. */
	while (job->written && job->written[block] & IN_FLIGHT)
		block = vblk_order_pass(&job->order);
	return block;
}

static uint64_t offset_of(const struct bench_job *job, uint64_t block)
{
	return (job->first_block + block) * job->queue.shape.block;
}

static void prepare_verification(struct bench_job *job, uint32_t slot)
{
	struct bench_slot *request = &job->slots[slot];
	void *data = vblk_driver_queue_data(&job->queue, slot);

	if (request->kind == VBLK_DRIVER_WRITE) {
		job->generation = (job->generation + 1) & ~IN_FLIGHT;
		request->generation = job->generation += job->generation == 0;
		vblk_pattern_fill(data, job->queue.shape.block, offset_of(job, request->block),
				  request->generation);
	} else {
		request->generation = job->written[request->block];
	}
	job->written[request->block] |= IN_FLIGHT;
}

static void submit(struct bench_job *job, uint32_t slot, enum vblk_driver_kind kind, uint64_t block,
		   uint64_t time)
{
	struct bench_slot *request = &job->slots[slot];

	*request = (struct bench_slot){ .started_ns = time, .block = block, .kind = kind };
	if (job->written) {
		prepare_verification(job, slot);
		request->started_ns = now(CLOCK_MONOTONIC);
	}
	vblk_driver_queue_submit(&job->queue, slot, kind, offset_of(job, block) / VBLK_SECTOR_SIZE);
}

static void submit_flush(struct bench_job *job, uint32_t slot, uint64_t time)
{
	job->slots[slot] = (struct bench_slot){ .started_ns = time, .kind = VBLK_DRIVER_FLUSH };
	vblk_driver_queue_submit(&job->queue, slot, VBLK_DRIVER_FLUSH, 0);
}

static void submit_next(struct bench_job *job, uint32_t slot, uint64_t time)
{
	const enum vblk_driver_kind kind = vblk_order_kind(&job->order);

	if (kind == VBLK_DRIVER_FLUSH)
		submit_flush(job, slot, time);
	else
		submit(job, slot, kind, next_block(job), time);
}

static void fail(struct bench_job *job, const struct bench_slot *request, const char *why)
{
	if (request->kind == VBLK_DRIVER_FLUSH)
		snprintf(job->failure, sizeof(job->failure), "a flush: %s", why);
	else
		snprintf(job->failure, sizeof(job->failure), "a %s at %" PRIu64 ": %s",
			 request->kind == VBLK_DRIVER_WRITE ? "write" : "read",
			 offset_of(job, request->block), why);
}

static const char *judge_data(struct bench_job *job, const struct vblk_driver_answer *answer)
{
	const struct bench_slot *request = &job->slots[answer->slot];

	if (answer->length != job->queue.shape.block + 1)
		return "the device gives another length";
	if (!job->written || !request->generation)
		return NULL;
	job->verified++;
	return vblk_pattern_check(vblk_driver_queue_data(&job->queue, answer->slot),
				  job->queue.shape.block, offset_of(job, request->block),
				  request->generation);
}

/* What the device's answer means. */
static void judge(struct bench_job *job, const struct vblk_driver_answer *answer)
{
	const struct bench_slot *request = &job->slots[answer->slot];
	const char *wrong = NULL;

	if (answer->status == VIRTIO_BLK_S_UNSUPP)
		wrong = "the device does not support it";
	else if (answer->status != VIRTIO_BLK_S_OK)
		wrong = "the device reports an error";
	else if (request->kind == VBLK_DRIVER_READ)
		wrong = judge_data(job, answer);
	if (wrong)
		fail(job, request, wrong);
	if (job->written && request->kind != VBLK_DRIVER_FLUSH)
		job->written[request->block] = request->generation;
}

static bool is_told_to_stop(const struct bench_job *job)
{
	return __atomic_load_n(job->stop, __ATOMIC_RELAXED);
}

/* Sleeps or looks until there is an answer. Returns false if none comes: it failed, or gave up. */
static bool wait_for_answer(struct bench_job *job)
{
	uint32_t stopped_ms = 0;

	for (uint32_t ms = 0; ms < PATIENCE_MS && stopped_ms < STOPPED_MS; ms += SLICE_MS) {
		const int ret = vblk_driver_queue_wait(&job->queue, job->asleep, SLICE_MS);

		if (ret == 0)
			return true;
		if (ret != -ETIMEDOUT) {
			snprintf(job->failure, sizeof(job->failure),
				 "the device does not answer: %s", strerror(-ret));
			return false;
		}
		if (is_told_to_stop(job))
			stopped_ms += SLICE_MS;
	}
	if (stopped_ms >= STOPPED_MS)
		job->unanswered = job->queue.in_flight;
	else
		snprintf(job->failure, sizeof(job->failure),
			 "the device has answered nothing for %u s", PATIENCE_MS / 1000);
	return false;
}

static bool take(struct bench_job *job, struct vblk_driver_answer *answer)
{
	int ret = vblk_driver_queue_take(&job->queue, answer);

	if (ret < 0)
		snprintf(job->failure, sizeof(job->failure),
			 "the device answers what was not asked");
	return ret > 0;
}

static void count_answer(struct bench_job *job, enum vblk_driver_kind kind)
{
	if (kind != VBLK_DRIVER_FLUSH)
		__atomic_store_n(&job->done, job->done + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&job->answers, job->answers + 1, __ATOMIC_RELAXED);
}

static void take_all(struct bench_job *job)
{
	struct vblk_driver_answer answer;

	while (!job->failure[0] && take(job, &answer)) {
		const struct bench_slot *request = &job->slots[answer.slot];
		const uint64_t time = now(CLOCK_MONOTONIC);

		vblk_histogram_add(&job->latency[request->kind], time - request->started_ns);
		judge(job, &answer);
		count_answer(job, request->kind);
		if (time < job->end_ns && !job->failure[0] && !is_told_to_stop(job))
			submit_next(job, answer.slot, time);
	}
}

void bench_job_run(struct bench_job *job)
{
	const uint64_t cpu = now(CLOCK_THREAD_CPUTIME_ID);

	for (uint32_t slot = 0; slot < job->queue.shape.depth; slot++)
		submit_next(job, slot, now(CLOCK_MONOTONIC));
	vblk_driver_queue_notify(&job->queue);
	while (job->queue.in_flight > 0 && !job->failure[0] && wait_for_answer(job)) {
		take_all(job);
		vblk_driver_queue_notify(&job->queue);
	}
	job->ended_ns = now(CLOCK_MONOTONIC);
	job->cpu_ns = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
}

static uint64_t next_written(const struct bench_job *job, uint64_t block)
{
	while (block < job->order.blocks && !job->written[block])
		block++;
	return block;
}

void bench_job_verify(struct bench_job *job)
{
	struct vblk_driver_answer answer;
	uint64_t block = next_written(job, 0);

	for (uint32_t slot = 0; slot < job->queue.shape.depth && block < job->order.blocks;
	     slot++) {
		submit(job, slot, VBLK_DRIVER_READ, block, 0);
		block = next_written(job, block + 1);
	}
	vblk_driver_queue_notify(&job->queue);
	while (job->queue.in_flight > 0 && !job->failure[0] && wait_for_answer(job)) {
		while (!job->failure[0] && take(job, &answer)) {
			judge(job, &answer);
			count_answer(job, VBLK_DRIVER_READ);
			if (block >= job->order.blocks || is_told_to_stop(job))
				continue;
			submit(job, answer.slot, VBLK_DRIVER_READ, block, 0);
			block = next_written(job, block + 1);
		}
		vblk_driver_queue_notify(&job->queue);
	}
}
