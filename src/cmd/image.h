/* SPDX-License-Identifier: MIT */
/* The commands of vblk image. Called like main(), their own name in argv[0]. */
#ifndef CMD_IMAGE_H
#define CMD_IMAGE_H

#include "cmd/cmd.h"
#include "image/failure.h"

int cmd_image_create(int argc, char **argv);
int cmd_image_clone(int argc, char **argv);
int cmd_image_template(int argc, char **argv);
int cmd_image_info(int argc, char **argv);

/* Complains of what a function of src/image returned. Returns an exit status. */
int cmd_image_failed(const char *name, int code, const struct vblk_image_failure *failure);

/* An option without a value. */
struct cmd_image_flag {
	const char *name; /* NULL ends a table */
	bool *given;	  /* becomes true */
};

#define CMD_IMAGE_FLAGS_MAX 4u

/* What may follow the name of a command: flags, --help, and operands. */
struct cmd_image_syntax {
	const char *name;
	const char *help;
	const struct cmd_image_flag *flags;
};

/*
 * Takes the options. Returns CMD_OK, with the other words at `*operands` and how many they are at
 * `*count`, or with NULL there if help was asked for and has been printed; or another exit status
 * when the mistake has been told.
 */
VBLK_MUST_USE int cmd_image_options(const struct cmd_image_syntax *syntax, int argc, char **argv,
				    char ***operands, int *count);

/*
 * Checks that there are as many operands as `wanted`; `usage` says which, as in "PATH SIZE".
 * Returns CMD_OK, or another exit status when the mistake has been told.
 */
VBLK_MUST_USE int cmd_image_operands(const char *name, int count, int wanted, const char *usage);

#endif
