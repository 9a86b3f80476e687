/* SPDX-License-Identifier: MIT */
/*
 * The write cache of a disk from one session to the next.
 *
 * A driver that turns the write cache off (CONFIG_WCE) says so once, and relies on it until it
 * resets the device. But a front end that connects again, to a daemon that was started anew or
 * because the connection broke, says nothing of it: it takes the device for the same. A cache that
 * is on by then, behind the driver's back, loses writes which it believes to be on the disk. So:
 *
 *   - A record of requests in flight that was made here has room for a note behind its areas. It
 *     says how the cache is, and the next session that is handed the record begins like that.
 *   - A session that goes on where another has left, by a record without a note or by a ring that
 *     begins elsewhere than at 0, does not know. It begins with the cache off, which is slow at
 *     worst, and reads as off, until the driver says otherwise or starts anew.
 *
 * What was inherited ends with a reset, and when a driver whose rings have run chooses other
 * features. It counts only for drivers with CONFIG_WCE: others cannot have changed anything.
 *
 * Belongs to the session's thread. The note is written by it, so it has to be in memory that cannot
 * be cut short or made to block: a sealed memfd.
 */
#ifndef VBLK_VHOST_WRITE_CACHE_H
#define VBLK_VHOST_WRITE_CACHE_H

#include "request/disk.h"

/* What stands behind the areas of a record that was made here. */
struct vblk_vhost_note {
	uint8_t write_cache; /* enum vblk_vhost_heritage, without VBLK_VHOST_UNKNOWN */
	uint8_t reserved[63];
};

enum vblk_vhost_heritage {
	VBLK_VHOST_NOTHING, /* a device that begins */
	VBLK_VHOST_CACHE_ON,
	VBLK_VHOST_CACHE_OFF,
	VBLK_VHOST_UNKNOWN, /* a device that goes on */
};

struct vblk_vhost_write_cache {
	enum vblk_vhost_heritage heritage;
	bool told;		      /* by the driver, in this session */
	struct vblk_vhost_note *note; /* borrowed; NULL: none */
};

/* A device that begins: a new session, or a reset. Its record is none of ours any more. */
void vblk_vhost_cache_begin(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			    uint64_t features);

/* The driver has chosen other features; `ran`: since the device has begun, a ring was served. */
void vblk_vhost_cache_negotiate(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
				uint64_t features, bool ran);

/* The driver writes a byte of the configuration space. */
void vblk_vhost_cache_write(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			    uint64_t features, uint64_t offset, uint8_t value);

/* A record has come; `note` is NULL if it has none. Kept until the next call, or a new beginning.
 */
void vblk_vhost_cache_take_record(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
				  uint64_t features, bool ran, struct vblk_vhost_note *note);

/* A ring that was not served since the device has begun goes on elsewhere than at 0. */
void vblk_vhost_cache_goes_on(struct vblk_vhost_write_cache *cache, struct vblk_disk *disk,
			      uint64_t features);

#endif
