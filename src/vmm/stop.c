/* SPDX-License-Identifier: MIT */
/* The first reason wins: it is set under a lock, together with its text, and read without. */
#include "vmm/stop.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int vmm_stop_init(struct vmm_stop *stop, struct vmm_error *error)
{
	stop->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop->fd < 0)
		return vmm_error_host(error, -errno, "cannot create an eventfd");
	atomic_init(&stop->end, VMM_END_NONE);
	pthread_mutex_init(&stop->lock, NULL);
	return 0;
}

void vmm_stop_destroy(struct vmm_stop *stop)
{
	close(stop->fd);
	pthread_mutex_destroy(&stop->lock);
}

static bool finish(struct vmm_stop *stop, enum vmm_end end, const struct vmm_error *error)
{
	bool first;

	pthread_mutex_lock(&stop->lock);
	first = atomic_load(&stop->end) == VMM_END_NONE;
	if (first) {
		if (error)
			stop->error = *error;
		atomic_store(&stop->end, end);
		eventfd_write(stop->fd, 1);
	}
	pthread_mutex_unlock(&stop->lock);
	return first;
}

bool vmm_stop_request(struct vmm_stop *stop, enum vmm_end end)
{
	return finish(stop, end, NULL);
}

bool vmm_stop_fail(struct vmm_stop *stop, const struct vmm_error *error)
{
	return finish(stop, VMM_END_FAILED, error);
}

enum vmm_end vmm_stop_reason(const struct vmm_stop *stop)
{
	return (enum vmm_end)atomic_load(&stop->end);
}
