/* SPDX-License-Identifier: MIT */
#ifndef TESTS_SOAK_OPTIONS_H
#define TESTS_SOAK_OPTIONS_H

#include "soak.h"

/* Reads the command line. On a mistake says what it is and ends the program with status 2. */
void options_read(struct soak_options *options, int argc, char **argv);

/* The command line that makes the same choices again. */
const char *options_repeat(const struct soak_options *options, char *text, size_t size);

#endif
