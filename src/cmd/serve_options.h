/* SPDX-License-Identifier: MIT */
/* What vblk serve was asked for: its command line, taken apart and checked as far as words go. */
#ifndef CMD_SERVE_OPTIONS_H
#define CMD_SERVE_OPTIONS_H

#include "cmd/disk_spec.h"

#define SERVE_DISKS_MAX 32u

/* Where the front end of a disk connects: a path to listen on, or a descriptor that listens. */
struct serve_place {
	const char *path; /* NULL: the descriptor */
	int fd;
};

struct serve_options {
	struct serve_place places[SERVE_DISKS_MAX];
	unsigned int place_count;
	struct cmd_disk_spec specs[SERVE_DISKS_MAX];
	unsigned int disk_count; /* after a success as many as places */
	uint16_t queues;
	const char *control; /* NULL: none */
	const char *user;    /* NULL: stay who we are */
	bool no_sandbox;
	bool kill;	 /* a system call that is not allowed ends the process */
	bool any_memory; /* front ends may share files on whatever file system */
	bool stats;
	bool verbose;
	bool help;
};

/*
 * Returns CMD_OK, or another exit status when the mistake has been told. Free the options after
 * each call. Sockets that systemd hands over (LISTEN_FDS) are places, if the command line has none.
 */
int serve_options_parse(struct serve_options *options, int argc, char **argv);
void serve_options_free(struct serve_options *options);

#endif
