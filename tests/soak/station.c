/* SPDX-License-Identifier: MIT */
#include "station.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "fail.h"

#define DISK_BYTES ((off_t)STATION_DISK_SECTORS * DISK_SECTOR)

/* Where files are that are on a disk of the host's, and not in its memory. */
#define FOLDER "/var/tmp"

static int open_in_memory(void)
{
	return memfd_create("soak", MFD_CLOEXEC);
}

static int open_on_disk(void)
{
	return open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* Past the page cache, where the file system can do that. */
static int open_direct(void)
{
	return open(FOLDER, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
}

static int open_file(int fd, uint32_t flags, struct vblk_backing **base)
{
	int ret;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, DISK_BYTES) < 0)
		ret = -errno;
	else
		ret = vblk_backing_open_fd(fd, flags, base);
	close(fd);
	return ret;
}

/* Of four disks one is memory, the others are files: in memory, on a disk, past its page cache. */
static int open_base(unsigned index, struct vblk_backing **base)
{
	int ret;

	switch (index % 4) {
	case 0:
		return vblk_backing_create_memory((uint64_t)DISK_BYTES, base);
	case 1:
		return open_file(open_in_memory(), 0, base);
	case 2:
		return open_file(open_on_disk(), 0, base);
	default:
		ret = open_file(open_direct(), VBLK_FILE_DIRECT, base);
		if (ret != -EINVAL)
			return ret;
		fprintf(stderr, "soak: there is no O_DIRECT in " FOLDER "; it is left out\n");
		return open_file(open_on_disk(), 0, base);
	}
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
