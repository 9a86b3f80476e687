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

/*
 * Takes the operands of a command, of which there have to be `wanted`; `usage` says which, as in
 * "PATH SIZE". Returns CMD_OK, or another exit status when the mistake has been told.
 */
VBLK_MUST_USE int cmd_image_operands(const char *name, int count, int wanted, const char *usage);

#endif
