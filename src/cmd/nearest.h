/* SPDX-License-Identifier: MIT */
/*
 * The known word that somebody meant who wrote an unknown one.
 *
 *     struct cmd_nearest nearest;
 *
 *     cmd_nearest_begin(&nearest, "iodpeth");
 *     cmd_nearest_offer(&nearest, "iodepth");   ... for each known word
 *     nearest.name is "iodepth", or NULL if no word was near
 *
 * Words are compared letter by letter, with case. Near is what at most a third of the longer
 * word's letters separate, counting one that is wrong, missing or too many, and two neighbours that
 * changed places, as one each; or what the unknown word is the beginning of, from two letters on.
 * Of several, the one with the fewest, and of those the one that was offered first. Pure; any
 * thread.
 */
#ifndef CMD_NEAREST_H
#define CMD_NEAREST_H

#include <stddef.h>
#include <vblk/types.h>

/* Longer words have no neighbours. */
#define CMD_NEAREST_MAX 48u

struct cmd_nearest {
	const char *word; /* not copied */
	size_t length;	  /* how much of it is looked at */
	const char *name; /* the nearest so far; NULL: none */
	unsigned distance;
};

void cmd_nearest_begin(struct cmd_nearest *nearest, const char *word);

/* The same for the beginning of a text, which need not end there. */
void cmd_nearest_begin_with(struct cmd_nearest *nearest, const char *text, size_t length);

/* `name` is not copied. */
void cmd_nearest_offer(struct cmd_nearest *nearest, const char *name);

/*
 * ": did you mean 'NAME'?" for behind "unknown word 'iodpeth'", or, if no word was near, ": " and
 * `otherwise`, or ":" alone if that is NULL. `prefix` stands before the name. Returns `hint`, which
 * gets what fits.
 */
#define CMD_NEAREST_HINT 160
const char *cmd_nearest_hint(const struct cmd_nearest *nearest, const char *prefix,
			     const char *otherwise, char hint[CMD_NEAREST_HINT]);

#endif
