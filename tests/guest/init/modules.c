/* SPDX-License-Identifier: MIT */
/* The kernel's modules that scripts/guest-initrd put beside /init. */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FOLDER "/modules"

static int is_module(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* False and errno. */
static bool load_module(const char *name)
{
	char path[sizeof(FOLDER) + 256];
	bool loaded;
	int fd;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	loaded = !syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return loaded;
}

bool load_modules(struct report *report)
{
	struct dirent **entries = NULL;
	const int count = scandir(FOLDER, &entries, is_module, alphasort);
	bool loaded = true;

	if (count < 0)
		return errno == ENOENT ? true : fail_errno(report, FOLDER);
	for (int i = 0; loaded && i < count; i++)
		loaded = load_module(entries[i]->d_name) || fail_errno(report, entries[i]->d_name);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return loaded;
}
