/* SPDX-License-Identifier: MIT */
/* What the control protocol tells of a disk on request: histograms, and errors by reason. */
#ifndef CONTROL_DETAIL_H
#define CONTROL_DETAIL_H

#include <jansson.h>
#include <vblk/metrics.h>

/* The member "detail" of docs/control.md, a new reference; NULL: no memory. Any thread. */
json_t *vblk_control_detail(const struct vblk_metrics *metrics);

#endif
