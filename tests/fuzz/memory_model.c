/* SPDX-License-Identifier: MIT */
/* Guest memory of a front end, twice. */
#include "memory_model.h"

#include <string.h>

#include "check.h"
#include "vhost/regions.h"

/* Sums of two 64-bit numbers. */
__extension__ typedef unsigned __int128 wide;

static struct {
	struct vblk_vhost_regions regions;
	struct vblk_vhost_region model[VBLK_VHOST_SLOTS_MAX];
	unsigned model_count;
} own;

void memory_model_begin(void)
{
	vblk_vhost_regions_clear(&own.regions);
	own.model_count = 0;
}

/* Whether two ranges have a byte in common. */
static bool meet(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return (wide)a < (wide)b + b_size && (wide)b < (wide)a + a_size;
}

static bool model_accepts(const struct vblk_vhost_region *r)
{
	wide total = r->size, top = (wide)1 << 64;

	if (r->size == 0 || (r->guest | r->size | r->user | r->offset) & 15)
		return false;
	if ((wide)r->guest + r->size > top || (wide)r->user + r->size > top ||
	    (wide)r->offset + r->size >= top / 2)
		return false;
	for (unsigned i = 0; i < own.model_count; i++) {
		const struct vblk_vhost_region *other = &own.model[i];

		if (meet(r->guest, r->size, other->guest, other->size) ||
		    meet(r->user, r->size, other->user, other->size))
			return false;
		total += other->size;
	}
	return own.model_count < 509 && total <= (wide)1 << 52;
}

static bool model_add(const struct vblk_vhost_region *region)
{
	bool accepts = model_accepts(region);

	if (accepts)
		own.model[own.model_count++] = *region;
	return accepts;
}

static bool model_remove(const struct vblk_vhost_region *region, unsigned *slot)
{
	for (*slot = 0; *slot < own.model_count; (*slot)++) {
		const struct vblk_vhost_region *other = &own.model[*slot];

		if (other->guest == region->guest && other->user == region->user &&
		    other->size == region->size)
			break;
	}
	if (*slot == own.model_count)
		return false;
	for (unsigned i = *slot + 1; i < own.model_count; i++)
		own.model[i - 1] = own.model[i];
	own.model_count--;
	return true;
}

static bool model_set(const struct vblk_vhost_memory *memory)
{
	struct vblk_vhost_region saved[VBLK_VHOST_SLOTS_MAX];
	unsigned count = own.model_count;

	memcpy(saved, own.model, sizeof(saved));
	own.model_count = 0;
	for (unsigned i = 0; i < memory->count; i++) {
		if (!model_add(&memory->region[i])) {
			memcpy(own.model, saved, sizeof(saved));
			own.model_count = count;
			return false;
		}
	}
	return true;
}

/* Where one byte is in the guest. */
static bool model_byte(wide user, wide *guest)
{
	for (unsigned i = 0; i < own.model_count; i++) {
		const struct vblk_vhost_region *r = &own.model[i];

		if (user >= r->user && user < (wide)r->user + r->size) {
			*guest = r->guest + (user - r->user);
			return true;
		}
	}
	return false;
}

/* Whether a byte is mapped and as far from the first in the guest as in the front end. */
static bool model_follows(uint64_t first, wide start, wide user)
{
	wide guest;

	return model_byte(user, &guest) && guest - start == user - first;
}

/*
 * Between the ends of regions nothing changes, so the first and the last byte of the range and the
 * bytes on both sides of each end stand for all.
 */
static bool model_translate(uint64_t user, uint64_t length, wide *guest)
{
	wide last = (wide)user + length - 1;

	if (length == 0 || !model_byte(user, guest) || !model_follows(user, *guest, last))
		return false;
	for (unsigned i = 0; i < own.model_count; i++) {
		wide start = own.model[i].user, end = start + own.model[i].size;

		if (start > user && start <= last && !model_follows(user, *guest, start))
			return false;
		if (end > user && end <= last && !model_follows(user, *guest, end))
			return false;
	}
	return true;
}

static void expect_translation(uint64_t user, uint64_t length)
{
	uint64_t got = 0;
	wide want = 0;
	int ret = vblk_vhost_regions_translate(&own.regions, user, length, &got);
	bool mapped = model_translate(user, length, &want);

	FUZZ_CHECK((ret == 0) == mapped, "%llu bytes at 0x%llx are %s", (unsigned long long)length,
		   (unsigned long long)user, mapped ? "not translated" : "translated");
	FUZZ_CHECK(ret < 0 || got == want, "0x%llx is translated to 0x%llx",
		   (unsigned long long)user, (unsigned long long)got);
}

/* Around both ends of each region, and from each region to the end of every other. */
static void expect_same_memory(void)
{
	wide total = 0;

	FUZZ_CHECK(own.regions.count == own.model_count, "%u regions, should be %u",
		   own.regions.count, own.model_count);
	FUZZ_CHECK(memcmp(own.regions.region, own.model, own.model_count * sizeof(own.model[0])) ==
			   0,
		   "the regions are others");
	for (unsigned i = 0; i < own.model_count; i++) {
		const struct vblk_vhost_region *r = &own.model[i];

		total += r->size;
		expect_translation(r->user - 1, 1);
		expect_translation(r->user - 1, 2);
		expect_translation(r->user + r->size, 1);
		expect_translation(r->user, r->size + 1);
		expect_translation(r->user + 1, 0 - r->user - 1);
		expect_translation(r->user, UINT64_MAX);
		for (unsigned k = 0; k < own.model_count; k++) {
			const struct vblk_vhost_region *other = &own.model[k];

			expect_translation(r->user, other->user + other->size - r->user);
			expect_translation(r->user + 5, other->user - r->user);
		}
	}
	FUZZ_CHECK(own.regions.total == total, "%llu bytes are said to be there",
		   (unsigned long long)own.regions.total);
}

void memory_model_apply(const struct vblk_vhost_message *message)
{
	const char *reason = NULL;
	uint32_t slot = 0;
	unsigned want_slot = 0;
	bool want;
	int ret;

	switch (message->header.request) {
	case VBLK_VHOST_SET_MEM_TABLE:
		ret = vblk_vhost_regions_set(&own.regions, &message->memory, &reason);
		want = model_set(&message->memory);
		break;
	case VBLK_VHOST_ADD_MEM_REG:
		ret = vblk_vhost_regions_add(&own.regions, &message->region, &reason);
		want = model_add(&message->region);
		break;
	case VBLK_VHOST_REM_MEM_REG:
		ret = vblk_vhost_regions_remove(&own.regions, &message->region, &slot, &reason);
		want = model_remove(&message->region, &want_slot);
		FUZZ_CHECK(ret < 0 || slot == want_slot, "slot %u, should be %u", slot, want_slot);
		break;
	default:
		return;
	}
	FUZZ_CHECK((ret == 0) == want, "memory is judged %d", ret);
	FUZZ_CHECK((ret == 0) == (reason == NULL), "the reason is '%s'", reason ? reason : "none");
	expect_same_memory();
}
