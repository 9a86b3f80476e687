/* SPDX-License-Identifier: MIT */
/*
 * A front end of the fuzzer of vhost-user sessions: one connection to a server of the rig, and
 * messages over it, good ones and others. The server serves after each.
 */
#ifndef TESTS_FUZZ_VHOST_CLIENT_H
#define TESTS_FUZZ_VHOST_CLIENT_H

#include "vhost_rig.h"

/* Where guest memory is, for drivers and for the front end; rings are 0x2000 bytes apart in it. */
#define CLIENT_GUEST	 0x40000000ull
#define CLIENT_USER	 0x7f0000000000ull
#define CLIENT_RING_STEP 0x2000u
#define CLIENT_AVAIL	 0x400u
#define CLIENT_USED	 0x800u
#define CLIENT_RING_SIZE 16u

struct client {
	/* What comes along with the next messages: which of the pool is first, the step to the
	 * next. */
	uint8_t first_fd;
	uint8_t fd_step;
	/* Of the next message alone: a number, of 64 bits, to which something is added. */
	bool patched;
	uint8_t patch_at;
	uint64_t patch_by;
	/* Since the process began. */
	uint64_t messages;
};

extern struct client client;

/* The connection. When it is closed the server has noticed. */
void client_open(unsigned disk);
void client_close(void);

/* Bytes as they are, with so many descriptors. */
void client_send_bytes(const void *bytes, size_t length, unsigned fds);

/*
 * A message: a[0] request, a[1] descriptors (0: as many as are right), a[2] flags, a[3] what is
 * added to the right size, a[4] details, a[5..6] first number
 */
void client_send(const uint8_t a[7]);

/* One message as it should be; which descriptor it has, if any. */
void client_send_well(uint8_t request, uint8_t detail, uint8_t number, enum pool fd);

#endif
