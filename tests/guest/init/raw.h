/* SPDX-License-Identifier: MIT */
/* The raw area of a disk, past the page cache: what the checks that write it share (checks_raw.c).
 */
#ifndef GUEST_RAW_H
#define GUEST_RAW_H

#include "raw_model.h"

#include <sys/types.h>

#define PAGE   4096u
#define MAX_IO (1u << 20)

/* What a check of the raw area works with. Nothing is freed: /init ends with the machine. */
struct raw {
	struct raw_model *model;
	unsigned char *buffer; /* MAX_IO and a page, page-aligned */
	uint64_t start;	       /* of the raw area, in bytes */
	int fd;
};

/* Sectors of the raw area, and the memory for them. */
struct piece {
	uint64_t sector, count;
	unsigned char *data;
};

/* False and a failed report if it cannot be opened with `flags`, as open(2) has them. */
bool raw_open(struct guest *guest, struct disk *disk, int flags, struct raw *raw,
	      struct report *report);
void raw_close(struct raw *raw);

/* Where a sector is on the disk, in bytes. */
off_t raw_offset(const struct raw *raw, uint64_t sector);

/*
 * Writes new bytes to a piece, or reads it and compares with what it should hold. False and a
 * failed report if that is not so or the call did not move all.
 */
bool raw_write(struct raw *raw, const struct piece *piece, struct report *report);
bool raw_verify(struct raw *raw, const struct piece *piece, struct report *report);

#endif
