/* SPDX-License-Identifier: MIT */
/*
 * Chains written out where they are used, and what becomes of them:
 *
 *     OFFER(&g, VIRTIO_BLK_T_IN, HEADER, { GUEST_DATA, 512, W }, STATUS);
 *     expect_refused(&g);
 */
#ifndef TESTS_SUPPORT_CHAINS_H
#define TESTS_SUPPORT_CHAINS_H

#include "expect.h"

#define W VRING_DESC_F_WRITE
#define HEADER                      \
	{                           \
		GUEST_HEADER, 16, 0 \
	}
#define STATUS                     \
	{                          \
		GUEST_STATUS, 1, W \
	}

/* An address that the usual guest does not have. */
#define UNMAPPED 0x300000u

/* Puts a header for `type` at sector 0 and the sentinel in place, offers the chain, notifies. */
#define OFFER(guest, type, ...)                                                  \
	offer_chain((guest), (type), (const struct guest_desc[]){ __VA_ARGS__ }, \
		    sizeof((const struct guest_desc[]){ __VA_ARGS__ }) /         \
			    sizeof(struct guest_desc))

void offer_chain(struct guest *guest, uint32_t type, const struct guest_desc *desc, size_t count);

/* For the first chain of a guest: answered with IOERR, told, and nothing else has happened. */
#define expect_refused(guest) expect_refused_at((guest), __FILE__, __LINE__)

/* The same: consumed without an answer, counted and told; and the next request is served. */
#define expect_dropped(guest) expect_dropped_at((guest), __FILE__, __LINE__)

void expect_refused_at(struct guest *guest, const char *file, int line);
void expect_dropped_at(struct guest *guest, const char *file, int line);

#endif
