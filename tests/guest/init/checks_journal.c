/* SPDX-License-Identifier: MIT */
/*
 * Writes that must survive whatever happens to the device while they are in flight: the host kills
 * it and starts it again, as often as it likes.
 *
 * Each worker owns a part of the raw area and writes to random places of it, one request at a
 * time. A block carries its own number, the number of the write that made it, and a checksum over
 * its content. A write that has returned is remembered, and a flush that has returned covers all
 * writes before it. Now and then a worker reads back what it wrote, and at the end all is read:
 * since the guest never died, a block must hold its last write, not an older one, and not one
 * that was sent twice and came late.
 *
 * The host is told how far things are by lines `journal: writes N flushes N`, and ends the check
 * by a line `stop` on the console, unless vblk.seconds are over before.
 */
#include "guest.h"
#include "random.h"
#include "raw.h"
#include "workers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAGIC	      UINT64_C(0x6c6e726a6b6c6276)
#define MOST_BLOCKS   16u /* in one write */
#define FLUSH_EACH    8u
#define VERIFY_EACH   4u
#define TELL_EACH_MS  50
#define BLOCK_SECTORS (PAGE / SECTOR)

/* What begins each block; the rest is filled from the three numbers. */
struct stamp {
	uint64_t magic, block, write, checksum;
};

struct progress {
	atomic_ullong writes, flushes, reads;
	uint64_t longest_ns; /* of one call */
	uint64_t flushed;    /* the last write that a flush covers */
};

struct journal {
	const char *path;
	uint64_t start, seed;
	uint64_t blocks; /* of each worker */
	unsigned int workers;
	atomic_bool stop;
	struct progress progress[WORKERS_MAX];
	uint64_t written[]; /* the last write of each block, 0 if none */
};

/* One worker's view. */
struct writer {
	struct journal *journal;
	struct progress *progress;
	uint64_t first; /* block */
	uint64_t write;
	struct random random;
	unsigned char *buffer; /* of MOST_BLOCKS */
	int fd;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t sum(const unsigned char *data, size_t length)
{
	uint64_t result = MAGIC;
	uint64_t word;

	for (size_t i = 0; i < length; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		result = random_mix(result + word);
	}
	return result;
}

static void make_block(uint64_t seed, uint64_t block, uint64_t write, unsigned char *data)
{
	struct stamp stamp = { MAGIC, block, write, 0 };
	struct random random = random_stream(seed ^ write << 20, block);

	random_fill(&random, data + sizeof(stamp), PAGE - sizeof(stamp));
	stamp.checksum = sum(data + sizeof(stamp), PAGE - sizeof(stamp));
	memcpy(data, &stamp, sizeof(stamp));
}

static bool is_zero(const unsigned char *data)
{
	return !data[0] && !memcmp(data, data + 1, PAGE - 1);
}

/* Judges what a block holds; `flushed` is the last write of its worker that a flush covers. */
static bool judge_block(const struct journal *journal, uint64_t block, uint64_t flushed,
			const unsigned char *data, struct report *report)
{
	const uint64_t expected = journal->written[block];
	unsigned char wanted[PAGE];
	struct stamp stamp;

	if (!expected)
		return is_zero(data) ||
		       fail(report, "block %" PRIu64 " was never written and is not zero", block);
	make_block(journal->seed, block, expected, wanted);
	if (!memcmp(data, wanted, PAGE))
		return true;
	memcpy(&stamp, data, sizeof(stamp));
	if (stamp.magic != MAGIC ||
	    stamp.checksum != sum(data + sizeof(stamp), PAGE - sizeof(stamp)))
		return fail(report, "block %" PRIu64 " is %s, expected write %" PRIu64 "%s", block,
			    is_zero(data) ? "zero" : "torn", expected,
			    expected <= flushed ? ", which was flushed" : "");
	return fail(report,
		    "block %" PRIu64 " holds write %" PRIu64 " of block %" PRIu64
		    ", expected write %" PRIu64 "%s",
		    block, stamp.write, stamp.block, expected,
		    expected <= flushed ? ", which was flushed" : "");
}

/* Notes how long a call took that began at `start`. */
static void note_time(struct progress *progress, uint64_t start)
{
	const uint64_t took = now_ns() - start;

	if (took > progress->longest_ns)
		progress->longest_ns = took;
}

/* A run of the worker's own blocks. */
static uint64_t random_run(struct writer *writer, uint64_t *count)
{
	*count = 1 + random_below(&writer->random, MOST_BLOCKS);
	if (*count > writer->journal->blocks)
		*count = writer->journal->blocks;
	return writer->first + random_below(&writer->random, writer->journal->blocks - *count + 1);
}

static bool write_run(struct writer *writer, struct report *report)
{
	struct journal *journal = writer->journal;
	const uint64_t start = now_ns();
	uint64_t count;
	const uint64_t block = random_run(writer, &count);
	const ssize_t length = (ssize_t)(count * PAGE);

	writer->write++;
	for (uint64_t i = 0; i < count; i++)
		make_block(journal->seed, block + i, writer->write, writer->buffer + i * PAGE);
	if (pwrite(writer->fd, writer->buffer, (size_t)length,
		   (off_t)(journal->start + block * PAGE)) != length)
		return fail(report, "write %" PRIu64 ", %" PRIu64 " blocks at %" PRIu64 ": %s",
			    writer->write, count, block, strerror(errno));
	for (uint64_t i = 0; i < count; i++)
		journal->written[block + i] = writer->write;
	atomic_fetch_add(&writer->progress->writes, 1);
	note_time(writer->progress, start);
	return true;
}

static bool flush(struct writer *writer, struct report *report)
{
	const uint64_t start = now_ns();

	if (fdatasync(writer->fd))
		return fail(report, "flush after write %" PRIu64 ": %s", writer->write,
			    strerror(errno));
	writer->progress->flushed = writer->write;
	atomic_fetch_add(&writer->progress->flushes, 1);
	note_time(writer->progress, start);
	return true;
}

static bool read_run(struct writer *writer, uint64_t block, uint64_t count, struct report *report)
{
	const struct journal *journal = writer->journal;
	const ssize_t length = (ssize_t)(count * PAGE);
	const uint64_t start = now_ns();

	memset(writer->buffer, 0xa5, (size_t)length);
	if (pread(writer->fd, writer->buffer, (size_t)length,
		  (off_t)(journal->start + block * PAGE)) != length)
		return fail(report, "read of %" PRIu64 " blocks at %" PRIu64 ": %s", count, block,
			    strerror(errno));
	for (uint64_t i = 0; i < count; i++)
		if (!judge_block(journal, block + i, writer->progress->flushed,
				 writer->buffer + i * PAGE, report))
			return false;
	atomic_fetch_add(&writer->progress->reads, 1);
	note_time(writer->progress, start);
	return true;
}

static bool open_writer(struct writer *writer, struct journal *journal, unsigned int number,
			struct report *report)
{
	*writer = (struct writer){
		.journal = journal,
		.progress = &journal->progress[number],
		.first = number * journal->blocks,
		.random = random_stream(journal->seed, number),
		.buffer = aligned_alloc(PAGE, MOST_BLOCKS * PAGE),
		.fd = open(journal->path, O_RDWR | O_DIRECT | O_CLOEXEC),
	};
	return (writer->buffer && writer->fd >= 0) || fail_errno(report, journal->path);
}

static bool keep_writing(unsigned int number, void *context, struct report *report)
{
	struct journal *journal = context;
	struct writer writer;
	bool good = open_writer(&writer, journal, number, report);

	while (good && !atomic_load(&journal->stop)) {
		good = write_run(&writer, report);
		if (good && writer.write % FLUSH_EACH == 0)
			good = flush(&writer, report);
		if (good && writer.write % VERIFY_EACH == 0) {
			uint64_t count;
			const uint64_t block = random_run(&writer, &count);

			good = read_run(&writer, block, count, report);
		}
	}
	return good && flush(&writer, report);
}

/* The parts of all workers, once they have ended. */
static bool verify_all(struct journal *journal, uint64_t *blocks, struct report *report)
{
	struct writer writer;
	bool good = true;

	*blocks = 0;
	for (unsigned int i = 0; good && i < journal->workers; i++) {
		good = open_writer(&writer, journal, i, report);
		for (uint64_t at = 0; good && at < journal->blocks; at += MOST_BLOCKS) {
			uint64_t count = journal->blocks - at;

			if (count > MOST_BLOCKS)
				count = MOST_BLOCKS;
			good = read_run(&writer, writer.first + at, count, report);
			*blocks += count;
		}
		close(writer.fd);
		free(writer.buffer);
	}
	return good;
}

struct totals {
	unsigned long long writes, flushes, reads, longest_ns;
};

static struct totals add_up(const struct journal *journal)
{
	struct totals totals = { 0 };

	for (unsigned int i = 0; i < journal->workers; i++) {
		const struct progress *progress = &journal->progress[i];

		totals.writes += atomic_load(&progress->writes);
		totals.flushes += atomic_load(&progress->flushes);
		totals.reads += atomic_load(&progress->reads);
		if (progress->longest_ns > totals.longest_ns)
			totals.longest_ns = progress->longest_ns;
	}
	return totals;
}

/* True if the host says so. A console without a host behind it is closed, and never asked again. */
static bool told_to_stop(int *console)
{
	struct pollfd input = { .fd = *console, .events = POLLIN };
	char line[64];
	ssize_t got;

	if (poll(&input, 1, TELL_EACH_MS) <= 0 || !(input.revents & (POLLIN | POLLHUP)))
		return false;
	got = read(*console, line, sizeof(line) - 1);
	if (got <= 0) {
		*console = -1;
		return false;
	}
	line[got] = '\0';
	return strstr(line, "stop") != NULL;
}

/* Tells the host how far things are, whenever they got farther. */
static void supervise(const struct guest *guest, struct journal *journal,
		      const struct workers *workers)
{
	const uint64_t limit = now_ns() + guest->seconds * UINT64_C(1000000000);
	unsigned long long told = 0;
	int console = 0;

	while (now_ns() < limit && !workers_ended(workers) && !told_to_stop(&console)) {
		const struct totals totals = add_up(journal);

		if (totals.writes == told)
			continue;
		told = totals.writes;
		printf("journal: writes %llu flushes %llu\n", totals.writes, totals.flushes);
	}
	atomic_store(&journal->stop, true);
}

/* False and a failed report if there is too little room for the workers. */
static bool make_journal(struct guest *guest, struct disk *disk, struct journal **made,
			 struct report *report)
{
	const uint64_t blocks = (disk_bytes(disk) - disk->raw_start) / PAGE;
	struct journal *journal = workers_memory(sizeof(*journal) + blocks * sizeof(uint64_t));

	if (!journal)
		return fail_errno(report, "shared memory");
	if (!guest->workers || guest->workers > WORKERS_MAX || blocks < guest->workers)
		return fail(report, "%" PRIu64 " workers for %" PRIu64 " blocks", guest->workers,
			    blocks);
	journal->path = disk->path;
	journal->start = disk->raw_start;
	journal->seed = guest->seed;
	journal->workers = (unsigned int)guest->workers;
	journal->blocks = blocks / guest->workers;
	*made = journal;
	return true;
}

bool check_journal(struct guest *guest, struct disk *disk, struct report *report)
{
	struct journal *journal;
	struct workers workers;
	struct totals totals;
	uint64_t blocks;

	if (!make_journal(guest, disk, &journal, report) ||
	    !workers_start(&workers, journal->workers, keep_writing, journal, report))
		return false;
	supervise(guest, journal, &workers);
	if (!workers_join(&workers, report) || !verify_all(journal, &blocks, report))
		return false;
	totals = add_up(journal);
	return ok(report,
		  "%" PRIu64
		  " blocks are what was last written: %llu writes, %llu flushes, %llu reads"
		  " by %u workers, the longest took %llu ms",
		  blocks, totals.writes, totals.flushes, totals.reads, journal->workers,
		  totals.longest_ns / 1000000);
}
