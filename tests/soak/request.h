/* SPDX-License-Identifier: MIT */
/*
 * One request: made up at random, laid out in guest memory, and judged when it comes back.
 *
 * A request is two rows of bytes, one for the device to read (header, data to write) and one for
 * it to fill (data to read, status byte). Each row is cut into descriptors anywhere. Each request
 * has an arena in the guest's memory to itself, so requests in flight never share a byte.
 */
#ifndef TESTS_SOAK_REQUEST_H
#define TESTS_SOAK_REQUEST_H

#include "disk.h"
#include "ring.h"

/* A chain may have 130 descriptors: 128 of data, header and status. */
#define REQUEST_PIECES_MAX 130u

#define REQUESTS_MAX	   64u
#define REQUESTS_SMALL	   56u
#define REQUEST_SMALL_SIZE 0x4000u
#define REQUEST_LARGE_SIZE 0x22000u
#define REQUESTS_SIZE \
	(REQUESTS_SMALL * REQUEST_SMALL_SIZE + (REQUESTS_MAX - REQUESTS_SMALL) * REQUEST_LARGE_SIZE)

#define REQUEST_DATA_MAX 0x20000u

enum request_kind {
	REQUEST_READ,
	REQUEST_WRITE,
	REQUEST_FLUSH,
	REQUEST_ID,
	REQUEST_BEYOND,	 /* a read past the end: refused */
	REQUEST_RAGGED,	 /* a read of no whole number of sectors: refused */
	REQUEST_UNKNOWN, /* of a type that nobody knows: unsupported */
};

struct request {
	bool busy;
	bool taken; /* the device was reset before it answered */
	enum request_kind kind;
	unsigned ring; /* index of the ring that it is in */
	uint64_t arena;
	uint32_t arena_size;
	uint64_t sector;
	uint32_t length; /* of the data */
	uint64_t stamp;
	uint64_t born_ns;
	unsigned fault_period; /* of the station, when the request was made available */
	struct ring_piece piece[REQUEST_PIECES_MAX];
	unsigned out_count; /* pieces of the readable row; the others are the other row */
	unsigned count;
};

/* What a device counts (see vblk/metrics.h), counted by its driver. */
struct request_sums {
	uint64_t reads;
	uint64_t bytes_read;
	uint64_t writes;
	uint64_t bytes_written;
	uint64_t flushes;
	uint64_t errors;
};

/* What all requests of a device have in common. */
struct request_scene {
	struct ram *ram;
	struct disk *disk;
	struct rng *rng;
	uint64_t capacity; /* in sectors; those beyond the disk's read as zeros */
	const char *serial;
	uint8_t *scratch; /* REQUEST_DATA_MAX bytes */
};

/*
 * Makes up a request of at most `pieces` descriptors (at least 2), writes it into guest memory and
 * claims its sectors. False: it found no sectors, try again another time.
 */
bool request_make(struct request *request, struct request_scene *scene, unsigned pieces);

/*
 * It came back: checks the answer and the data, and gives up its claim. Only if `may_fail` may it
 * have failed without a reason of its own. Returns whether it did.
 */
bool request_finish(struct request *request, struct request_scene *scene, uint32_t used_length,
		    bool may_fail, struct request_sums *sums);

/* It will not come back: a reset took it. */
void request_abandon(struct request *request, struct request_scene *scene);

/* Whether its status byte is still what the driver put there. */
bool request_is_untouched(const struct request *request, const struct request_scene *scene);

#endif
