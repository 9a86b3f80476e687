/* SPDX-License-Identifier: MIT */
/* Progress for people: on a terminal, one line that comes and goes; nothing in a pipe or file. */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include "image/progress.h"

/* What to give to functions of src/image. Constant. */
extern const struct vblk_image_events cmd_progress;

#endif
