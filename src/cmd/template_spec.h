/* SPDX-License-Identifier: MIT */
/* FS:SIZE, as in template=ext4:256M. Pure; any thread. */
#ifndef CMD_TEMPLATE_SPEC_H
#define CMD_TEMPLATE_SPEC_H

#include "cmd/message.h"
#include "image/fs.h"

/* Returns 0, or -EINVAL with a line in `message`. What is written to `fs` is constant. */
VBLK_MUST_USE int cmd_template_parse(const char *text, const struct vblk_image_fs **fs,
				     uint64_t *bytes, const struct cmd_message *message);

#endif
