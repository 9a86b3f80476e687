/* SPDX-License-Identifier: MIT */
/* A name, a colon, and a size that is large enough for what is named. */
#include "cmd/template_spec.h"

#include "cmd/size.h"
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 16

int cmd_template_parse(const char *text, const struct vblk_image_fs **fs, uint64_t *bytes,
		       const struct cmd_message *message)
{
	const char *colon = strchr(text, ':');
	struct vblk_image_failure failure;
	char name[NAME_SIZE];

	if (!colon)
		return cmd_message_set(message,
				       "%s: a file system and a size are wanted, as in "
				       "ext4:256M",
				       text);
	snprintf(name, sizeof(name), "%.*s", (int)(colon - text), text);
	*fs = vblk_image_fs_find(name);
	if (!*fs)
		return cmd_message_set(message,
				       "%s: unknown file system '%.*s': btrfs, ext4, xfs and raw "
				       "(none) are known",
				       text, (int)(colon - text), text);
	if (cmd_size_parse(colon + 1, bytes))
		return cmd_message_set(message, "%s: '%s' is no size: one like 64M or 1G is wanted",
				       text, colon + 1);
	if (vblk_image_fs_check_size(*fs, *bytes, &failure))
		return cmd_message_set(message, "%s: %s", text, failure.text);
	return 0;
}
