/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the vhost-user back end as a whole begin and end with: a server on a disk, a
 * front end that is connected, and a look at what is left when both have gone.
 */
#ifndef TESTS_UNIT_VHOST_FIXTURE_H
#define TESTS_UNIT_VHOST_FIXTURE_H

#include "disk.h"
#include "process.h"
#include "vhost_front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DISK_SIZE  0x40000u
#define FILL	   0xab
#define SECTOR	   VBLK_SECTOR_SIZE
#define PATIENT_MS 10000u

struct scene {
	struct front_host host;
	struct front front;
	size_t fds;
	uint64_t now_ns; /* the disk's clock, which stands */
	int lost;	 /* what worker_lost said */
};

static size_t own_threads;

static inline int setup_group(void **state)
{
	(void)state;
	own_threads = process_own_threads();
	return 0;
}

static inline uint64_t read_clock(void *context)
{
	return ((const struct scene *)context)->now_ns;
}

static inline void note_loss(void *context, int error)
{
	((struct scene *)context)->lost = error;
}

static inline struct front *begin_on(struct scene *scene, unsigned queues, uint32_t stop_timeout_ms,
				     struct vblk_backing *disk)
{
	const struct vblk_vhost_server_options options = {
		.device = {
			.stop_timeout_ms = stop_timeout_ms,
			.clock = read_clock,
			.clock_context = scene,
			.worker_lost = note_loss,
			.worker_lost_context = scene,
		},
		.queues = (uint16_t)queues,
	};

	scene->fds = process_fds();
	scene->now_ns = 1;
	scene->lost = 0;
	front_host_start(&scene->host, &options, disk);
	front_open(&scene->front, &scene->host);
	return &scene->front;
}

/* Messages are overdue at once. */
static inline struct front *begin_hasty(struct scene *scene)
{
	const struct vblk_vhost_server_options options = { .message_timeout_ms = 1 };

	scene->fds = process_fds();
	front_host_start(&scene->host, &options, disk_create(DISK_SIZE, FILL));
	front_open(&scene->front, &scene->host);
	return &scene->front;
}

static inline struct front *begin(struct scene *scene, unsigned queues)
{
	return begin_on(scene, queues, PATIENT_MS, disk_create(DISK_SIZE, FILL));
}

static inline struct front *begin_started(struct scene *scene, unsigned queues)
{
	struct front *f = begin(scene, queues);

	front_start(f, queues);
	return f;
}

/* Everything is released: threads, descriptors, mappings. */
static inline void end(struct scene *scene)
{
	front_close(&scene->front);
	front_host_stop(&scene->host);
	assert_true(process_wait_threads(own_threads));
	assert_int_equal(process_fds(), scene->fds);
	assert_int_equal(front_count_mappings("memfd:"), 0);
}

#endif
