/* SPDX-License-Identifier: MIT */
/*
 * The line of queues before the buckets of a disk. It is kept first come, first served: a member
 * stands in it at most once, with one request, and goes to its end with the next.
 */
#include "throttle/group.h"

#include <errno.h>
#include <stdlib.h>

static void note_limits(struct vblk_throttle_group *group)
{
	atomic_store_explicit(&group->limited, group->state.limited, memory_order_release);
}

int vblk_throttle_group_create(const struct vblk_throttle *limits, const struct vblk_clock *clock,
			       struct vblk_throttle_group **group)
{
	struct vblk_throttle_group *made = calloc(1, sizeof(*made));

	if (!made)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	made->clock = *clock;
	pthread_mutex_init(&made->lock, NULL);
	made->limits = *limits;
	vblk_throttle_init(&made->state, limits, vblk_clock_now(clock));
	note_limits(made);
	*group = made;
	return 0;
}

struct vblk_throttle_group *vblk_throttle_group_ref(struct vblk_throttle_group *group)
{
	atomic_fetch_add_explicit(&group->refs, 1, memory_order_relaxed);
	return group;
}

void vblk_throttle_group_unref(struct vblk_throttle_group *group)
{
	if (!group || atomic_fetch_sub_explicit(&group->refs, 1, memory_order_acq_rel) != 1)
		return;
	pthread_mutex_destroy(&group->lock);
	free(group);
}

static void wake_first(struct vblk_throttle_group *group)
{
	if (group->first)
		group->first->wake(group->first->context);
}

static void append(struct vblk_throttle_group *group, struct vblk_throttle_member *member)
{
	struct vblk_throttle_member **link = &group->first;

	while (*link)
		link = &(*link)->next;
	member->waiting = true;
	member->next = NULL;
	*link = member;
}

/* Takes a member that waits out of the line. If it was the first, the next one has its turn. */
static void step_out(struct vblk_throttle_group *group, struct vblk_throttle_member *member)
{
	struct vblk_throttle_member **link = &group->first;
	bool was_first = group->first == member;

	while (*link != member)
		link = &(*link)->next;
	*link = member->next;
	member->waiting = false;
	if (was_first)
		wake_first(group);
}

/* Nobody has to wait any more. */
static void dissolve(struct vblk_throttle_group *group)
{
	struct vblk_throttle_member *member = group->first;

	group->first = NULL;
	while (member) {
		struct vblk_throttle_member *next = member->next;

		member->waiting = false;
		member->wake(member->context);
		member = next;
	}
}

void vblk_throttle_group_change(struct vblk_throttle_group *group,
				const struct vblk_throttle *limits)
{
	pthread_mutex_lock(&group->lock);
	group->limits = *limits;
	vblk_throttle_change(&group->state, limits, vblk_clock_now(&group->clock));
	note_limits(group);
	if (group->state.limited)
		wake_first(group);
	else
		dissolve(group);
	pthread_mutex_unlock(&group->lock);
}

void vblk_throttle_group_refill(struct vblk_throttle_group *group)
{
	pthread_mutex_lock(&group->lock);
	vblk_throttle_refill_full(&group->state, vblk_clock_now(&group->clock));
	wake_first(group);
	pthread_mutex_unlock(&group->lock);
}

void vblk_throttle_group_get(struct vblk_throttle_group *group, struct vblk_throttle *limits)
{
	pthread_mutex_lock(&group->lock);
	*limits = group->limits;
	pthread_mutex_unlock(&group->lock);
}

static int64_t level_now(struct vblk_bucket *bucket, uint64_t now_ns)
{
	if (bucket->unlimited)
		return 0;
	vblk_bucket_refill(bucket, now_ns);
	return bucket->available;
}

void vblk_throttle_group_levels(struct vblk_throttle_group *group,
				struct vblk_throttle_levels *levels)
{
	uint64_t now_ns = vblk_clock_now(&group->clock);

	*levels = (struct vblk_throttle_levels){ 0 };
	pthread_mutex_lock(&group->lock);
	levels->operations = level_now(&group->state.ops, now_ns);
	levels->bytes = level_now(&group->state.bytes, now_ns);
	for (const struct vblk_throttle_member *m = group->first; m; m = m->next)
		levels->waiting++;
	pthread_mutex_unlock(&group->lock);
}

void vblk_throttle_join(struct vblk_throttle_member *member, struct vblk_throttle_group *group,
			void (*wake)(void *context), void *context)
{
	*member = (struct vblk_throttle_member){
		.group = vblk_throttle_group_ref(group),
		.wake = wake,
		.context = context,
	};
}

void vblk_throttle_give_up(struct vblk_throttle_member *member)
{
	struct vblk_throttle_group *group = member->group;

	pthread_mutex_lock(&group->lock);
	if (member->waiting)
		step_out(group, member);
	pthread_mutex_unlock(&group->lock);
}

void vblk_throttle_leave(struct vblk_throttle_member *member)
{
	vblk_throttle_give_up(member);
	vblk_throttle_group_unref(member->group);
	member->group = NULL;
}

/* The lock is held. */
static bool pass(struct vblk_throttle_group *group, struct vblk_throttle_member *member,
		 uint64_t bytes, uint64_t *wait_ns)
{
	bool has_turn = !group->first || group->first == member;

	if (has_turn &&
	    vblk_throttle_take(&group->state, bytes, vblk_clock_now(&group->clock), wait_ns)) {
		if (member->waiting)
			step_out(group, member);
		return true;
	}
	if (!has_turn)
		*wait_ns = VBLK_THROTTLE_TURN;
	if (!member->waiting)
		append(group, member);
	return false;
}

bool vblk_throttle_pass_limits(struct vblk_throttle_member *member, uint64_t bytes,
			       uint64_t *wait_ns)
{
	struct vblk_throttle_group *group = member->group;
	bool passed;

	pthread_mutex_lock(&group->lock);
	passed = pass(group, member, bytes, wait_ns);
	pthread_mutex_unlock(&group->lock);
	return passed;
}
