/* SPDX-License-Identifier: MIT */
/*
 * The host's fio, in user-mode Linux: there the host's files can be mounted, and its programs run
 * as they are. fio writes the whole raw area in random order, with a crc32c in each block, and
 * reads all of it back.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOST   "/host"
#define OUTPUT "/tmp/fio" /* below HOST, in memory */

/* Nothing of the host's is written: /dev and /tmp are the guest's own. */
static bool mount_host(struct report *report)
{
	mkdir(HOST, 0755);
	if (mount("none", HOST, "hostfs", MS_RDONLY, "/"))
		return fail_errno(report, "mount of the host's files (hostfs)");
	if (mount("dev", HOST "/dev", "devtmpfs", 0, NULL) ||
	    mount("tmp", HOST "/tmp", "tmpfs", 0, NULL))
		return fail_errno(report, "mount below " HOST);
	return true;
}

/* The child. What it cannot do is said by the status 127. */
static _Noreturn void become_fio(const struct disk *disk)
{
	char name[64], offset[64], size[64], output[] = "--output=" OUTPUT;
	const uint64_t bytes = disk_bytes(disk) - disk->raw_start;
	char *const words[] = {
		"fio",
		"--name=crc",
		name,
		offset,
		size,
		"--rw=randwrite",
		"--bs=4k",
		"--direct=1",
		"--ioengine=libaio",
		"--iodepth=32",
		"--verify=crc32c",
		"--verify_fatal=1",
		"--verify_state_save=0",
		"--randrepeat=1",
		"--disk_util=0",
		"--eta=never",
		"--minimal",
		output,
		NULL,
	};
	char *const environment[] = { "PATH=/usr/bin:/bin", "HOME=/tmp", NULL };
	int fd;

	snprintf(name, sizeof(name), "--filename=%s", disk->path);
	snprintf(offset, sizeof(offset), "--offset=%" PRIu64, disk->raw_start);
	snprintf(size, sizeof(size), "--size=%" PRIu64, bytes / 4096 * 4096);
	if (chroot(HOST) || chdir("/tmp"))
		_exit(127);
	fd = open(OUTPUT ".errors", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0)
		dup2(fd, 2);
	execvpe("fio", words, environment);
	_exit(127);
}

/* A field of fio's terse output, counted from 1. */
static uint64_t field(char *line, unsigned int number)
{
	for (; number > 1; number--) {
		line = strchr(line, ';');
		if (!line)
			return 0;
		line++;
	}
	return strtoull(line, NULL, 10);
}

bool check_fio(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t area = (disk_bytes(disk) - disk->raw_start) / 4096 * 4;
	char line[4096] = "", error[200] = "";
	pid_t pid;
	int status;

	(void)guest;
	if (!mount_host(report))
		return false;
	pid = fork();
	if (!pid)
		become_fio(disk);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return fail_errno(report, "fio");
	read_line(HOST OUTPUT ".errors", error, sizeof(error));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return fail(report, "fio ended with status %x: %s", (unsigned int)status, error);
	if (!read_line(HOST OUTPUT, line, sizeof(line)))
		return fail_errno(report, "fio's output");
	/* Error, KiB read and written, operations a second of both. */
	if (field(line, 5) || field(line, 6) != area || field(line, 47) != area)
		return fail(report,
			    "error %" PRIu64 ", %" PRIu64 " KiB read, %" PRIu64
			    " KiB written of %" PRIu64 ": %s",
			    field(line, 5), field(line, 6), field(line, 47), area, error);
	return ok(report,
		  "crc32c: %" PRIu64 " KiB written at %" PRIu64 " a second, read at %" PRIu64, area,
		  field(line, 49), field(line, 8));
}
