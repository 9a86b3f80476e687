/* SPDX-License-Identifier: MIT */
/* Whether the write cache is on, and the note of it. */
#include "vhost/write_cache.h"

#include "device/config.h"

_Static_assert(sizeof(struct vblk_vhost_note) == 64, "a note is as long as an area is aligned");

static bool is_off(const struct vblk_disk *disk)
{
	return atomic_load_explicit(&disk->write_through, memory_order_relaxed);
}

/* For the next session, should this process be killed in the next moment. */
static void take_note(const struct vblk_vhost_write_cache *cache, const struct vblk_disk *disk)
{
	if (cache->note)
		__atomic_store_n(&cache->note->write_cache,
				 is_off(disk) ? VBLK_VHOST_CACHE_OFF : VBLK_VHOST_CACHE_ON,
				 __ATOMIC_RELEASE);
}

/* As the features have it, and then as it was left; drivers without CONFIG_WCE leave nothing. */
static void settle(const struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
		   uint64_t features)
{
	vblk_config_start(disk, features);
	if (cache->heritage != VBLK_VHOST_NOTHING)
		(void)vblk_config_write(disk, features, VBLK_CONFIG_WRITEBACK,
					cache->heritage == VBLK_VHOST_CACHE_ON);
	take_note(cache, disk);
}

void vblk_vhost_cache_begin(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			    uint64_t features)
{
	*cache = (struct vblk_vhost_write_cache){ .heritage = VBLK_VHOST_NOTHING };
	settle(cache, disk, features);
}

void vblk_vhost_cache_negotiate(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
				uint64_t features, bool ran)
{
	if (ran) {
		cache->heritage = VBLK_VHOST_NOTHING;
		cache->told = false;
	}
	settle(cache, disk, features);
}

void vblk_vhost_cache_write(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			    uint64_t features, uint64_t offset, uint8_t value)
{
	/* What a driver may not write is dropped, as through any other transport. */
	if (!vblk_config_write(disk, features, offset, value))
		return;
	cache->heritage = is_off(disk) ? VBLK_VHOST_CACHE_OFF : VBLK_VHOST_CACHE_ON;
	cache->told = true;
	take_note(cache, disk);
}

/* The front end can write there too. It speaks for its driver, who may have either. */
static enum vblk_vhost_heritage read_note(const struct vblk_vhost_note *note)
{
	if (!note)
		return VBLK_VHOST_UNKNOWN;
	switch (__atomic_load_n(&note->write_cache, __ATOMIC_RELAXED)) {
	case VBLK_VHOST_NOTHING: /* nobody has used the record yet */
		return VBLK_VHOST_NOTHING;
	case VBLK_VHOST_CACHE_ON:
		return VBLK_VHOST_CACHE_ON;
	default:
		return VBLK_VHOST_CACHE_OFF;
	}
}

void vblk_vhost_cache_take_record(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
				  uint64_t features, bool ran, struct vblk_vhost_note *note)
{
	cache->note = note;
	if (ran || cache->told) {
		take_note(cache, disk);
		return;
	}
	cache->heritage = read_note(note);
	settle(cache, disk, features);
}

void vblk_vhost_cache_goes_on(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			      uint64_t features)
{
	if (cache->heritage != VBLK_VHOST_NOTHING)
		return;
	cache->heritage = VBLK_VHOST_UNKNOWN;
	settle(cache, disk, features);
}
