/* SPDX-License-Identifier: MIT */
/*
 * How a running machine ends: whoever first has a reason to end it leaves that reason here, and
 * everybody else looks. All functions may be called from any thread.
 */
#ifndef VMM_STOP_H
#define VMM_STOP_H

#include "vmm/vmm.h"
#include <pthread.h>
#include <stdatomic.h>

struct vmm_stop {
	_Atomic(int) end; /* enum vmm_end */
	int fd;		  /* eventfd, readable once there is a reason */
	pthread_mutex_t lock;
	struct vmm_error error; /* under the lock; of the first failure */
};

/* Returns 0, or a negative errno with `error` filled in. */
VBLK_MUST_USE int vmm_stop_init(struct vmm_stop *stop, struct vmm_error *error);

void vmm_stop_destroy(struct vmm_stop *stop);

/* Ends the machine for a reason that is no failure. Returns false if it had ended already. */
bool vmm_stop_request(struct vmm_stop *stop, enum vmm_end end);

/* Ends it as failed. Returns false, and does not look at `error`, if it had ended already. */
bool vmm_stop_fail(struct vmm_stop *stop, const struct vmm_error *error);

/* VMM_END_NONE while it runs. */
enum vmm_end vmm_stop_reason(const struct vmm_stop *stop);

#endif
