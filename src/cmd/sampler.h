/* SPDX-License-Identifier: MIT */
/*
 * Asking a control socket for all its disks, again and again. Each look is a connection of its own,
 * so that a daemon that went away and came back is found without further ado.
 *
 * cmd_sampler_look waits for the answer. Who has several sockets to look at, or a keyboard, begins
 * a look and steps when its descriptor is ready. A look that was begun goes on until it is answered
 * or the daemon is gone: one that hangs is not asked again and again, and answers when it can.
 *
 * One thread.
 */
#ifndef CMD_SAMPLER_H
#define CMD_SAMPLER_H

#include "cmd/sample.h"

/* A daemon that has not answered for as long does not answer. */
#define CMD_SAMPLER_PATIENCE_NS 1000000000ull

struct cmd_detail_call;

struct cmd_sampler_disk {
	struct cmd_sample now;
	struct cmd_rates rates; /* since the look before */
	bool has_rates;		/* there was one */
};

struct cmd_sampler {
	const char *path; /* borrowed */
	const char *only; /* borrowed; a disk's name or number; NULL: all */
	struct cmd_sampler_disk *disks;
	size_t count;	   /* 0 when the server is gone */
	char why[512];	   /* empty: it was there when it last answered, or did not answer yet */
	uint64_t asked_ns; /* when the look that is under way began, CLOCK_MONOTONIC; 0: none is */
	struct cmd_detail_call *call; /* of it; NULL: there was no place in the server's line yet */
};

void cmd_sampler_init(struct cmd_sampler *sampler, const char *path, const char *only);
void cmd_sampler_destroy(struct cmd_sampler *sampler);

/*
 * Looks, and waits for `timeout_ms` at most. Returns 0; or -EREMOTEIO if the server is there and
 * refused; or another negative errno if it is gone. `why` has a line of text then. What is found
 * later under another name has no rates at first.
 */
VBLK_MUST_USE int cmd_sampler_look(struct cmd_sampler *sampler, uint32_t timeout_ms);

/*
 * Begins a look, or goes on with the one that is under way. Does not wait. Returns -EAGAIN as long
 * as there is no answer, and otherwise what cmd_sampler_look returns.
 */
int cmd_sampler_step(struct cmd_sampler *sampler);

/* What to wait for before the next step, for poll(2); the descriptor is -1 if there is nothing. */
int cmd_sampler_fd(const struct cmd_sampler *sampler);
short cmd_sampler_events(const struct cmd_sampler *sampler);

/* For how long it has not answered; 0 if that is nothing to speak of. Pure. */
uint64_t cmd_sampler_silence_ns(const struct cmd_sampler *sampler, uint64_t now_ns);

#endif
