/* SPDX-License-Identifier: MIT */
/* A name, a colon, and a size that is large enough for what is named. */
#include "cmd/template_spec.h"

#include "cmd/nearest.h"
#include "cmd/size.h"
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 16

static int unknown_fs(const char *text, size_t length, const struct cmd_message *message)
{
	struct cmd_nearest nearest;
	char hint[CMD_NEAREST_HINT];
	const char *name;

	cmd_nearest_begin_with(&nearest, text, length);
	for (size_t i = 0; (name = vblk_image_fs_name(i)) != NULL; i++)
		cmd_nearest_offer(&nearest, name);
	return cmd_message_set(
		message,
		"%s: unknown file system '%.*s'%s btrfs, ext4, xfs and raw (none) are known", text,
		(int)length, text, cmd_nearest_hint(&nearest, "", NULL, hint));
}

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
		return unknown_fs(text, (size_t)(colon - text), message);
	if (cmd_size_parse(colon + 1, bytes))
		return cmd_message_set(message, "%s: '%s' is no size: one like 64M or 1G is wanted",
				       text, colon + 1);
	if (vblk_image_fs_check_size(*fs, *bytes, &failure))
		return cmd_message_set(message, "%s: %s", text, failure.text);
	return 0;
}
