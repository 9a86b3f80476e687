/* SPDX-License-Identifier: MIT */
/* Samples of disks as OpenMetrics text (version 1.0), for Prometheus and whatever reads the same.
 */
#ifndef CMD_OPENMETRICS_H
#define CMD_OPENMETRICS_H

#include <stdio.h>

#include "cmd/sample.h"

/* Writes all of it, the closing "# EOF" included. Names of disks are to differ. */
void cmd_openmetrics_write(FILE *out, const struct cmd_sample *disks, size_t count);

#endif
