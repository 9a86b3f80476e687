/* SPDX-License-Identifier: MIT */
/*
 * One layer above late_aio, whose calls all wait until this one lets them land.
 *
 * Flights are megabytes. Having them from the system anew for each input would take most of the
 * time, so they are kept, poisoned while nobody owns them.
 */
#include "drain_air.h"

#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "drain_watch.h"
#include "late_aio.h"

struct outer {
	struct vblk_aio base;
	struct late_aio *late;
};

struct drain_air drain_air;

/* There is one of each at a time. */
static struct late_aio *current;
static struct vblk_air *kept;

static bool next_bit(uint8_t *pattern)
{
	bool bit = *pattern & 1;

	*pattern = (uint8_t)(*pattern >> 1 | *pattern << 7);
	return bit;
}

static bool is_among(struct vblk_call *const *calls, unsigned count, const struct vblk_call *call)
{
	for (unsigned i = 0; i < count; i++) {
		if (calls[i] == call)
			return true;
	}
	return false;
}

/* It belongs to somebody until it is reaped. */
static void expect_free(const struct late_aio *late, const struct vblk_call *call)
{
	FUZZ_CHECK(!is_among(late->unsent, late->unsent_count, call) &&
			   !is_among(late->under_way, late->under_way_count, call) &&
			   !is_among(late->landed, late->landed_count, call),
		   "a call is started that is under way");
}

static int outer_start(struct vblk_aio *aio, struct vblk_call *call)
{
	struct late_aio *late = ((struct outer *)aio)->late;

	FUZZ_CHECK(!vblk_lease_is_revoked(&watch.drain->lease),
		   "a call is started, and the lease is gone");
	FUZZ_CHECK(!watch.lost, "a call is started, and memory was lost");
	expect_free(late, call);
	late->refuse = next_bit(&drain_air.refuse);
	/* One that is refused is made at once, and nothing may happen before that. */
	if (!late->refuse)
		watch_moment(MOMENT_OTHER);
	return vblk_aio_start(&late->base, call);
}

static void land_one(struct late_aio *late)
{
	unsigned index = drain_air.order % late->under_way_count;

	drain_air.order = (uint8_t)(drain_air.order * 5 + (drain_air.order != 0));
	late->lose = next_bit(&drain_air.lose);
	watch.landing = true;
	late_aio_land(late, index);
	watch.landing = false;
}

void drain_air_land(unsigned count)
{
	for (; current && count > 0 && current->under_way_count > 0; count--)
		land_one(current);
}

unsigned drain_air_landed(void)
{
	return current ? current->landed_count : 0;
}

static void outer_submit(struct vblk_aio *aio)
{
	struct late_aio *late = ((struct outer *)aio)->late;
	unsigned land = 0;

	watch_moment(MOMENT_OTHER);
	vblk_aio_submit(&late->base);
	for (unsigned i = 0; i < late->under_way_count; i++)
		land += !next_bit(&drain_air.hold);
	drain_air_land(land);
}

static struct vblk_call *outer_reap(struct vblk_aio *aio)
{
	struct late_aio *late = ((struct outer *)aio)->late;

	watch_moment(MOMENT_OTHER);
	return vblk_aio_reap(&late->base);
}

static void outer_wait(struct vblk_aio *aio)
{
	struct late_aio *late = ((struct outer *)aio)->late;

	FUZZ_CHECK(late->unsent_count + late->under_way_count + late->landed_count > 0,
		   "nothing is waited for");
	watch_moment(MOMENT_OTHER);
	vblk_aio_submit(&late->base);
	if (late->landed_count == 0)
		land_one(late);
}

static void outer_destroy(struct vblk_aio *aio)
{
	struct outer *outer = (struct outer *)aio;
	const struct late_aio *late = outer->late;

	FUZZ_CHECK(late->unsent_count + late->under_way_count + late->landed_count == 0,
		   "calls are under way when nobody is there to make them any more");
	vblk_aio_destroy(&outer->late->base);
	free(outer);
	current = NULL;
}

static const struct vblk_aio_ops outer_ops = {
	.start = outer_start,
	.submit = outer_submit,
	.reap = outer_reap,
	.wait = outer_wait,
	.destroy = outer_destroy,
};

static struct vblk_aio *make_outer(struct vblk_backing *backing)
{
	struct outer *outer = calloc(1, sizeof(*outer));

	if (!outer)
		abort();
	outer->base = (struct vblk_aio){ .ops = &outer_ops, .fd = -1 };
	outer->late = late_aio_create(backing);
	outer->late->hold = true;
	current = outer->late;
	return &outer->base;
}

struct vblk_air *drain_air_create(struct vblk_backing *backing)
{
	struct vblk_air *air = kept;

	if (!air) {
		if (vblk_air_create(make_outer(backing), &air) < 0)
			abort();
		return air;
	}
	kept = NULL;
	__asan_unpoison_memory_region(air, sizeof(*air));
	memset(air, 0, offsetof(struct vblk_air, flights));
	air->aio = make_outer(backing);
	return air;
}

/*
 * The linker puts this in the place of the library's.
 * NOLINTBEGIN(cert-dcl51-cpp,bugprone-reserved-identifier): the name is the linker's.
 */
void __wrap_vblk_air_destroy(struct vblk_air *air);

void __wrap_vblk_air_destroy(struct vblk_air *air)
{
	if (!air)
		return;
	vblk_aio_destroy(air->aio);
	__asan_poison_memory_region(air, sizeof(*air));
	kept = air;
}
/* NOLINTEND(cert-dcl51-cpp,bugprone-reserved-identifier) */
