/* SPDX-License-Identifier: MIT */
/*
 * /init of the guest: runs the checks of the mode that the host asked for, and reboots, which ends
 * the virtual machine. Its lines on the console are what the host reads:
 *
 *     check NAME: ok WHAT WAS SEEN
 *     check NAME: FAIL WHY
 *     guest: N ok, N failed
 *
 * A guest that crashes or hangs prints no last line, which is how the host tells.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
	const char *name;
	unsigned int modes;
	unsigned int disk;
	check_fn *run;
};

#define ALL (MODE_RW | MODE_RO | MODE_PAIR | MODE_RATE | MODE_FAULT | MODE_PAUSE)

/* In the order in which they are run. A new mode is a new bit and its lines here. */
static const struct check checks[] = {
	{ "size", ALL, 0, check_size },
	{ "serial", ALL, 0, check_serial },
	{ "features", ALL, 0, check_features },
	{ "block-size", ALL, 0, check_block_size },
	{ "read-only-flag", ALL, 0, check_read_only_flag },
	{ "vdb-size", MODE_PAIR, 1, check_size },
	{ "vdb-serial", MODE_PAIR, 1, check_serial },
	{ "vdb-features", MODE_PAIR, 1, check_features },
	{ "raw-write-refused", MODE_RO, 0, check_raw_write_refused },
	{ "raw-patterns", MODE_RW | MODE_PAIR | MODE_RATE, 0, check_raw_patterns },
	{ "vdb-raw-patterns", MODE_PAIR, 1, check_raw_patterns },
	{ "raw-segments", MODE_RW, 0, check_raw_segments },
	{ "raw-flush", MODE_RW, 0, check_raw_flush },
	{ "raw-rate", MODE_RATE, 0, check_raw_rate },
	{ "vdb-raw-rate", MODE_RATE, 1, check_raw_rate },
	{ "raw-faults", MODE_FAULT, 0, check_raw_faults },
	{ "raw-fault-in-batch", MODE_FAULT, 0, check_raw_fault_in_batch },
	{ "raw-gap", MODE_PAUSE, 0, check_raw_gap },
	{ "raw-end", MODE_RW | MODE_RO, 0, check_raw_end },
	{ "raw-digest", ALL, 0, check_raw_digest },
	{ "vdb-raw-digest", MODE_PAIR, 1, check_raw_digest },
	{ "fs-write", MODE_RW, 0, check_fs_write },
	{ "fs-unmount", MODE_RW, 0, check_fs_unmount },
	{ "fs-read-only", MODE_RO, 0, check_fs_read_only },
	{ "fs-verify", MODE_RW | MODE_RO, 0, check_fs_verify },
	{ "diskstats", ALL, 0, check_diskstats },
	{ "vdb-diskstats", MODE_PAIR, 1, check_diskstats },
};

/* The kernel's own /dev/console was opened before there was a /dev, and may not be there. */
static int prepare(void)
{
	int console;

	umask(0);
	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir(MOUNT_POINT, 0755);
	if (mount("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		return -1;
	console = open("/dev/console", O_RDWR | O_CLOEXEC);
	if (console < 0)
		return -1;
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(console, fd) != fd)
			return -1;
	if (console > 2)
		close(console);
	if (mount("proc", "/proc", "proc", 0, NULL) || mount("sys", "/sys", "sysfs", 0, NULL))
		return -1;
	return 0;
}

static bool take_mode(struct guest *guest, const char *value)
{
	static const struct {
		const char *name;
		enum mode mode;
	} modes[] = { { "rw", MODE_RW },     { "ro", MODE_RO },	      { "pair", MODE_PAIR },
		      { "rate", MODE_RATE }, { "fault", MODE_FAULT }, { "pause", MODE_PAUSE } };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (!strcmp(value, modes[i].name)) {
			guest->mode = modes[i].mode;
			return true;
		}
	}
	return false;
}

static bool take_number(const char *value, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(value, &end, 10);
	return !errno && end != value && !*end;
}

static bool take_text(const char *value, char *text, size_t size)
{
	return (size_t)snprintf(text, size, "%s", value) < size;
}

/* One word of the command line; false if it is for us and wrong. */
static bool take_word(struct guest *guest, char *word)
{
	char *value = strchr(word, '=');

	if (strncmp(word, "vblk.", 5) != 0)
		return true;
	if (!value)
		return false;
	*value++ = '\0';
	word += 5;
	if (!strcmp(word, "mode"))
		return take_mode(guest, value);
	if (!strcmp(word, "seed"))
		return take_number(value, &guest->seed);
	if (!strcmp(word, "fs"))
		return take_number(value, &guest->disks[0].raw_start);
	if (!strcmp(word, "size"))
		return take_number(value, &guest->disks[0].size);
	if (!strcmp(word, "size2"))
		return take_number(value, &guest->disks[1].size);
	if (!strcmp(word, "iops"))
		return take_number(value, &guest->disks[0].iops);
	if (!strcmp(word, "iops2"))
		return take_number(value, &guest->disks[1].iops);
	if (!strcmp(word, "fail-every"))
		return take_number(value, &guest->fail_every);
	if (!strcmp(word, "serial"))
		return take_text(value, guest->disks[0].serial, sizeof(guest->disks[0].serial));
	if (!strcmp(word, "serial2"))
		return take_text(value, guest->disks[1].serial, sizeof(guest->disks[1].serial));
	return false;
}

/* Returns false, and has said why, if the host's wishes cannot be read. */
static bool read_wishes(struct guest *guest)
{
	char line[COMMAND_LINE];
	char *rest;

	if (!read_line("/proc/cmdline", line, sizeof(line))) {
		printf("check command-line: FAIL /proc/cmdline: %s\n", strerror(errno));
		return false;
	}
	for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (!take_word(guest, word)) {
			printf("check command-line: FAIL what does '%s' mean?\n", word);
			return false;
		}
	}
	return true;
}

static void run_checks(struct guest *guest, unsigned int *good, unsigned int *bad)
{
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		const struct check *check = &checks[i];
		struct report report = { .text = "" };
		bool passed;

		if (!(check->modes & guest->mode))
			continue;
		passed = check->run(guest, &guest->disks[check->disk], &report);
		printf("check %s: %s %s\n", check->name, passed ? "ok" : "FAIL", report.text);
		if (passed)
			++*good;
		else
			++*bad;
	}
}

int main(void)
{
	struct guest guest = {
		.mode = MODE_RW,
		.seed = 1,
		.disks = { { .name = "vda", .path = "/dev/vda" },
			   { .name = "vdb", .path = "/dev/vdb" } },
	};
	unsigned int good = 0, bad = 0;

	if (getpid() != 1) {
		fputs("init: runs as the first process of a virtual machine only\n", stderr);
		return 2;
	}
	/* Without a console there is nobody to tell: the host misses the last line. */
	if (!prepare()) {
		setvbuf(stdout, NULL, _IOLBF, 0);
		if (read_wishes(&guest))
			run_checks(&guest, &good, &bad);
		else
			bad++;
		printf("guest: %u ok, %u failed\n", good, bad);
	}
	sync();
	reboot(RB_AUTOBOOT);
	return 1;
}
