/* SPDX-License-Identifier: MIT */
/*
 * The block device without a file system: what is written at random places is read back, in other
 * pieces than it was written, past the page cache. Only the raw area is written.
 */
#include "guest.h"
#include "random.h"
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_SECTORS (MAX_IO / SECTOR)
#define WRITES	    24u
#define OTHER_READS 8u
#define MAX_PIECES  1024u /* of one readv (IOV_MAX) */

bool raw_open(struct guest *guest, struct disk *disk, int flags, struct raw *raw,
	      struct report *report)
{
	if (!disk->model)
		disk->model =
			raw_model_create(disk, guest->seed ^ (uint64_t)(disk - guest->disks) << 63);
	if (!disk->model)
		return fail_errno(report, disk->path);
	*raw = (struct raw){ .model = disk->model, .start = disk->raw_start };
	raw->buffer = mmap(NULL, MAX_IO + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	if (raw->buffer == MAP_FAILED)
		return fail_errno(report, "buffer");
	raw->fd = disk_open(disk, flags);
	if (raw->fd < 0)
		return fail_errno(report, disk->path);
	return true;
}

void raw_close(struct raw *raw)
{
	close(raw->fd);
	munmap(raw->buffer, MAX_IO + PAGE);
}

off_t raw_offset(const struct raw *raw, uint64_t sector)
{
	return (off_t)(raw->start + sector * SECTOR);
}

/* True if a call moved all its bytes; else a failed report that names the call. */
static bool moved(struct report *report, const char *call, uint64_t sector, uint64_t bytes,
		  ssize_t result)
{
	if (result == (ssize_t)bytes)
		return true;
	if (result < 0)
		return fail(report, "%s of %" PRIu64 " bytes at raw sector %" PRIu64 ": %s", call,
			    bytes, sector, strerror(errno));
	return fail(report, "%s of %" PRIu64 " bytes at raw sector %" PRIu64 " moved %zd", call,
		    bytes, sector, result);
}

bool raw_write(struct raw *raw, const struct piece *piece, struct report *report)
{
	const uint64_t bytes = piece->count * SECTOR;

	raw_model_write(raw->model, piece->sector, piece->count, piece->data);
	return moved(report, "write", piece->sector, bytes,
		     pwrite(raw->fd, piece->data, bytes, raw_offset(raw, piece->sector)));
}

/* The memory is spoiled first, so that a read that leaves it alone is seen. */
bool raw_verify(struct raw *raw, const struct piece *piece, struct report *report)
{
	const uint64_t bytes = piece->count * SECTOR;

	memset(piece->data, 0xa5, bytes);
	return moved(report, "read", piece->sector, bytes,
		     pread(raw->fd, piece->data, bytes, raw_offset(raw, piece->sector))) &&
	       raw_model_matches(raw->model, piece->sector, piece->count, piece->data, report);
}

/*
 * Sizes from one sector to 1 MiB, small ones as likely as large ones, and both ends for certain.
 * The data begins at any sector of a page, so that segments are cut in odd places.
 */
static struct piece random_piece(struct raw *raw, struct random *random, unsigned int round)
{
	const uint64_t sectors = raw_model_sectors(raw->model);
	const uint64_t most = UINT64_C(1) << random_below(random, 12);
	struct piece piece;

	piece.count = round == 0 ? 1 : round == 1 ? MAX_SECTORS : 1 + random_below(random, most);
	if (piece.count > sectors)
		piece.count = sectors;
	piece.sector = random_below(random, sectors - piece.count + 1);
	piece.data = raw->buffer + random_below(random, PAGE / SECTOR) * SECTOR;
	return piece;
}

/* All is written before anything is read: then each piece as it was written, and other ones. */
bool check_raw_patterns(struct guest *guest, struct disk *disk, struct report *report)
{
	struct random random = random_stream(guest->seed, 0);
	struct piece pieces[WRITES + OTHER_READS];
	uint64_t written = 0, read = 0;
	struct raw raw;
	bool good = true;

	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++)
		pieces[i] = random_piece(&raw, &random, i);
	for (unsigned int i = 0; good && i < WRITES; i++) {
		good = raw_write(&raw, &pieces[i], report);
		written += pieces[i].count * SECTOR;
	}
	for (unsigned int i = 0; good && i < ARRAY_SIZE(pieces); i++) {
		good = raw_verify(&raw, &pieces[i], report);
		read += pieces[i].count * SECTOR;
	}
	raw_close(&raw);
	return good && ok(report,
			  "seed %" PRIu64 ": %u writes of %" PRIu64 " bytes, %zu reads of %" PRIu64
			  " bytes",
			  guest->seed, WRITES, written, ARRAY_SIZE(pieces), read);
}

/* One sector in each page: no two of them are neighbours, so each is a segment of its own. */
static void scatter(unsigned char *pages, size_t pieces, struct iovec *iov)
{
	for (size_t i = 0; i < pieces; i++)
		iov[i] = (struct iovec){ .iov_base = pages + i * PAGE, .iov_len = SECTOR };
}

static bool scattered_write(struct raw *raw, const struct iovec *iov, size_t pieces,
			    struct report *report)
{
	unsigned char *flat = raw->buffer;

	raw_model_write(raw->model, 0, pieces, flat);
	for (size_t i = 0; i < pieces; i++)
		memcpy(iov[i].iov_base, flat + i * SECTOR, SECTOR);
	return moved(report, "scattered write", 0, pieces * SECTOR,
		     pwritev(raw->fd, iov, (int)pieces, raw_offset(raw, 0)));
}

static bool scattered_verify(struct raw *raw, const struct iovec *iov, size_t pieces,
			     struct report *report)
{
	unsigned char *flat = raw->buffer;

	for (size_t i = 0; i < pieces; i++)
		memset(iov[i].iov_base, 0xa5, SECTOR);
	if (!moved(report, "scattered read", 0, pieces * SECTOR,
		   preadv(raw->fd, iov, (int)pieces, raw_offset(raw, 0))))
		return false;
	for (size_t i = 0; i < pieces; i++)
		memcpy(flat + i * SECTOR, iov[i].iov_base, SECTOR);
	return raw_model_matches(raw->model, 0, pieces, flat, report);
}

/*
 * More segments and more bytes than one request may have, so that the driver fills requests to
 * the brim and splits the rest off.
 */
bool check_raw_segments(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t limit = disk_number(disk, "queue/max_segments");
	const uint64_t pieces = limit + limit / 2 + 1;
	struct iovec iov[MAX_PIECES];
	unsigned char *pages, *large;
	uint64_t all;
	struct raw raw;
	bool good;

	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	all = raw_model_sectors(raw.model);
	pages = mmap(NULL, MAX_PIECES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	large = mmap(NULL, all * SECTOR, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (pages == MAP_FAILED || large == MAP_FAILED)
		return fail_errno(report, "buffers");
	if (!limit || pieces > MAX_PIECES || pieces > all)
		return fail(report, "max_segments is %" PRIu64 ": no room to exceed it", limit);
	scatter(pages, pieces, iov);
	good = scattered_write(&raw, iov, pieces, report) &&
	       scattered_verify(&raw, iov, pieces, report) &&
	       raw_verify(&raw, &(struct piece){ 0, all, large }, report);
	munmap(large, all * SECTOR);
	munmap(pages, MAX_PIECES * PAGE);
	raw_close(&raw);
	return good &&
	       ok(report,
		  "%" PRIu64 " segments in one call (max_segments %" PRIu64 "), %" PRIu64
		  " KiB in one read (max_sectors_kb %" PRIu64 ")",
		  pieces, limit, all * SECTOR / 1024, disk_number(disk, "queue/max_sectors_kb"));
}

#define FLUSHES 16u /* a field of disk_stat */

/* Through the page cache and out by fsync. *count is how many flushes the device was asked for. */
static bool flush_by_fsync(struct guest *guest, struct disk *disk, uint64_t *count,
			   struct report *report)
{
	const uint64_t before = disk_stat(disk, FLUSHES);
	const int cached = open(disk->path, O_RDWR | O_CLOEXEC);
	struct piece piece;
	struct raw raw;
	bool good;

	if (cached < 0)
		return fail_errno(report, disk->path);
	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	piece = (struct piece){ 5, 24, raw.buffer };
	raw_model_write(raw.model, piece.sector, piece.count, piece.data);
	good = moved(
		report, "cached write", piece.sector, piece.count * SECTOR,
		pwrite(cached, piece.data, piece.count * SECTOR, raw_offset(&raw, piece.sector)));
	if (good && (fsync(cached) || fdatasync(cached)))
		good = fail_errno(report, "fsync");
	good = good && raw_verify(&raw, &piece, report);
	raw_close(&raw);
	close(cached);
	*count = disk_stat(disk, FLUSHES) - before;
	return good;
}

static bool cache_is(const struct disk *disk, const char *expected, struct report *report)
{
	char mode[32];

	if (!disk_attribute(disk, "queue/write_cache", mode, sizeof(mode)))
		return fail_errno(report, disk->path);
	if (strcmp(mode, expected) != 0)
		return fail(report, "write_cache is '%s', expected '%s'", mode, expected);
	return true;
}

/*
 * The driver's cache_type is the device's byte writeback (CONFIG_WCE): with 0 each write is on
 * the disk when it is complete, and the kernel has no more to flush.
 */
static bool set_cache(const struct disk *disk, const char *mode, struct report *report)
{
	if (!disk_set(disk, "cache_type", mode))
		return fail_errno(report, mode);
	return cache_is(disk, mode, report);
}

/* The mode is what the host said, and what the checks begin with. */
static bool begin_write_back(struct guest *guest, const struct disk *disk, struct report *report)
{
	if (!guest->write_through)
		return cache_is(disk, "write back", report);
	guest->write_through = false;
	return cache_is(disk, "write through", report) && set_cache(disk, "write back", report);
}

/* With a cache that is written back, fsync has to reach the device as a flush. */
bool check_raw_flush(struct guest *guest, struct disk *disk, struct report *report)
{
	uint64_t count;

	if (!begin_write_back(guest, disk, report) || !flush_by_fsync(guest, disk, &count, report))
		return false;
	if (!count)
		return fail(report, "fsync made no flush");
	return ok(report, "write back, %" PRIu64 " flushes by fsync", count);
}

bool check_raw_write_cache(struct guest *guest, struct disk *disk, struct report *report)
{
	uint64_t through, back;

	if (!begin_write_back(guest, disk, report) || !set_cache(disk, "write through", report) ||
	    !flush_by_fsync(guest, disk, &through, report) ||
	    !set_cache(disk, "write back", report) || !flush_by_fsync(guest, disk, &back, report))
		return false;
	if (through || !back)
		return fail(report, "%" PRIu64 " flushes with write through, %" PRIu64 " without",
			    through, back);
	return ok(report, "write through: no flushes; write back: %" PRIu64, back);
}

/* Reads and writes at the end: what is inside is served, what is outside is not. */
bool check_raw_end(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t bytes = disk_bytes(disk);
	const off_t end = (off_t)bytes;
	struct raw raw;
	ssize_t got, short_got, put = -1;
	int put_error = ENOSPC;

	if (!raw_open(guest, disk, guest->mode == MODE_RO ? O_RDONLY : O_RDWR, &raw, report))
		return false;
	short_got = pread(raw.fd, raw.buffer, PAGE, end - (off_t)SECTOR);
	got = pread(raw.fd, raw.buffer, PAGE, end);
	if (guest->mode != MODE_RO) {
		put = pwrite(raw.fd, raw.buffer, SECTOR, end);
		put_error = errno;
	}
	raw_close(&raw);
	if (short_got != (ssize_t)SECTOR)
		return fail(report, "a read across the end gave %zd, expected %u", short_got,
			    SECTOR);
	if (got != 0)
		return fail(report, "a read at the end gave %zd, expected 0", got);
	if (put >= 0 || put_error != ENOSPC)
		return fail(report, "a write at the end gave %zd (%s), expected ENOSPC", put,
			    strerror(put_error));
	return ok(report, "nothing can be read%s at %" PRIu64,
		  guest->mode == MODE_RO ? "" : " or written", bytes);
}

/* Of the whole raw area, for the host to compare. */
bool check_raw_digest(struct guest *guest, struct disk *disk, struct report *report)
{
	/* Not what the host put on a read-only disk, nor what others than the model wrote. */
	const bool model_knows = !(guest->mode & (MODE_RO | MODE_FIO | MODE_JOURNAL));
	struct raw raw;
	struct sha256 sha;
	char hex[SHA256_HEX];
	uint64_t sectors, count;
	bool good = true;

	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	sectors = raw_model_sectors(raw.model);
	sha256_init(&sha);
	for (uint64_t sector = 0; good && sector < sectors; sector += count) {
		count = sectors - sector < MAX_SECTORS ? sectors - sector : MAX_SECTORS;
		good = moved(report, "read", sector, count * SECTOR,
			     pread(raw.fd, raw.buffer, count * SECTOR, raw_offset(&raw, sector)));
		if (good && model_knows)
			good = raw_model_matches(raw.model, sector, count, raw.buffer, report);
		sha256_add(&sha, raw.buffer, count * SECTOR);
	}
	sha256_end(&sha, hex);
	raw_close(&raw);
	return good && ok(report, "%s, %" PRIu64 " bytes from %" PRIu64, hex, sectors * SECTOR,
			  disk->raw_start);
}

static bool is_refusal(int error)
{
	return error == EPERM || error == EACCES || error == EROFS || error == EIO;
}

/* The kernel refuses before it asks the device; at which call is its choice. */
bool check_raw_write_refused(struct guest *guest, struct disk *disk, struct report *report)
{
	const char *call = "open for writing";
	struct raw raw;
	int fd, error = 0;

	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	fd = disk_open(disk, O_RDWR);
	if (fd < 0) {
		error = errno;
	} else {
		call = "write";
		if (pwrite(fd, raw.buffer, SECTOR, raw_offset(&raw, 0)) < 0)
			error = errno;
		close(fd);
	}
	raw_close(&raw);
	if (!is_refusal(error))
		return fail(report, "%s: %s, expected EPERM, EACCES, EROFS or EIO", call,
			    error ? strerror(error) : "no error");
	if (!mount(disk->path, MOUNT_POINT, "ext4", 0, NULL)) {
		umount(MOUNT_POINT);
		return fail(report, "the file system can be mounted for writing");
	}
	if (!is_refusal(errno))
		return fail_errno(report, "mount for writing");
	return ok(report, "%s: %s; mount for writing: refused", call, strerror(error));
}
