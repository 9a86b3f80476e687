/* SPDX-License-Identifier: MIT */
/*
 * /init of the guest: loads the modules that are beside it, runs the checks of the mode that the
 * host asked for, and ends the virtual machine. Its lines on the console are what the host reads:
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

#define ALL	(~0u)
#define HAS_RAW (ALL ^ MODE_RESIZE ^ MODE_FS)

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
	{ "queues", MODE_QUEUES | MODE_PAIR, 0, check_queues },
	{ "raw-patterns", MODE_RW | MODE_PAIR | MODE_RATE | MODE_CACHE | MODE_LOAD, 0,
	  check_raw_patterns },
	{ "vdb-raw-patterns", MODE_PAIR, 1, check_raw_patterns },
	{ "raw-segments", MODE_RW, 0, check_raw_segments },
	{ "raw-flush", MODE_RW | MODE_CACHE, 0, check_raw_flush },
	{ "raw-write-cache", MODE_CACHE, 0, check_raw_write_cache },
	{ "raw-parallel", MODE_QUEUES, 0, check_raw_parallel },
	{ "raw-load", MODE_LOAD, 0, check_raw_load },
	{ "raw-discard", MODE_SPACE, 0, check_raw_discard },
	{ "raw-write-zeroes", MODE_SPACE, 0, check_raw_write_zeroes },
	{ "raw-punch", MODE_SPACE, 0, check_raw_punch },
	{ "journal", MODE_JOURNAL, 0, check_journal },
	{ "fio", MODE_FIO, 0, check_fio },
	{ "raw-rate", MODE_RATE, 0, check_raw_rate },
	{ "vdb-raw-rate", MODE_RATE, 1, check_raw_rate },
	{ "raw-faults", MODE_FAULT, 0, check_raw_faults },
	{ "raw-fault-in-batch", MODE_FAULT, 0, check_raw_fault_in_batch },
	{ "raw-gap", MODE_PAUSE, 0, check_raw_gap },
	{ "raw-end", MODE_RW | MODE_RO, 0, check_raw_end },
	{ "raw-digest", HAS_RAW, 0, check_raw_digest },
	{ "vdb-raw-digest", MODE_PAIR, 1, check_raw_digest },
	{ "fs-write", MODE_RW | MODE_SPACE | MODE_RESIZE | MODE_FS, 0, check_fs_write },
	{ "fs-trim", MODE_SPACE, 0, check_fs_trim },
	{ "resize-ready", MODE_RESIZE, 0, check_resize_ready },
	{ "fs-grow", MODE_RESIZE, 0, check_fs_grow },
	{ "fs-unmount", MODE_RW | MODE_SPACE | MODE_RESIZE | MODE_FS, 0, check_fs_unmount },
	{ "fs-read-only", MODE_RO, 0, check_fs_read_only },
	{ "fs-verify", MODE_RW | MODE_RO | MODE_SPACE | MODE_RESIZE | MODE_FS, 0, check_fs_verify },
	{ "fs-grown", MODE_RESIZE, 0, check_fs_grown },
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
	} modes[] = {
		{ "rw", MODE_RW },	     { "ro", MODE_RO },		{ "pair", MODE_PAIR },
		{ "rate", MODE_RATE },	     { "fault", MODE_FAULT },	{ "pause", MODE_PAUSE },
		{ "space", MODE_SPACE },     { "resize", MODE_RESIZE }, { "cache", MODE_CACHE },
		{ "queues", MODE_QUEUES },   { "load", MODE_LOAD },	{ "fio", MODE_FIO },
		{ "journal", MODE_JOURNAL }, { "fs", MODE_FS },
	};

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

static bool take_end(struct guest *guest, const char *value)
{
	guest->power_off = !strcmp(value, "off");
	return guest->power_off || !strcmp(value, "reboot");
}

static bool take_cache(struct guest *guest, const char *value)
{
	guest->write_through = !strcmp(value, "through");
	return guest->write_through || !strcmp(value, "back");
}

/* The member of the guest that a word sets to a number; NULL if it does not. */
static uint64_t *find_number(struct guest *guest, const char *word)
{
	const struct {
		const char *name;
		uint64_t *number;
	} numbers[] = {
		{ "seed", &guest->seed },
		{ "files", &guest->files },
		{ "fs", &guest->disks[0].raw_start },
		{ "size", &guest->disks[0].size },
		{ "size2", &guest->disks[1].size },
		{ "iops", &guest->disks[0].iops },
		{ "iops2", &guest->disks[1].iops },
		{ "fail-every", &guest->fail_every },
		{ "queues", &guest->queues },
		{ "resize", &guest->resize },
		{ "seconds", &guest->seconds },
		{ "workers", &guest->workers },
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(word, numbers[i].name))
			return numbers[i].number;
	return NULL;
}

/* One word of the command line; false if it is for us and wrong. */
static bool take_word(struct guest *guest, char *word)
{
	char *value = strchr(word, '=');
	uint64_t *number;

	if (strncmp(word, "vblk.", 5) != 0)
		return true;
	if (!value)
		return false;
	*value++ = '\0';
	word += 5;
	number = find_number(guest, word);
	if (number)
		return take_number(value, number);
	if (!strcmp(word, "mode"))
		return take_mode(guest, value);
	if (!strcmp(word, "end"))
		return take_end(guest, value);
	if (!strcmp(word, "cache"))
		return take_cache(guest, value);
	if (!strcmp(word, "need"))
		return take_text(value, guest->need, sizeof(guest->need));
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

/* Says nothing if all is well: a guest without modules is the usual one. */
static bool have_modules(void)
{
	struct report report = { .text = "" };
	const bool loaded = load_modules(&report);

	if (!loaded)
		printf("check modules: FAIL %s\n", report.text);
	return loaded;
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
		.files = GUEST_FILES,
		.seconds = 10,
		.workers = 4,
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
		if (read_wishes(&guest) && have_modules())
			run_checks(&guest, &good, &bad);
		else
			bad++;
		printf("guest: %u ok, %u failed\n", good, bad);
	}
	sync();
	reboot(guest.power_off ? RB_POWER_OFF : RB_AUTOBOOT);
	return 1;
}
