/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the guest's /init share: what the host told it, and how a check reports.
 *
 * The host tells by words on the kernel's command line; all are optional:
 *
 *     vblk.mode=NAME         which checks are run (default rw), see main.c
 *     vblk.end=reboot|off    how the machine is ended (default reboot)
 *     vblk.seed=N            seed of all patterns and files (default 1)
 *     vblk.files=N           files to be written, up to 300, which is the default
 *     vblk.fs=BYTES          the file system fills the disk up to here, what is behind is the raw
 *                            area (default 0: all of the disk is raw)
 *     vblk.size=BYTES        expected size of /dev/vda
 *     vblk.serial=TEXT       expected serial number of /dev/vda
 *     vblk.iops=N            operations per second that /dev/vda is limited to, with a burst of as
 *                            many; for mode=rate
 *     vblk.size2, vblk.serial2, vblk.iops2   the same for /dev/vdb, which has a raw area only
 *     vblk.fail-every=N      the writes to /dev/vda that fail; for mode=fault
 *     vblk.need=NAME,...     the features that /dev/vda must have, in place of those that it has on
 *                            virtio-mmio
 *     vblk.cache=back|through   the write cache's mode at the start (default back)
 *     vblk.queues=N          queues that /dev/vda must have; for mode=queues, and mode=pair
 *     vblk.resize=BYTES      the size that /dev/vda is going to have; for mode=resize
 *     vblk.seconds=N         how long the check of mode=load or mode=journal runs (default 10)
 *     vblk.workers=N         processes that use the disk at once, for both of them (default 4)
 *
 * One thread runs everything, but for the checks that fork workers. A check prints nothing itself:
 * it fills a report, and main.c makes the line of it.
 */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include "sha256.h"
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SECTOR	      512u
#define COMMAND_LINE  2048
#define MOUNT_POINT   "/mnt"
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum mode {
	MODE_RW = 1,
	MODE_RO = 2,
	MODE_PAIR = 4,
	MODE_RATE = 8,
	MODE_FAULT = 16,
	MODE_PAUSE = 32,
	MODE_SPACE = 64,
	MODE_RESIZE = 128,
	MODE_CACHE = 256,
	MODE_QUEUES = 512,
	MODE_LOAD = 1024,
	MODE_FIO = 2048,
	MODE_JOURNAL = 4096,
	MODE_FS = 8192,
};

struct raw_model; /* raw_model.h */

struct disk {
	const char *name; /* vda */
	const char *path; /* /dev/vda */
	uint64_t size;	  /* expected bytes; 0: the host did not say */
	char serial[32];  /* expected; empty: the host did not say */
	uint64_t iops;	  /* limit, and burst; 0: the host did not say */
	uint64_t raw_start;
	struct raw_model *model; /* what the raw area should hold; NULL before the first write */
};

#define GUEST_FILES 300u /* at most, and unless the host says otherwise */

struct guest {
	enum mode mode;
	uint64_t seed;
	uint64_t files; /* to be written */
	struct disk disks[2];
	uint64_t fail_every;	   /* of the writes to /dev/vda */
	uint64_t writes;	   /* that /dev/vda got so far, with mode=fault */
	char need[256];		   /* features, separated by commas; empty: the usual ones */
	bool write_through;	   /* at the start */
	uint64_t queues;	   /* expected; 0: the host did not say */
	uint64_t resize;	   /* bytes; 0: the host did not say */
	uint64_t seconds;	   /* of load */
	uint64_t workers;	   /* processes that make it */
	bool power_off;		   /* at the end, rather than reboot */
	char manifest[SHA256_HEX]; /* of the manifest as it was written; empty before */
};

struct report {
	char text[400];
};

typedef bool check_fn(struct guest *guest, struct disk *disk, struct report *report);

/* Sets the text of a report, like printf; what does not fit is lost. */
__attribute__((format(printf, 2, 3))) void report_text(struct report *report, const char *format,
						       ...);

/*
 * How a check ends: they set the text and are true and false. Macros, so that compilers and
 * linters see which.
 */
#define ok(report, ...)		 (report_text(report, __VA_ARGS__), true)
#define fail(report, ...)	 (report_text(report, __VA_ARGS__), false)
#define fail_errno(report, what) fail(report, "%s: %s", what, strerror(errno))

/* A block device opened with O_DIRECT and `flags`; -1 and errno. */
int disk_open(const struct disk *disk, int flags);

/* The size as the block device itself tells; 0 if it does not. */
uint64_t disk_bytes(const struct disk *disk);

/* A file of /sys/block/NAME without its newline; false and errno if it cannot be read. */
bool disk_attribute(const struct disk *disk, const char *file, char *text, size_t size);

/* The same as a number; 0 if there is none. */
uint64_t disk_number(const struct disk *disk, const char *file);

/*
 * A number of /sys/block/NAME/stat, counted from 1 as in Documentation/block/stat.rst: 12 is
 * discards, 16 is flushes. 0 if there is none.
 */
uint64_t disk_stat(const struct disk *disk, unsigned int field);

/* Writes to such a file; false and errno if that is not taken. */
bool disk_set(const struct disk *disk, const char *file, const char *text);
bool disk_set_number(const struct disk *disk, const char *file, uint64_t number);

/* Loads what the initramfs has in /modules, in the order of the names; false and a report. */
bool load_modules(struct report *report);

/* The first line of any file, without its newline; false and errno if it cannot be read. */
bool read_line(const char *path, char *text, size_t size);

/* checks_device.c: what the driver has learnt about the device */
check_fn check_size, check_serial, check_features, check_block_size, check_read_only_flag;
/* checks_raw.c: the block device without a file system */
check_fn check_raw_patterns, check_raw_segments, check_raw_flush, check_raw_end, check_raw_digest;
check_fn check_raw_write_refused, check_raw_write_cache;
/* checks_space.c: giving back what is not needed */
check_fn check_raw_discard, check_raw_write_zeroes, check_raw_punch, check_fs_trim;
/* checks_resize.c: a disk that grows under a mounted file system */
check_fn check_resize_ready, check_fs_grow, check_fs_grown;
/* checks_load.c: several processes at once */
check_fn check_queues, check_raw_parallel, check_raw_load;
/* checks_journal.c: writes that must survive whatever happens to the device */
check_fn check_journal;
/* checks_fio.c */
check_fn check_fio;
/* checks_trouble.c: a disk that is slow, fails or stands still */
check_fn check_raw_rate, check_raw_faults, check_raw_fault_in_batch, check_raw_gap;
/* checks_fs.c */
check_fn check_fs_write, check_fs_unmount, check_fs_verify, check_fs_read_only;
/* checks_stats.c */
check_fn check_diskstats;

#endif
