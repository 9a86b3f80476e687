/* SPDX-License-Identifier: MIT */
/*
 * The flights of a drain. Memory for all of them is there from the start, untouched until it is
 * needed: the last that was given back is the first to be taken, so few requests at a time stay in
 * few cache lines.
 */
#include "request/air.h"

#include <errno.h>
#include <stddef.h>

#include "backing/uring.h"
#include "base/pages.h"

static struct vblk_flight *from_call(struct vblk_call *call)
{
	return (struct vblk_flight *)((char *)call - offsetof(struct vblk_flight, call));
}

void vblk_air_prepare(struct vblk_backing *backing, unsigned count)
{
	(void)!vblk_uring_prepare(backing, VBLK_AIR_MAX, count);
}

int vblk_air_create(struct vblk_aio *aio, struct vblk_air **air)
{
	struct vblk_air *made = vblk_pages_alloc(sizeof(*made));

	if (!made) {
		vblk_aio_destroy(aio);
		return -ENOMEM;
	}
	made->aio = aio;
	*air = made;
	return 0;
}

void vblk_air_destroy(struct vblk_air *air)
{
	if (!air)
		return;
	vblk_aio_destroy(air->aio);
	vblk_pages_free(air, sizeof(*air));
}

bool vblk_air_is_full(const struct vblk_air *air)
{
	return air->airborne == VBLK_AIR_MAX ||
	       (air->airborne > 0 && air->bytes >= VBLK_AIR_BYTES_MAX);
}

struct vblk_flight *vblk_air_take(struct vblk_air *air)
{
	struct vblk_flight *flight = air->spare;

	if (vblk_air_is_full(air))
		return NULL;
	if (flight)
		air->spare = flight->next_spare;
	else if (air->touched < VBLK_AIR_MAX)
		flight = &air->flights[air->touched++];
	return flight;
}

void vblk_air_give_back(struct vblk_air *air, struct vblk_flight *flight)
{
	air->bytes -= flight->charged;
	flight->charged = 0;
	flight->next_spare = air->spare;
	air->spare = flight;
}

bool vblk_air_launch(struct vblk_air *air, struct vblk_flight *flight)
{
	if (vblk_aio_start(air->aio, &flight->call) < 0)
		return false;
	if (flight->charged == 0) {
		flight->charged = flight->request.data_len;
		air->bytes += flight->charged;
	}
	flight->airborne = true;
	air->airborne++;
	air->unsent++;
	return true;
}

void vblk_air_submit(struct vblk_air *air)
{
	if (air->unsent == 0)
		return;
	air->unsent = 0;
	vblk_aio_submit(air->aio);
}

struct vblk_flight *vblk_air_land(struct vblk_air *air)
{
	struct vblk_flight *flight;
	struct vblk_call *call;

	if (air->airborne == 0)
		return NULL;
	call = vblk_aio_reap(air->aio);
	if (!call)
		return NULL;
	flight = from_call(call);
	flight->airborne = false;
	air->airborne--;
	return flight;
}

void vblk_air_wait(struct vblk_air *air)
{
	air->unsent = 0;
	vblk_aio_wait(air->aio);
}
