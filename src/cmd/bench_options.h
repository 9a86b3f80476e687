/* SPDX-License-Identifier: MIT */
/* The command line of vblk bench. */
#ifndef CMD_BENCH_OPTIONS_H
#define CMD_BENCH_OPTIONS_H

#include "cmd/disk_spec.h"

enum bench_wait {
	BENCH_WAIT_AUTO, /* asleep at a depth of 1, and looking all the time above */
	BENCH_WAIT_POLL,
	BENCH_WAIT_EVENT,
};

struct bench_options {
	const char *socket; /* NULL: the disk is served in this process */
	bool has_disk;
	struct cmd_disk_spec disk;
	enum vblk_engine_kind engine;
	const char *rw; /* as it was written */
	bool random;
	uint8_t read_percent; /* 0: all are writes; 100: all are reads */
	uint32_t block;	      /* bytes */
	uint32_t depth;
	uint32_t jobs;
	uint32_t flush_every; /* writes; 0: never */
	uint64_t size;	      /* bytes of the disk that are used; 0: all */
	uint64_t runtime_ns;
	enum bench_wait wait;
	bool verify;
	bool json;
	bool help;
};

/* Complains and returns a CMD_ status other than CMD_OK if it is wrong. Free it in any case. */
VBLK_MUST_USE int bench_options_parse(struct bench_options *options, int argc, char **argv);
void bench_options_free(struct bench_options *options);

#endif
