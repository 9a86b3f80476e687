/* SPDX-License-Identifier: MIT */
/*
 * A backing that writes down what it is asked for and passes it on: which operation, how many
 * vectors, how many bytes, where. A hook may run in every call before it is passed on. The tape
 * outlives the backing; a backing with a tape is used by one thread at a time.
 */
#ifndef TESTS_SUPPORT_TAPE_H
#define TESTS_SUPPORT_TAPE_H

#include <vblk/backing.h>

#define TAPE_CALLS_MAX 64u

enum tape_op {
	TAPE_READ,
	TAPE_WRITE,
	TAPE_SYNC,
};

struct tape_call {
	enum tape_op op;
	int count;	 /* vectors */
	uint64_t bytes;	 /* in these */
	uint64_t offset; /* on the disk */
};

struct tape {
	struct vblk_backing *base;
	struct tape_call call[TAPE_CALLS_MAX]; /* the first of them */
	unsigned calls;			       /* how many there were */
	int count_max;			       /* the most vectors of any call */
	void (*hook)(void *context);	       /* NULL: none */
	void *context;
};

/*
 * Starts an empty tape with a backing on `base`, whose reference is taken over. Size and flags are
 * those of `base`. Fails the test if there is no memory.
 */
struct vblk_backing *tape_create(struct tape *tape, struct vblk_backing *base);

/* Forgets the calls so far. */
void tape_rewind(struct tape *tape);

#endif
