/* SPDX-License-Identifier: MIT */
/* Each word has a space behind it, but for the last of the line. */
#include "cmd/mount_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

/* Neither quotes nor slashes nor names with a meaning of their own. */
static bool is_plain(const char *name)
{
	return name && *name && name[strspn(name, PLAIN)] == '\0';
}

static void write_disk(FILE *line, const struct cmd_disk_spec *spec, unsigned int index)
{
	fprintf(line, "VBLK_DISK%u_FS=%s VBLK_DISK%u_MOUNT=/mnt/", index, spec->template_fs->name,
		index);
	if (is_plain(spec->serial))
		fprintf(line, "%s ", spec->serial);
	else
		fprintf(line, "disk%u ", index);
	if (spec->read_only)
		fprintf(line, "VBLK_DISK%u_RO=1 ", index);
}

int cmd_mount_words(const struct cmd_disk_spec *specs, unsigned int count, const char *append,
		    char **line)
{
	size_t length;
	FILE *stream = open_memstream(line, &length);
	bool failed;

	if (!stream)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++)
		if (specs[i].template_fs && specs[i].template_fs->formatter && !specs[i].no_mount)
			write_disk(stream, &specs[i], i);
	if (append)
		fputs(append, stream);
	failed = ferror(stream);
	if (fclose(stream) == 0 && !failed) {
		if (length > 0 && (*line)[length - 1] == ' ' && !(append && *append))
			(*line)[length - 1] = '\0';
		return 0;
	}
	free(*line);
	return -ENOMEM;
}
