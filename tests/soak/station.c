/* SPDX-License-Identifier: MIT */
#include "station.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "fail.h"

/* Every other disk is a file, so that system calls write to guest memory, too. */
static int open_base(unsigned index, struct vblk_backing **base)
{
	int fd, ret;

	if (index % 2 == 0)
		return vblk_backing_create_memory((uint64_t)STATION_DISK_SECTORS * DISK_SECTOR,
						  base);
	fd = memfd_create("soak", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)STATION_DISK_SECTORS * DISK_SECTOR) < 0)
		return -ENOMEM;
	ret = vblk_backing_open_fd(fd, 0, base);
	close(fd);
	return ret;
}

/* A thread that wants to write must not starve among many that read. */
static void init_rwlock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static void init_locks(struct station *station)
{
	pthread_condattr_t attr;

	init_rwlock(&station->pauses);
	init_rwlock(&station->alive);
	pthread_mutex_init(&station->rest_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&station->rest_changed, &attr);
	pthread_condattr_destroy(&attr);
}

void station_init(struct station *station, struct soak *soak, unsigned index)
{
	memset(station, 0, sizeof(*station));
	station->soak = soak;
	station->index = index;
	rng_init(&station->rng, soak->options.seed, index);
	disk_create(&station->disk, index, STATION_DISK_SECTORS);
	snprintf(station->serial, sizeof(station->serial), "soak-%u", index);
	station->scratch = malloc(REQUEST_DATA_MAX);
	station->still = malloc(REQUESTS_SIZE + RAM_RINGS_SIZE);
	if (!station->scratch || !station->still || open_base(index, &station->base) < 0 ||
	    vblk_eventfd_create(&station->wake_fd) < 0)
		soak_fail("device %u: no memory or descriptors", index);
	init_locks(station);
	station->scene.disk = &station->disk;
	station->scene.rng = &station->rng;
	station->scene.serial = station->serial;
	station->scene.scratch = station->scratch;
}

void station_destroy(struct station *station)
{
	close(station->wake_fd);
	vblk_backing_unref(station->base);
	disk_destroy(&station->disk);
	free(station->scratch);
	free(station->still);
	pthread_rwlock_destroy(&station->pauses);
	pthread_rwlock_destroy(&station->alive);
	pthread_cond_destroy(&station->rest_changed);
	pthread_mutex_destroy(&station->rest_lock);
}
