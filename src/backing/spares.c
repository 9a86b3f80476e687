/* SPDX-License-Identifier: MIT */
/* A list under a lock. */
#include "backing/spares.h"

#include <errno.h>

#include "backing/aio.h"

void vblk_spares_init(struct vblk_spares *spares)
{
	pthread_mutex_init(&spares->lock, NULL);
	spares->kept = false;
	spares->error = 0;
	spares->first = NULL;
}

void vblk_spares_keep(struct vblk_spares *spares, int error)
{
	pthread_mutex_lock(&spares->lock);
	spares->kept = true;
	spares->error = error;
	pthread_mutex_unlock(&spares->lock);
}

int vblk_spares_take(struct vblk_spares *spares, struct vblk_aio **aio)
{
	int ret = -ENOENT;

	pthread_mutex_lock(&spares->lock);
	if (spares->first) {
		*aio = spares->first;
		spares->first = spares->first->next;
		ret = 0;
	} else if (spares->kept) {
		ret = spares->error;
	}
	pthread_mutex_unlock(&spares->lock);
	return ret;
}

bool vblk_spares_put(struct vblk_spares *spares, struct vblk_aio *aio)
{
	bool kept;

	pthread_mutex_lock(&spares->lock);
	kept = spares->kept;
	if (kept) {
		aio->next = spares->first;
		spares->first = aio;
	}
	pthread_mutex_unlock(&spares->lock);
	return kept;
}

void vblk_spares_destroy(struct vblk_spares *spares)
{
	struct vblk_aio *aio = spares->first;

	spares->kept = false; /* or they would come back */
	while (aio) {
		struct vblk_aio *next = aio->next;

		vblk_aio_destroy(aio);
		aio = next;
	}
	pthread_mutex_destroy(&spares->lock);
}
