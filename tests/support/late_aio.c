/* SPDX-License-Identifier: MIT */
#include "late_aio.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct late_aio *from_base(struct vblk_aio *aio)
{
	return (struct late_aio *)aio;
}

static int late_start(struct vblk_aio *aio, struct vblk_call *call)
{
	struct late_aio *late = from_base(aio);

	if (late->refuse || (late->refuse_after && late->started == late->refuse_after))
		return -EAGAIN;
	assert_true(late->unsent_count < LATE_MAX);
	late->unsent[late->unsent_count++] = call;
	late->started++;
	return 0;
}

/* The others move up; so many are left. */
static void take_out(struct vblk_call **calls, unsigned left, unsigned index)
{
	for (; index < left; index++)
		calls[index] = calls[index + 1];
}

void late_aio_land(struct late_aio *late, unsigned index)
{
	struct vblk_call *call;

	assert_true(index < late->under_way_count);
	call = late->under_way[index];
	late->under_way_count--;
	take_out(late->under_way, late->under_way_count, index);
	call->result = late->lose ? VBLK_CALL_NOT_MADE : vblk_backing_perform(late->backing, call);
	late->landed[late->landed_count++] = call;
}

static void late_submit(struct vblk_aio *aio)
{
	struct late_aio *late = from_base(aio);

	late->submits += late->unsent_count > 0;
	for (unsigned i = 0; i < late->unsent_count; i++)
		late->under_way[late->under_way_count++] = late->unsent[i];
	late->unsent_count = 0;
	while (!late->hold && late->under_way_count > 0)
		late_aio_land(late, 0);
}

static struct vblk_call *late_reap(struct vblk_aio *aio)
{
	struct late_aio *late = from_base(aio);
	struct vblk_call *call;

	if (late->landed_count == 0)
		return NULL;
	call = late->landed[0];
	late->landed_count--;
	take_out(late->landed, late->landed_count, 0);
	return call;
}

static void late_wait(struct vblk_aio *aio)
{
	struct late_aio *late = from_base(aio);

	late->waits++;
	late_submit(aio);
	if (late->landed_count == 0)
		late_aio_land(late, 0);
}

static void late_destroy(struct vblk_aio *aio)
{
	struct late_aio *late = from_base(aio);

	assert_int_equal(late->unsent_count + late->under_way_count + late->landed_count, 0);
	free(late);
}

static const struct vblk_aio_ops late_ops = {
	.start = late_start,
	.submit = late_submit,
	.reap = late_reap,
	.wait = late_wait,
	.destroy = late_destroy,
};

struct late_aio *late_aio_create(struct vblk_backing *backing)
{
	struct late_aio *late = calloc(1, sizeof(*late));

	assert_non_null(late);
	late->base = (struct vblk_aio){ .ops = &late_ops, .fd = -1 };
	late->backing = backing;
	return late;
}

struct vblk_air *late_aio_air(struct late_aio *late)
{
	struct vblk_air *air;

	assert_int_equal(vblk_air_create(&late->base, &air), 0);
	return air;
}
