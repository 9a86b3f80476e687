/* SPDX-License-Identifier: MIT */
/*
 * What a disk must hold: the model that reads are verified against.
 *
 * Every write has a stamp of its own, and each of its sectors a content that follows from stamp
 * and sector number; so a sector that is found on the wrong disk, in the wrong place or from the
 * wrong time is told from the right one.
 *
 * A write that failed, or that a reset took from the device, may have reached the disk in whole,
 * in part or not at all. Its sectors are in doubt: each byte is what was there before or what that
 * write put there. The first read ends the doubt. What it has found is what must be found from
 * then on, because no write may land after the device has said that it stopped.
 *
 * Requests in flight claim their sectors, as a page cache would: one writer, or any number of
 * readers. One thread at a time.
 */
#ifndef TESTS_SOAK_DISK_H
#define TESTS_SOAK_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR 512u

/* Writes that one sector may be in doubt about; more are not begun. */
#define DISK_DOUBTS_MAX 4u

struct disk_sector {
	bool writer;
	uint8_t doubts;
	uint16_t readers;
	uint64_t doubt[DISK_DOUBTS_MAX]; /* stamps */
};

struct disk {
	uint64_t id; /* in all stamps */
	uint64_t sectors;
	uint64_t stamps; /* how many there have been */
	uint8_t *bytes;
	struct disk_sector *sector;
};

/* A disk of zeros. Fails the run if there is no memory. */
void disk_create(struct disk *disk, uint64_t id, uint64_t sectors);
void disk_destroy(struct disk *disk);

uint64_t disk_new_stamp(struct disk *disk);

/* What a write with that stamp puts into `count` sectors from `first` on. */
void disk_fill(uint64_t stamp, uint64_t first, uint64_t count, uint8_t *bytes);

/* Claims sectors. False, and nothing is claimed, if another request is in the way. */
bool disk_claim(struct disk *disk, uint64_t first, uint64_t count, bool write);
void disk_unclaim(struct disk *disk, uint64_t first, uint64_t count, bool write);

/* The write has succeeded; or it is over and nobody knows how far it came. */
void disk_written(struct disk *disk, uint64_t first, uint64_t count, uint64_t stamp);
void disk_doubt(struct disk *disk, uint64_t first, uint64_t count, uint64_t stamp);

/* Fails the run if these sectors cannot hold these bytes. Ends doubts. */
void disk_verify(struct disk *disk, uint64_t first, uint64_t count, const uint8_t *bytes);

#endif
