/* SPDX-License-Identifier: MIT */
/*
 * A disk that the host makes slow, makes fail, or brings to rest for a while: the guest must see
 * that and nothing else. Only the raw area is written.
 */
#include "guest.h"
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_SECTORS (PAGE / SECTOR)
#define BATCH	      (MAX_IO / PAGE) /* blocks in one call */
#define RATE_CALLS    3u
#define FAULT_BLOCKS  60u
#define FAULT_PASSES  3u
#define NSEC_PER_SEC  UINT64_C(1000000000)
#define GAP_NS	      (NSEC_PER_SEC * 9 / 10)
#define GAP_LIMIT_NS  (NSEC_PER_SEC * 60)
#define GAP_AFTER     20u

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static struct piece block_at(const struct raw *raw, uint64_t block)
{
	return (struct piece){ block * BLOCK_SECTORS, BLOCK_SECTORS, raw->buffer };
}

/*
 * From here on each page of a call is a request of its own, so that one call keeps the disk as
 * busy as many processes would. *before is for undoing that.
 */
static bool split_calls(const struct disk *disk, uint64_t *before, struct report *report)
{
	*before = disk_number(disk, "queue/max_sectors_kb");
	if (!*before || !disk_set_number(disk, "queue/max_sectors_kb", PAGE / 1024))
		return fail_errno(report, "max_sectors_kb");
	return true;
}

/*
 * The bucket may be full at the start, so that as many requests as it holds come for nothing; all
 * others take their time. How much more than that is not checked: then it is the guest that is
 * slow. The last call begins with an empty bucket, if the guest is fast enough to empty it.
 */
bool check_raw_rate(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t blocks = disk->iops < BATCH ? disk->iops : BATCH;
	uint64_t limit, start, last = 0, took, tenths;
	struct piece piece;
	struct raw raw;
	bool good;

	if (!disk->iops)
		return fail(report, "the host did not say how fast");
	if (!raw_open(guest, disk, O_RDONLY, &raw, report))
		return false;
	good = split_calls(disk, &limit, report);
	piece = (struct piece){ 0, blocks * BLOCK_SECTORS, raw.buffer };
	start = now_ns();
	for (unsigned int i = 0; good && i < RATE_CALLS; i++) {
		last = now_ns();
		good = raw_verify(&raw, &piece, report);
	}
	took = now_ns() - start;
	last = now_ns() - last;
	raw_close(&raw);
	if (!good)
		return false;
	disk_set_number(disk, "queue/max_sectors_kb", limit);
	if (RATE_CALLS * blocks * NSEC_PER_SEC > took * disk->iops + disk->iops * NSEC_PER_SEC)
		return fail(report,
			    "%" PRIu64 " requests in %" PRIu64 " us: more than %" PRIu64
			    " a second and a burst of as many",
			    RATE_CALLS * blocks, took / 1000, disk->iops);
	tenths = blocks * 10 * NSEC_PER_SEC / last;
	return ok(report,
		  "%" PRIu64 " requests in %" PRIu64 " ms, the last %" PRIu64 " of them at %" PRIu64
		  ".%" PRIu64 " a second",
		  RATE_CALLS * blocks, took / 1000000, blocks, tenths / 10, tenths % 10);
}

/* How many of the next `count` writes fail. */
static uint64_t faults_in(const struct guest *guest, uint64_t count)
{
	return (guest->writes + count) / guest->fail_every - guest->writes / guest->fail_every;
}

/* Writes a block; it must fail with EIO if it is its turn, and only then. */
static bool write_block(struct guest *guest, struct raw *raw, uint64_t block, struct report *report)
{
	const struct piece piece = block_at(raw, block);
	const bool must_fail = faults_in(guest, 1) > 0;
	ssize_t put;

	raw_model_write(raw->model, piece.sector, piece.count, piece.data);
	put = pwrite(raw->fd, piece.data, PAGE, raw_offset(raw, piece.sector));
	guest->writes++;
	if (must_fail) {
		raw_model_undo(raw->model, piece.sector, piece.count);
		if (put >= 0 || errno != EIO)
			return fail(report, "write %" PRIu64 ": %s, expected EIO", guest->writes,
				    put < 0 ? strerror(errno) : "no error");
	} else if (put != (ssize_t)PAGE) {
		return fail(report, "write %" PRIu64 ": %s, expected no error", guest->writes,
			    put < 0 ? strerror(errno) : "cut short");
	}
	return true;
}

/*
 * One request at a time, each block several times: after a write that failed it holds what was
 * there before, after all others what was written.
 */
bool check_raw_faults(struct guest *guest, struct disk *disk, struct report *report)
{
	char list[128] = "";
	size_t used = 0;
	struct raw raw;
	bool good = true;

	if (!guest->fail_every)
		return fail(report, "vblk.fail-every is missing");
	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	for (unsigned int pass = 0; good && pass < FAULT_PASSES; pass++) {
		for (unsigned int i = 0; good && i < FAULT_BLOCKS; i++) {
			if (faults_in(guest, 1) && used < sizeof(list))
				used += (size_t)snprintf(list + used, sizeof(list) - used,
							 " %" PRIu64, guest->writes + 1);
			good = write_block(guest, &raw, i, report);
		}
		for (unsigned int i = 0; good && i < FAULT_BLOCKS; i++) {
			const struct piece piece = block_at(&raw, i);

			good = raw_verify(&raw, &piece, report);
		}
	}
	raw_close(&raw);
	return good && ok(report, "%" PRIu64 " writes, EIO at%s", guest->writes, list);
}

/* Counts the blocks that hold old bytes instead of new; each must hold one or the other. */
static bool count_old(struct raw *raw, uint64_t *old, struct report *report)
{
	memset(raw->buffer, 0xa5, MAX_IO);
	if (pread(raw->fd, raw->buffer, MAX_IO, raw_offset(raw, 0)) != (ssize_t)MAX_IO)
		return fail_errno(report, "read");
	*old = 0;
	for (uint64_t i = 0; i < BATCH; i++) {
		const struct piece piece = block_at(raw, i);
		const unsigned char *data = raw->buffer + i * PAGE;

		if (raw_model_matches(raw->model, piece.sector, piece.count, data, report))
			continue;
		raw_model_undo(raw->model, piece.sector, piece.count);
		if (!raw_model_matches(raw->model, piece.sector, piece.count, data, report))
			return false;
		++*old;
	}
	return true;
}

/* Many requests from one call: those that fail spoil their own blocks and no others. */
bool check_raw_fault_in_batch(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t expected = faults_in(guest, BATCH);
	uint64_t limit, old = 0;
	ssize_t put = 0;
	int error = 0;
	struct raw raw;
	bool good;

	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	good = split_calls(disk, &limit, report);
	if (good) {
		raw_model_write(raw.model, 0, MAX_IO / SECTOR, raw.buffer);
		put = pwrite(raw.fd, raw.buffer, MAX_IO, raw_offset(&raw, 0));
		error = errno;
		guest->writes += BATCH;
		disk_set_number(disk, "queue/max_sectors_kb", limit);
		good = count_old(&raw, &old, report);
	}
	raw_close(&raw);
	if (!good)
		return false;
	if (put >= 0 || error != EIO)
		return fail(report, "the call gave %zd (%s), expected EIO", put, strerror(error));
	if (old != expected)
		return fail(report,
			    "%" PRIu64
			    " of %u blocks hold what was there before, expected %" PRIu64,
			    old, BATCH, expected);
	return ok(report, "%u requests in one call: EIO, %" PRIu64 " failed", BATCH, old);
}

/*
 * Writes and reads back until nothing happens for about a second, and then a little more. The
 * host brings the disk to rest while this runs.
 */
bool check_raw_gap(struct guest *guest, struct disk *disk, struct report *report)
{
	const uint64_t limit = now_ns() + GAP_LIMIT_NS;
	unsigned int writes = 0, before = 0;
	uint64_t longest = 0;
	struct raw raw;
	bool good = true;

	if (!raw_open(guest, disk, O_RDWR, &raw, report))
		return false;
	while (good && (before ? writes < before + GAP_AFTER : now_ns() < limit)) {
		const struct piece piece = block_at(&raw, writes % BATCH);
		const uint64_t start = now_ns();
		uint64_t took;

		good = raw_write(&raw, &piece, report) && raw_verify(&raw, &piece, report);
		took = now_ns() - start;
		writes++;
		if (took > longest)
			longest = took;
		if (!before && took >= GAP_NS)
			before = writes;
	}
	raw_close(&raw);
	if (!good)
		return false;
	if (before < 2)
		return fail(report, "%s: %u writes, of which the longest took %" PRIu64 " ms",
			    before ? "the gap came too early" : "no gap", writes,
			    longest / 1000000);
	return ok(report, "%" PRIu64 " ms, after %u writes and before %u", longest / 1000000,
		  before - 1, writes - before);
}
