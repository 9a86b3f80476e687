/* SPDX-License-Identifier: MIT */
/*
 * Giving back what is not needed: discard and write-zeroes on the raw area, and the file system's
 * trim. What was cleared reads as zeros, and its neighbours are what they were.
 */
#include "guest.h"
#include "random.h"
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DISCARDS     12u /* a field of disk_stat */
#define RANGES	     16u
#define BALLAST	     MOUNT_POINT "/BALLAST"
#define BALLAST_SIZE (6u << 20)

/* A way to clear a range of bytes; 0, or -1 and errno. */
typedef int clear_fn(int fd, uint64_t start, uint64_t length);

static int discard(int fd, uint64_t start, uint64_t length)
{
	uint64_t range[2] = { start, length };

	return ioctl(fd, BLKDISCARD, range);
}

static int write_zeroes(int fd, uint64_t start, uint64_t length)
{
	uint64_t range[2] = { start, length };

	return ioctl(fd, BLKZEROOUT, range);
}

/* Zeros of which the device may make a hole: write-zeroes with the flag for it. */
static int punch(int fd, uint64_t start, uint64_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
			 (off_t)length);
}

/* Reads or writes the whole raw area. */
static bool for_all(struct raw *raw,
		    bool (*run)(struct raw *, const struct piece *, struct report *),
		    struct report *report)
{
	const uint64_t sectors = raw_model_sectors(raw->model);
	struct piece piece = { 0, 0, raw->buffer };

	for (; piece.sector < sectors; piece.sector += piece.count) {
		piece.count = sectors - piece.sector;
		if (piece.count > MAX_IO / SECTOR)
			piece.count = MAX_IO / SECTOR;
		if (!run(raw, &piece, report))
			return false;
	}
	return true;
}

/* Clears ranges of any length and place that the device's granularity allows. */
static bool clear_ranges(struct raw *raw, struct random *random, uint64_t grain, clear_fn *clear,
			 uint64_t *cleared, struct report *report)
{
	const uint64_t grains = raw_model_sectors(raw->model) / grain;

	for (unsigned int i = 0; i < RANGES; i++) {
		const uint64_t most = UINT64_C(1) << random_below(random, 8);
		uint64_t count = 1 + random_below(random, most);
		uint64_t first;

		if (count > grains)
			count = grains;
		first = random_below(random, grains - count + 1);
		if (clear(raw->fd, (uint64_t)raw_offset(raw, first * grain),
			  count * grain * SECTOR))
			return fail(report,
				    "range %u, %" PRIu64 " sectors at raw sector %" PRIu64 ": %s",
				    i, count * grain, first * grain, strerror(errno));
		raw_model_clear(raw->model, first * grain, count * grain);
		*cleared += count * grain * SECTOR;
	}
	return true;
}

/* The area is written first, so that zeros are news. `limit` is 0 where the kernel has to write. */
static bool check_clear(struct guest *guest, struct disk *disk, const char *limit, clear_fn *clear,
			struct report *report)
{
	struct random random = random_stream(guest->seed, disk_stat(disk, DISCARDS));
	const uint64_t most = disk_number(disk, limit);
	uint64_t grain = disk_number(disk, "queue/discard_granularity") / SECTOR;
	uint64_t cleared = 0;
	struct raw raw;
	bool good;

	if (!most)
		return fail(report, "%s is 0", limit);
	if (!grain)
		grain = 1;
	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	good = for_all(&raw, raw_write, report) &&
	       clear_ranges(&raw, &random, grain, clear, &cleared, report) &&
	       for_all(&raw, raw_verify, report);
	raw_close(&raw);
	return good &&
	       ok(report, "%u ranges, %" PRIu64 " bytes, granularity %" PRIu64 ", %s %" PRIu64,
		  RANGES, cleared, grain * SECTOR, limit, most);
}

bool check_raw_discard(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t before = disk_stat(disk, DISCARDS);

	if (!check_clear(guest, disk, "queue/discard_max_bytes", discard, report))
		return false;
	if (disk_stat(disk, DISCARDS) < before + RANGES)
		return fail(report, "%" PRIu64 " discards for %u ranges",
			    disk_stat(disk, DISCARDS) - before, RANGES);
	return true;
}

bool check_raw_write_zeroes(struct guest *guest, struct disk *disk, struct report *report)
{
	return check_clear(guest, disk, "queue/write_zeroes_max_bytes", write_zeroes, report);
}

bool check_raw_punch(struct guest *guest, struct disk *disk, struct report *report)
{
	return check_clear(guest, disk, "queue/write_zeroes_max_bytes", punch, report);
}

/* A file that comes and goes, with bytes that take room on the host. */
static bool write_ballast(const struct guest *guest, struct report *report)
{
	static unsigned char data[64 << 10];
	struct random random = random_stream(guest->seed, UINT64_C(0x7472696d));
	const int fd = open(BALLAST, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	bool good = true;

	if (fd < 0)
		return fail_errno(report, BALLAST);
	for (size_t done = 0; good && done < BALLAST_SIZE; done += sizeof(data)) {
		random_fill(&random, data, sizeof(data));
		good = write(fd, data, sizeof(data)) == (ssize_t)sizeof(data);
	}
	good = (good && !fsync(fd)) || fail_errno(report, BALLAST);
	close(fd);
	return good;
}

/*
 * On the mounted file system: the room of a file that was on the disk and is no more is given
 * back. The host sees whether it got it.
 */
bool check_fs_trim(struct guest *guest, struct disk *disk, struct report *report)
{
	struct fstrim_range range = { .len = UINT64_MAX };
	const uint64_t before = disk_stat(disk, DISCARDS);
	bool trimmed;
	int fd;

	if (!write_ballast(guest, report))
		return false;
	if (unlink(BALLAST))
		return fail_errno(report, BALLAST);
	sync();
	fd = open(MOUNT_POINT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(report, MOUNT_POINT);
	trimmed = !ioctl(fd, FITRIM, &range) || fail_errno(report, "FITRIM");
	close(fd);
	if (!trimmed)
		return false;
	if (range.len < BALLAST_SIZE || disk_stat(disk, DISCARDS) == before)
		return fail(report,
			    "%" PRIu64 " bytes trimmed, %u were freed; %" PRIu64 " discards",
			    (uint64_t)range.len, BALLAST_SIZE, disk_stat(disk, DISCARDS) - before);
	return ok(report, "%" PRIu64 " bytes by %" PRIu64 " discards", (uint64_t)range.len,
		  disk_stat(disk, DISCARDS) - before);
}
