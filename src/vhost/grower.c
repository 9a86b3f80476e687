/* SPDX-License-Identifier: MIT */
/* A thread for each call, which shares the grower with its owner: the last of them frees it. */
#include "vhost/grower.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/signals.h"

struct vblk_vhost_grower {
	atomic_uint refs;	/* the owner's, and the thread's */
	struct vblk_disk *disk; /* owned */
	pthread_mutex_t lock;	/* guards all below */
	pthread_cond_t ended;
	bool runs; /* a thread is in the call, or about to be */
	uint64_t capacity_bytes;
	int result;
};

int vblk_vhost_grower_create(struct vblk_disk *disk, struct vblk_vhost_grower **grower)
{
	struct vblk_vhost_grower *made = calloc(1, sizeof(*made));
	pthread_condattr_t attr;

	if (!made)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	made->disk = vblk_disk_ref(disk);
	pthread_mutex_init(&made->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&made->ended, &attr);
	pthread_condattr_destroy(&attr);
	*grower = made;
	return 0;
}

void vblk_vhost_grower_release(struct vblk_vhost_grower *grower)
{
	if (!grower || atomic_fetch_sub_explicit(&grower->refs, 1, memory_order_acq_rel) != 1)
		return;
	vblk_disk_unref(grower->disk);
	pthread_cond_destroy(&grower->ended);
	pthread_mutex_destroy(&grower->lock);
	free(grower);
}

static void *grow(void *context)
{
	struct vblk_vhost_grower *grower = context;
	int result = vblk_disk_prepare_resize(grower->disk, grower->capacity_bytes, false);

	pthread_mutex_lock(&grower->lock);
	grower->result = result;
	grower->runs = false;
	pthread_cond_signal(&grower->ended);
	pthread_mutex_unlock(&grower->lock);
	vblk_vhost_grower_release(grower);
	return NULL;
}

/* With the lock held. */
static int start(struct vblk_vhost_grower *grower, uint64_t capacity_bytes)
{
	sigset_t before;
	pthread_t thread;
	int ret;

	if (grower->runs)
		return -EBUSY;
	grower->capacity_bytes = capacity_bytes;
	atomic_fetch_add_explicit(&grower->refs, 1, memory_order_relaxed);
	vblk_signals_block(&before);
	ret = pthread_create(&thread, NULL, grow, grower);
	vblk_signals_restore(&before);
	if (ret != 0) {
		atomic_fetch_sub_explicit(&grower->refs, 1, memory_order_relaxed);
		return -ret;
	}
	pthread_detach(thread);
	grower->runs = true;
	return 0;
}

int vblk_vhost_grower_prepare(struct vblk_vhost_grower *grower, uint64_t capacity_bytes,
			      bool shrink, uint32_t timeout_ms)
{
	const struct timespec deadline = vblk_deadline_after(timeout_ms);
	int waited = 0;
	int ret;

	/* What asks nothing of the file is done here. */
	if (capacity_bytes <= vblk_disk_capacity(grower->disk))
		return vblk_disk_prepare_resize(grower->disk, capacity_bytes, shrink);
	pthread_mutex_lock(&grower->lock);
	ret = start(grower, capacity_bytes);
	while (ret == 0 && grower->runs && waited == 0)
		waited = pthread_cond_timedwait(&grower->ended, &grower->lock, &deadline);
	if (ret == 0)
		ret = grower->runs ? -ETIMEDOUT : grower->result;
	pthread_mutex_unlock(&grower->lock);
	return ret;
}
