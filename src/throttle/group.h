/* SPDX-License-Identifier: MIT */
/*
 * The limits of a disk, shared by all its queues.
 *
 * Each queue is a member. A member whose request is refused joins a line; while there is a line,
 * only its first member may take, so that no queue with small requests starves one with large
 * ones, and requests of all queues pass in turn. When the first has passed, the next is woken.
 *
 * Without limits nothing is locked: a member looks at one flag.
 *
 * Threads: any, for everything but vblk_throttle_join and vblk_throttle_leave, which the caller
 * does not run at once with other calls on the same member.
 */
#ifndef VBLK_THROTTLE_GROUP_H
#define VBLK_THROTTLE_GROUP_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "throttle/throttle.h"

struct vblk_throttle_member;

struct vblk_throttle_group {
	atomic_uint refs;
	atomic_bool limited; /* a copy of the state's flag, for a look without the lock */
	struct vblk_clock clock;

	pthread_mutex_t lock; /* guards all below, and the members' places */
	struct vblk_throttle limits;
	struct vblk_throttle_state state;
	struct vblk_throttle_member *first;
};

/* A queue's place in a group. The owner keeps it where it is until it has left. */
struct vblk_throttle_member {
	struct vblk_throttle_group *group; /* owned reference */
	/* Called under the group's lock when it is worth trying again: must not block. */
	void (*wake)(void *context);
	void *context;
	/* Under the group's lock. */
	bool waiting;
	struct vblk_throttle_member *next;
};

/* Full buckets, one reference. `limits` are valid. Returns 0 or -ENOMEM. */
VBLK_MUST_USE int vblk_throttle_group_create(const struct vblk_throttle *limits,
					     const struct vblk_clock *clock,
					     struct vblk_throttle_group **group);
struct vblk_throttle_group *vblk_throttle_group_ref(struct vblk_throttle_group *group);
void vblk_throttle_group_unref(struct vblk_throttle_group *group);

/* Other limits, as vblk_device_set_throttle says, and wakes who waits. */
void vblk_throttle_group_change(struct vblk_throttle_group *group,
				const struct vblk_throttle *limits);

/* Fills the buckets to the brim, as a reset of the device does, and wakes who waits. */
void vblk_throttle_group_refill(struct vblk_throttle_group *group);

/* The limits as they are now. */
void vblk_throttle_group_get(struct vblk_throttle_group *group, struct vblk_throttle *limits);

/* What is in the buckets now, 0 without a limit, and how many stand in line. */
struct vblk_throttle_levels {
	int64_t operations;
	int64_t bytes;
	uint32_t waiting;
};
void vblk_throttle_group_levels(struct vblk_throttle_group *group,
				struct vblk_throttle_levels *levels);

void vblk_throttle_join(struct vblk_throttle_member *member, struct vblk_throttle_group *group,
			void (*wake)(void *context), void *context);

/* Out of the line too, if it stood there. Afterwards `wake` is not called any more. */
void vblk_throttle_leave(struct vblk_throttle_member *member);

/* Out of the line: the request that waited is gone. */
void vblk_throttle_give_up(struct vblk_throttle_member *member);

/* As vblk_throttle_pass, where there are limits. */
VBLK_MUST_USE bool vblk_throttle_pass_limits(struct vblk_throttle_member *member, uint64_t bytes,
					     uint64_t *wait_ns);

/*
 * Pays for one operation and `bytes` bytes and returns true; or joins the line, returns false and
 * sets *wait_ns to when it is worth trying again, at least 1: exactly, for the first in line, and
 * VBLK_THROTTLE_TURN for the others, who are woken when they are first.
 */
#define VBLK_THROTTLE_TURN UINT64_MAX
VBLK_MUST_USE static inline bool vblk_throttle_pass(struct vblk_throttle_member *member,
						    uint64_t bytes, uint64_t *wait_ns)
{
	if (!atomic_load_explicit(&member->group->limited, memory_order_acquire))
		return true;
	return vblk_throttle_pass_limits(member, bytes, wait_ns);
}

#endif
