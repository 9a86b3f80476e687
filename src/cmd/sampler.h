/* SPDX-License-Identifier: MIT */
/*
 * Asking a control socket for all its disks, again and again. Each look is a connection of its own,
 * so that a daemon that went away and came back is found without further ado. One thread; a look
 * blocks for as long as the timeout says.
 */
#ifndef CMD_SAMPLER_H
#define CMD_SAMPLER_H

#include "cmd/sample.h"

struct cmd_sampler_disk {
	struct cmd_sample now;
	struct cmd_rates rates; /* since the look before */
	bool has_rates;		/* there was one */
};

struct cmd_sampler {
	const char *path; /* borrowed */
	const char *only; /* borrowed; a disk's name or number; NULL: all */
	struct cmd_sampler_disk *disks;
	size_t count;  /* 0 when the server is gone */
	char why[512]; /* empty: it is there */
};

void cmd_sampler_init(struct cmd_sampler *sampler, const char *path, const char *only);
void cmd_sampler_destroy(struct cmd_sampler *sampler);

/*
 * Looks. Returns 0; or -EREMOTEIO if the server is there and refused; or another negative errno if
 * it is gone. `why` has a line of text then. What is found later under another name has no rates at
 * first.
 */
VBLK_MUST_USE int cmd_sampler_look(struct cmd_sampler *sampler, uint32_t timeout_ms);

struct json_t;

/*
 * One stats reply with all details, a new reference; asked for disk by disk, since that of all of
 * them may be longer than a server sends. Errors as above.
 */
VBLK_MUST_USE int cmd_sampler_ask(const char *path, const char *only, uint32_t timeout_ms,
				  struct json_t **result, char *message, size_t message_size);

#endif
