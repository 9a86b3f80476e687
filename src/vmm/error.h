/* SPDX-License-Identifier: MIT */
/*
 * Why something could not be done, in one line for the person at the terminal.
 *
 * Functions of this part that can fail return a negative errno like the rest of the project, and
 * in addition fill a `struct vmm_error` of the caller's. `bad_input` parts what the user asked
 * for wrongly (exit status 2) from what the host could not do (exit status 1).
 */
#ifndef VMM_ERROR_H
#define VMM_ERROR_H

#include <stdbool.h>
#include <vblk/types.h>

/* Room for a path of the greatest length and the words around it. */
#define VMM_ERROR_TEXT_SIZE 4608

struct vmm_error {
	bool bad_input;
	char text[VMM_ERROR_TEXT_SIZE]; /* without a newline of ours at the end */
};

/* What was asked for is wrong. Returns -EINVAL. */
__attribute__((format(printf, 2, 3))) int vmm_error_input(struct vmm_error *error,
							  const char *format, ...);

/* The host failed with `code`, a negative errno, whose text is added. Returns `code`. */
__attribute__((format(printf, 3, 4))) int vmm_error_host(struct vmm_error *error, int code,
							 const char *format, ...);

#endif
