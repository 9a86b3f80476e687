/* SPDX-License-Identifier: MIT */
/*
 * A driver's half of a virtqueue for fuzzers, in the arena: it lays out requests that are legal as
 * long as its arguments are 0, and less so the more of them are not.
 */
#ifndef TESTS_FUZZ_DRIVER_H
#define TESTS_FUZZ_DRIVER_H

#include "arena.h"

struct driver {
	/* Where the rings are; size is at least 1. */
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint16_t size;
	uint16_t avail_idx; /* as it was written last */

	uint64_t sectors;   /* of the disk, to aim at its end */
	uint16_t next_desc; /* the next request's first descriptor */
	uint8_t slot;	    /* its place for header and status */
	unsigned budget;    /* descriptors that this program may still write */
};

/* Nothing offered, `budget` descriptors to write. The rings are set by who knows them. */
void driver_init(struct driver *driver, uint64_t sectors, unsigned budget);

/*
 * Lays out a request and returns its head; *made is false if the budget does not allow it.
 *
 * a[0]  0-2 type, of: IN, OUT, FLUSH, GET_ID, IN, OUT, unknown, DISCARD
 *       3-4 0 direct; 1 all in an indirect table; 2 header direct, rest in a table; 3 a table in a
 *           table
 *       5   the last data descriptor has the wrong direction
 *       6   so have all others
 *       7   the chain runs in a circle: its last descriptor goes on to its first
 * a[1]  sector: itself up to 200; from there on, near the end of the disk or of 2^64 bytes
 * a[2]  number of data descriptors: 1, 0, 2, 3, 4, 16, 127, 128, 129, 130, 200 ...
 * a[3]  0-3 what length each has; 4-7 where the data lies
 * a[4]  0-2 shape of the header; 3-5 of the status
 * a[5]  detail of length and places
 */
uint16_t driver_request(struct driver *driver, const uint8_t a[6], bool *made);

/*
 * The same for a DISCARD or WRITE_ZEROES and its ranges.
 *
 * a[0]  0 WRITE_ZEROES; 3-7 as above
 * a[1]  sector of the first range; each other begins a sector further
 * a[2]  sectors of each: 1, 0, 8, 16, ...
 * a[3]  0-2 how many ranges; 3 cut in two; 4-7 where the data lies
 * a[4]  shapes of header and status
 * a[5]  flags of the last range; detail of places
 */
uint16_t driver_ranges(struct driver *driver, const uint8_t a[6], bool *made);

/*
 * Lays out `count` requests alike by one of the two above, and offers them.
 *
 * a[0..5]  as above
 * a[6]     5 do not offer, 6-7 1 offer twice, 2 from descriptor 0 on, 3 a head out of range
 */
typedef uint16_t (*driver_layer)(struct driver *driver, const uint8_t a[6], bool *made);

void driver_requests(struct driver *driver, const uint8_t a[7], unsigned count,
		     driver_layer lay_out_one);

/* Puts a head into the available ring and moves avail.idx. */
void driver_offer(struct driver *driver, uint16_t head);
void driver_set_avail_idx(struct driver *driver, uint16_t value);

/* Writes descriptor `index` of a table. */
void driver_put_desc(uint64_t table, uint32_t index, uint64_t addr, uint32_t len, uint16_t flags,
		     uint16_t next);
void driver_put_header(uint64_t address, uint32_t type, uint64_t sector);

/* Addresses and lengths that may be interesting, from argument bytes. */
uint64_t driver_address(const struct driver *driver, uint8_t where, uint16_t offset);
uint32_t driver_length(uint8_t what, uint8_t detail);

#endif
