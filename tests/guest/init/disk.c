/* SPDX-License-Identifier: MIT */
/* Access to the disk's device node and to what /sys says about it. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int disk_open(const struct disk *disk, int flags)
{
	return open(disk->path, flags | O_DIRECT | O_CLOEXEC);
}

uint64_t disk_bytes(const struct disk *disk)
{
	uint64_t bytes = 0;
	int fd = disk_open(disk, O_RDONLY);

	if (fd < 0)
		return 0;
	if (ioctl(fd, BLKGETSIZE64, &bytes))
		bytes = 0;
	close(fd);
	return bytes;
}

bool read_line(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, text, size - 1);
	close(fd);
	if (got < 0)
		return false;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

bool disk_attribute(const struct disk *disk, const char *file, char *text, size_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/%s/%s", disk->name, file);
	return read_line(path, text, size);
}

uint64_t disk_number(const struct disk *disk, const char *file)
{
	char text[64];

	return disk_attribute(disk, file, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

uint64_t disk_stat(const struct disk *disk, unsigned int field)
{
	char line[512];
	char *rest, *word;

	if (!disk_attribute(disk, "stat", line, sizeof(line)))
		return 0;
	word = strtok_r(line, " ", &rest);
	while (word && --field > 0)
		word = strtok_r(NULL, " ", &rest);
	return word ? strtoull(word, NULL, 10) : 0;
}

bool disk_set(const struct disk *disk, const char *file, const char *text)
{
	const size_t length = strlen(text);
	char path[128];
	bool written;
	int fd;

	snprintf(path, sizeof(path), "/sys/block/%s/%s", disk->name, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	written = write(fd, text, length) == (ssize_t)length;
	close(fd);
	return written;
}

bool disk_set_number(const struct disk *disk, const char *file, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return disk_set(disk, file, text);
}
