/* SPDX-License-Identifier: MIT */
/*
 * Disks for tests, in memory: filled with a byte, and on wish with faults or with a hook that runs
 * inside every operation, on the thread that carries it out. Everything here fails the test if it
 * cannot do its work. The caller owns the reference that is returned.
 */
#ifndef TESTS_SUPPORT_DISK_H
#define TESTS_SUPPORT_DISK_H

#include <vblk/backing.h>

#include "backing/faulty.h"

/* A rule of the fault table: FAULT(PREADV, ERROR, .value = EINTR, .count = 2). */
#define FAULT(op_, action_, ...)                                                        \
	{                                                                               \
		.op = VBLK_FAULTY_##op_, .action = VBLK_FAULTY_##action_, ##__VA_ARGS__ \
	}

/*
 * Whether the tests run on asynchronous disks (VBLK_TEST_URING is set): then disks are files, bare
 * drains have somebody who makes their calls, and devices with a worker have io_uring.
 */
bool disk_is_asynchronous(void);

/* `size` bytes of `fill`; the end is hard: reads across it are short, writes behind it fail. */
struct vblk_backing *disk_create(uint64_t size, uint8_t fill);

/* The same with a table of faults; pass the result to the functions of backing/faulty.h. */
struct vblk_backing *disk_create_faulty(uint64_t size, uint8_t fill,
					const struct vblk_faulty_rule *rules, size_t count);

/* The same with `hook`, which is called before each read, write and sync is carried out. */
struct vblk_backing *disk_create_hooked(uint64_t size, uint8_t fill, void (*hook)(void *context),
					void *context);

/* Reads and writes around the device. */
bool disk_is_filled(struct vblk_backing *disk, uint64_t offset, uint8_t value, size_t length);
void disk_fill(struct vblk_backing *disk, uint64_t offset, uint8_t value, size_t length);

#endif
